// Operators new and delete, all forms, with memory and without.
#include <new>
#include "check.h"

namespace {

volatile std::size_t huge = std::size_t{1} << 62;
using align = std::align_val_t;

bool aligned_to(void *block, std::size_t at) { return (reinterpret_cast<uintptr_t>(block) & (at - 1)) == 0; }

// The compiler drops an allocation that nobody looks at.
void *used(void *block) {
  asm volatile("" : "+r"(block));
  return block;
}

template <class F> bool throws_bad_alloc(F call) {
  // Something to destroy, so that the unwinder has work between the throw and the catch.
  static thread_local int destroyed;
  struct Witness {
    ~Witness() { destroyed++; }
  };
  int before = destroyed;
  try {
    Witness witness;
    call();
  } catch (const std::bad_alloc &error) {
    return strlen(error.what()) > 0 && destroyed == before + 1;
  }
  return false;
}

void every_form_gives_and_takes() {
  for (std::size_t size = 0; size < 200000; size = size * 3 / 2 + 1) {
    void *block = ::operator new(size);
    CHECK(tessalloc_is_ours(block) && aligned_to(block, 16) && malloc_usable_size(block) >= size);
    memset(block, 1, size);
    ::operator delete(block);
    ::operator delete(::operator new(size), size);
    ::operator delete(::operator new(size, std::nothrow), std::nothrow);
    ::operator delete[](::operator new[](size));
    ::operator delete[](::operator new[](size), size);
    ::operator delete[](::operator new[](size, std::nothrow), std::nothrow);
    for (std::size_t at = 1; at <= 65536; at *= 2) {
      align to{at};
      block = ::operator new(size, to);
      CHECK(tessalloc_is_ours(block) && aligned_to(block, at) && aligned_to(block, 16));
      memset(block, 2, size);
      ::operator delete(block, to);
      ::operator delete(::operator new(size, to), size, to);
      block = ::operator new(size, to, std::nothrow);
      CHECK(aligned_to(block, at));
      ::operator delete(block, to, std::nothrow);
      block = ::operator new[](size, to);
      CHECK(aligned_to(block, at));
      ::operator delete[](block, to);
      ::operator delete[](::operator new[](size, to), size, to);
      block = ::operator new[](size, to, std::nothrow);
      CHECK(aligned_to(block, at));
      ::operator delete[](block, to, std::nothrow);
    }
  }
  ::operator delete(nullptr);
  ::operator delete[](nullptr, std::size_t{8});
  ::operator delete(nullptr, align{64});
  CHECK(::operator new(0) != ::operator new(0));
}

void without_memory_it_throws() {
  CHECK(throws_bad_alloc([] { used(::operator new(huge)); }));
  CHECK(throws_bad_alloc([] { used(::operator new[](huge)); }));
  CHECK(throws_bad_alloc([] { used(::operator new(huge, align{64})); }));
  CHECK(throws_bad_alloc([] { used(::operator new[](huge, align{64})); }));
  CHECK(throws_bad_alloc([] { used(::operator new(SIZE_MAX)); }));
  CHECK(throws_bad_alloc([] { used(::operator new(16, align{48})); }));
  CHECK(throws_bad_alloc([] { delete[] static_cast<char *>(used(new char[huge])); }));
  for (int i = 0; i < 1000; i++) CHECK(throws_bad_alloc([] { used(::operator new(huge)); }));
}

void nothrow_gives_null() {
  CHECK(::operator new(huge, std::nothrow) == nullptr);
  CHECK(::operator new[](huge, std::nothrow) == nullptr);
  CHECK(::operator new(huge, align{64}, std::nothrow) == nullptr);
  CHECK(::operator new[](huge, align{64}, std::nothrow) == nullptr);
}

struct FromHandler {
  int value;
};
int handler_calls;

void handler_that_throws() {
  handler_calls++;
  throw FromHandler{42};
}

void handler_that_gives_up() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

void the_handler_may_throw() {
  std::set_new_handler(handler_that_throws);
  for (int form = 0; form < 4; form++) {
    handler_calls = 0;
    int caught = 0;
    try {
      used(form == 0   ? ::operator new(huge)
           : form == 1 ? ::operator new[](huge)
           : form == 2 ? ::operator new(huge, align{64})
                       : ::operator new[](huge, align{64}));
    } catch (const FromHandler &thrown) {
      caught = thrown.value;
    }
    CHECK(caught == 42 && handler_calls == 1);
  }
  handler_calls = 0;
  nothrow_gives_null();
  CHECK(handler_calls == 4);
  CHECK(std::get_new_handler() == handler_that_throws);
  std::set_new_handler(nullptr);
}

void the_handler_is_called_until_there_is_none() {
  handler_calls = 0;
  std::set_new_handler(handler_that_gives_up);
  CHECK(throws_bad_alloc([] { used(::operator new(huge)); }) && handler_calls == 3);
  handler_calls = 0;
  std::set_new_handler(handler_that_gives_up);
  CHECK(::operator new[](huge, align{4096}, std::nothrow) == nullptr && handler_calls == 3);
}

void *throw_in_thread(void *) {
  for (int i = 0; i < 200; i++) CHECK(throws_bad_alloc([] { used(::operator new[](huge, align{32})); }));
  return nullptr;
}

void threads_throw_too() {
  pthread_t threads[4];
  for (auto &thread : threads) CHECK(pthread_create(&thread, nullptr, throw_in_thread, nullptr) == 0);
  for (auto &thread : threads) pthread_join(thread, nullptr);
}

} // namespace

int main() {
  check_live();
  every_form_gives_and_takes();
  without_memory_it_throws();
  nothrow_gives_null();
  the_handler_may_throw();
  the_handler_is_called_until_there_is_none();
  threads_throw_too();
  puts("ok");
}
