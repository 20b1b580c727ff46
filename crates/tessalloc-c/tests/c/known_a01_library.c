/* Preloaded after tessalloc, so initialised before it. */
#include <unistd.h>
#include "known_a01.h"
__attribute__((constructor(101))) static void first(void) {
  early(FIRST);
  if (early_failures || early_runs != 1) _exit(4);
}
