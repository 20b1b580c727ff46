// A new-handler that makes room, in a process whose address space is limited from outside: new succeeds after it.
#include <new>
#include <vector>
#include "check.h"

static void *ballast[512];
static int kept, calls;

static void give_one_back() {
  calls++;
  if (kept == 0) {
    std::set_new_handler(nullptr);
    return;
  }
  operator delete(ballast[--kept]);
}

int main() {
  check_live();
  const std::size_t bytes = 16 << 20;
  while (kept < 512 && (ballast[kept] = operator new(bytes, std::nothrow))) kept++;
  CHECK(kept > 4 && kept < 512);
  int all = kept;
  std::set_new_handler(give_one_back);
  void *block = operator new(bytes);
  CHECK(block && calls >= 1 && kept < all);
  memset(block, 1, bytes);
  calls = 0;
  void *aligned = operator new[](bytes, std::align_val_t{4096}, std::nothrow);
  CHECK(aligned && calls >= 1);
  // More than there can ever be: the handler gives everything, takes itself away, and bad_alloc comes.
  bool thrown = false;
  try {
    void *volatile none = operator new(std::size_t{1} << 40);
    (void)none;
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  CHECK(thrown && kept == 0);
  puts("ok");
}
