// A program written for mimalloc that finds tessalloc in an installed tree.
#include <mimalloc.h>
#include <stdio.h>
#include <vector>

int main() {
  std::vector<int, mi_stl_allocator<int>> numbers(1000, 7);
  if (!mi_is_in_heap_region(numbers.data())) return 1;
  puts("ok");
}
