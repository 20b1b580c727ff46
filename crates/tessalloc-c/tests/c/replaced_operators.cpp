// A program that replaces `operator new(size_t)` and its delete, and the aligned pair: all other forms lead to those.
#include <new>
#include "check.h"

static int news, deletes, aligned_news, aligned_deletes;
static bool refuse;

void *operator new(std::size_t size) {
  news++;
  if (refuse) throw std::bad_alloc();
  return malloc(size);
}
void operator delete(void *block) noexcept {
  deletes++;
  free(block);
}
void *operator new(std::size_t size, std::align_val_t align) {
  aligned_news++;
  if (refuse) throw std::bad_alloc();
  return aligned_alloc(static_cast<std::size_t>(align), size);
}
void operator delete(void *block, std::align_val_t) noexcept {
  aligned_deletes++;
  free(block);
}

int main() {
  check_live();
  using align = std::align_val_t;
  operator delete[](operator new[](10));
  operator delete[](operator new[](10), std::size_t{10});
  operator delete(operator new(10, std::nothrow), std::nothrow);
  operator delete[](operator new[](10, std::nothrow), std::nothrow);
  operator delete(operator new(10), std::size_t{10});
  CHECK(news == 5 && deletes == 5 && aligned_news == 0);
  operator delete[](operator new[](10, align{64}), align{64});
  operator delete[](operator new[](10, align{64}), std::size_t{10}, align{64});
  operator delete(operator new(10, align{64}, std::nothrow), align{64}, std::nothrow);
  operator delete[](operator new[](10, align{64}, std::nothrow), align{64}, std::nothrow);
  operator delete(operator new(10, align{64}), std::size_t{10}, align{64});
  CHECK(news == 5 && aligned_news == 5 && aligned_deletes == 5);
  refuse = true;
  CHECK(operator new(10, std::nothrow) == nullptr && operator new[](10, std::nothrow) == nullptr);
  CHECK(operator new(10, align{64}, std::nothrow) == nullptr && operator new[](10, align{64}, std::nothrow) == nullptr);
  puts("ok");
}
