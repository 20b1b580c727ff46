/* tessalloc for C++: allocators for containers. C++11 and later. MIT licence.
 *
 *   std::vector<int, tessalloc::allocator<int>> numbers;
 *   std::map<int, int, std::less<int>, tessalloc::heap_allocator<std::pair<const int, int>>> with_a_heap_of_its_own;
 *
 * Their blocks are tessalloc's whatever operator new the program has. When memory is out they ask the new-handler for room, as
 * operator new does, and throw std::bad_alloc when there is none (without exceptions: std::abort).
 */
#ifndef TESSALLOC_STL_HPP
#define TESSALLOC_STL_HPP

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
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

/* Blocks of one heap, shared by all copies, which a container's copy gets too. Made without a heap it makes one, which ends with
 * its last copy; a heap that is given is left to the giver. Destroys: nothing is freed before the heap ends, and then all is. */
template <class T, bool Destroys> class basic_heap_allocator {
public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using propagate_on_container_copy_assignment = std::true_type;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;
  using is_always_equal = std::false_type;
  template <class U> struct rebind { using other = basic_heap_allocator<U, Destroys>; };

  basic_heap_allocator()
      : shared(static_cast<tessalloc_heap_t *>(detail::or_throw([]() { return tessalloc_heap_new(); })),
               Destroys ? tessalloc_heap_destroy : tessalloc_heap_delete) {}
  basic_heap_allocator(tessalloc_heap_t *heap) : shared(heap, [](tessalloc_heap_t *) {}) {}
  /* There is no move: an allocator that was moved from has its heap still. */
  basic_heap_allocator(const basic_heap_allocator &) noexcept = default;
  basic_heap_allocator &operator=(const basic_heap_allocator &) noexcept = default;
  template <class U> basic_heap_allocator(const basic_heap_allocator<U, Destroys> &other) noexcept : shared(other.shared) {}

  T *allocate(std::size_t count) {
    const std::size_t bytes = detail::bytes_of<T>(count);
    tessalloc_heap_t *const from = heap();
    return static_cast<T *>(detail::or_throw([from, bytes]() {
      return alignof(T) > detail::plain_align ? tessalloc_heap_malloc_aligned(from, bytes, alignof(T))
                                              : tessalloc_heap_malloc(from, bytes);
    }));
  }

  void deallocate(T *block, std::size_t) noexcept {
    if (!Destroys) tessalloc_heap_free(heap(), block);
  }

  tessalloc_heap_t *heap() const noexcept { return shared.get(); }
  /* Gives back what the heap holds and nobody uses; without force nothing waits for that. */
  void collect(bool force) {
    if (force) tessalloc_heap_purge(heap());
  }

private:
  template <class U, bool D> friend class basic_heap_allocator;
  std::shared_ptr<tessalloc_heap_t> shared;
};

template <class T> using heap_allocator = basic_heap_allocator<T, false>;
template <class T> using heap_destroy_allocator = basic_heap_allocator<T, true>;

template <class T, class U, bool D>
bool operator==(const basic_heap_allocator<T, D> &a, const basic_heap_allocator<U, D> &b) noexcept {
  return a.heap() == b.heap();
}
template <class T, class U, bool D>
bool operator!=(const basic_heap_allocator<T, D> &a, const basic_heap_allocator<U, D> &b) noexcept {
  return a.heap() != b.heap();
}

} // namespace tessalloc

#endif
