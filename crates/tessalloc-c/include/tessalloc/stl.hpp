/* tessalloc for C++: an allocator for containers. C++11 and later. MIT licence.
 *
 *   std::vector<int, tessalloc::allocator<int>> numbers;
 *
 * Its blocks are tessalloc's whatever operator new the program has. When memory is out it asks the new-handler for room, as
 * operator new does, and throws std::bad_alloc when there is none (without exceptions: std::abort).
 */
#ifndef TESSALLOC_STL_HPP
#define TESSALLOC_STL_HPP

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <type_traits>

#include "../tessalloc.h"

namespace tessalloc {

namespace detail {

/* Blocks of tessalloc_malloc are aligned to this. */
constexpr std::size_t plain_align = 16;

[[noreturn]] inline void no_memory() {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
  throw std::bad_alloc();
#else
  std::abort();
#endif
}

/* What `take` gives, once it is not null. */
template <class Take> void *or_throw(Take take) {
  for (;;) {
    if (void *block = take()) return block;
    std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) no_memory();
    handler();
  }
}

/* A count of T in bytes; one that can't be had throws. */
template <class T> std::size_t bytes_of(std::size_t count) {
  if (count > static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(T)) no_memory();
  return count * sizeof(T);
}

} // namespace detail

/* Without state: all instances are equal, and may free one another's blocks. Any alignment of T. */
template <class T> struct allocator {
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using propagate_on_container_move_assignment = std::true_type;
  using is_always_equal = std::true_type;
  /* C++11's containers of some compilers ask for it. */
  template <class U> struct rebind { using other = allocator<U>; };

  allocator() noexcept = default;
  template <class U> allocator(const allocator<U> &) noexcept {}

  T *allocate(std::size_t count) {
    const std::size_t bytes = detail::bytes_of<T>(count);
    return static_cast<T *>(detail::or_throw([bytes]() {
      return alignof(T) > detail::plain_align ? tessalloc_malloc_aligned(bytes, alignof(T)) : tessalloc_malloc(bytes);
    }));
  }

  void deallocate(T *block, std::size_t count) noexcept {
    tessalloc_free_size_aligned(block, count * sizeof(T), alignof(T));
  }
};

template <class T, class U> bool operator==(const allocator<T> &, const allocator<U> &) noexcept { return true; }
template <class T, class U> bool operator!=(const allocator<T> &, const allocator<U> &) noexcept { return false; }

} // namespace tessalloc

#endif
