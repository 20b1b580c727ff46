// The allocators for containers: tessalloc::allocator, and mimalloc's names for it.
#include "check.h"
#include <list>
#include <map>
#include <memory>
#include <mimalloc.h>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

template <class T> using A = tessalloc::allocator<T>;

struct alignas(256) Wide {
  char bytes[256];
};

static bool handler_ran = false;
static void handler() {
  handler_ran = true;
  std::set_new_handler(nullptr);
}

template <template <class> class Allocator> static void containers() {
  std::vector<int, Allocator<int>> numbers;
  for (int i = 0; i < 100000; i++) numbers.push_back(i);
  CHECK(tessalloc_is_ours(numbers.data()) && numbers[99999] == 99999);
  auto moved = std::move(numbers);
  CHECK(moved.size() == 100000 && moved.get_allocator() == Allocator<int>());

  std::map<int, std::string, std::less<int>, Allocator<std::pair<const int, std::string>>> map;
  for (int i = 0; i < 1000; i++) map[i] = std::to_string(i);
  CHECK(map.at(999) == "999" && tessalloc_is_ours(&*map.begin()));
  std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, Allocator<std::pair<const int, int>>> table;
  for (int i = 0; i < 1000; i++) table[i] = 2 * i;
  CHECK(table.at(500) == 1000);
  std::list<int, Allocator<int>> list(moved.begin(), moved.end());
  CHECK(list.back() == 99999);
  std::basic_string<char, std::char_traits<char>, Allocator<char>> text(1000, 'x');
  CHECK(tessalloc_is_ours(text.data()));
  auto shared = std::allocate_shared<int>(Allocator<int>(), 7);
  CHECK(*shared == 7 && tessalloc_is_ours(shared.get()));

  std::vector<Wide, Allocator<Wide>> wide(10);
  CHECK(reinterpret_cast<std::uintptr_t>(wide.data()) % 256 == 0);
}

template <class T> static void heap_containers() {
  using Vector = std::vector<int, T>;
  const auto heaps = tessalloc_heap_count();
  {
    Vector numbers;
    CHECK(tessalloc_heap_count() == heaps + 1);
    for (int i = 0; i < 100000; i++) numbers.push_back(i);
    mi_heap_t *heap = numbers.get_allocator().heap();
    CHECK(mi_heap_of(numbers.data()) == heap && numbers[99999] == 99999);
    Vector copy(numbers), moved(std::move(numbers)), other;
    CHECK(copy.get_allocator() == moved.get_allocator() && copy.get_allocator() != other.get_allocator());
    CHECK(numbers.get_allocator() == moved.get_allocator() && mi_heap_of(copy.data()) == heap);
    numbers.assign(5, 7); // moved from, and still with its heap
    other = copy;
    CHECK(other.get_allocator() == copy.get_allocator() && mi_heap_of(other.data()) == heap);
    CHECK(tessalloc_heap_count() == heaps + 1); // that of `other` went with its last copy
    other.get_allocator().collect(true);

    using Pair = std::pair<const int, std::string>;
    using Other = typename std::allocator_traits<T>::template rebind_alloc<Pair>;
    std::map<int, std::string, std::less<int>, Other> map(std::less<int>(), Other(moved.get_allocator()));
    for (int i = 0; i < 1000; i++) map[i] = std::to_string(i);
    CHECK(map.at(999) == "999" && mi_heap_of(&*map.begin()) == heap);
    std::list<Wide, typename std::allocator_traits<T>::template rebind_alloc<Wide>> wide(10);
    CHECK(reinterpret_cast<std::uintptr_t>(&wide.front()) % 256 == 0);
  }
  CHECK(tessalloc_heap_count() == heaps);
  mi_heap_t *given = mi_heap_new();
  {
    Vector numbers(1000, 5, T(given));
    CHECK(mi_heap_of(numbers.data()) == given);
  }
  CHECK(tessalloc_heap_count() == heaps + 1); // it is the giver's
  mi_heap_destroy(given);
}

// What is freed stays until the heap goes, or does not.
static void freed_or_kept() {
  mi_heap_destroy_stl_allocator<char> kept;
  mi_heap_stl_allocator<char> freed;
  for (int i = 0; i < 1000; i++) {
    kept.deallocate(kept.allocate(100000), 100000);
    freed.deallocate(freed.allocate(100000), 100000);
  }
  CHECK(tessalloc_heap_allocated_bytes(kept.heap()) >= 1000 * 100000);
  CHECK(tessalloc_heap_allocated_bytes(freed.heap()) < 10 * 100000);
}

int main() {
  check_live();
  heap_containers<mi_heap_stl_allocator<int>>();
  heap_containers<mi_heap_destroy_stl_allocator<int>>();
  heap_containers<tessalloc::heap_allocator<int>>();
  freed_or_kept();
  containers<A>();
  containers<mi_stl_allocator>();
  static_assert(std::allocator_traits<A<int>>::is_always_equal::value, "no state");
  static_assert(std::is_same<std::allocator_traits<A<int>>::rebind_alloc<long>, A<long>>::value, "rebinds");

  // What can't be had asks the new-handler, then throws.
  std::set_new_handler(handler);
  bool threw = false;
  try {
    (void)mi_new(SIZE_MAX / 2 + 1);
  } catch (const std::bad_alloc &) {
    threw = true;
  }
  CHECK(threw && handler_ran);
  threw = false;
  try {
    std::vector<Wide, A<Wide>> none(SIZE_MAX / 512);
  } catch (const std::exception &) { // length_error from the container, or bad_alloc
    threw = true;
  }
  CHECK(threw);
  threw = false;
  try {
    (void)A<Wide>().allocate(SIZE_MAX / 256);
  } catch (const std::bad_alloc &) {
    threw = true;
  }
  CHECK(threw);
  puts("ok");
}
