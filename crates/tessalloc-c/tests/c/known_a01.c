/* free(NULL), realloc(NULL, n) and malloc_usable_size(NULL) from a .preinit_array, from constructors of the highest priority
 * and, if asked for, from an IFUNC resolver, which runs while the program is being relocated. */
#include "check.h"
#include "known_a01.h"

#ifdef WITH_IFUNC
static int chosen(void) { return 7; }
typedef int chosen_function(void);
static chosen_function *resolver(void) {
  early(0);
  return chosen;
}
int by_ifunc(void) __attribute__((ifunc("resolver")));
#endif

static void from_preinit(void) { early(FIRST); }
__attribute__((section(".preinit_array"), used)) static void (*preinit)(void) = from_preinit;

__attribute__((constructor(101))) static void from_constructor(void) { early(FIRST); }
__attribute__((destructor(101))) static void from_destructor(void) {
  early(FIRST);
  if (early_failures) _exit(3);
}

int main(void) {
  check_live();
  int runs = 2;
#ifdef WITH_IFUNC
  CHECK(by_ifunc() == 7);
  runs++;
#endif
  CHECK(early_runs == runs && early_failures == 0);
  puts("ok");
}
