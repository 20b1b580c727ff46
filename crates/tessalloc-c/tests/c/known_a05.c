/* 128 GiB of address space in blocks that nobody touches, of several sizes: the mappings stay few, and it all goes back. */
#include "check.h"

enum { STEP = 64 << 20 };

int main(void) {
  check_live();
  size_t before = count_mappings(), most = 0, got = 0, all = (size_t)128 << 30;
  size_t room = 4096, count = 0;
  void **blocks = malloc(room * sizeof *blocks);
  static const size_t sizes[] = {STEP, STEP / 8, STEP * 4, STEP - 12345, STEP / 64};
  while (got < all) {
    size_t size = sizes[count % 5];
    if (count == room) CHECK((blocks = realloc(blocks, (room *= 2) * sizeof *blocks)));
    CHECK((blocks[count] = malloc(size)));
    count++;
    got += size;
    if (count % 256 == 0) {
      size_t now = count_mappings();
      if (now > most) most = now;
    }
  }
  size_t now = count_mappings();
  if (now > most) most = now;
  printf("%zu blocks, mappings: %zu before, %zu at most, resident %zu MB\n", count, before, most, status_bytes("VmHWM:") >> 20);
  CHECK(most < before + 200);
  CHECK(status_bytes("VmHWM:") < (300u << 20));
  for (size_t i = 0; i < count; i += 2) free(blocks[i]);
  for (size_t i = 1; i < count; i += 2) free(blocks[i]);
  free(blocks);
  CHECK(count_mappings() < before + 200);
  check_live();
  puts("ok");
}
