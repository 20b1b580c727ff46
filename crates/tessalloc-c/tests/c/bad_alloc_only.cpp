// A program that uses nothing of the C++ library but the exception: linked statically, libstdc++'s own thrower is not in it.
#include <new>
#include "check.h"

int main() {
  check_live();
  volatile std::size_t huge = std::size_t{1} << 62;
  for (int i = 0; i < 10; i++) {
    bool thrown = false;
    try {
      void *volatile block = operator new(huge);
      (void)block;
    } catch (const std::bad_alloc &) {
      thrown = true;
    }
    CHECK(thrown);
  }
  puts("ok");
}
