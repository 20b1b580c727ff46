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

int main() {
  check_live();
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
