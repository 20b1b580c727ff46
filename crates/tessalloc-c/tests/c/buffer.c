/* An allocator in one given buffer: a mebibyte, filled with each size and emptied, between two marks without a system call. */
#include "check.h"

#define BYTES (1 << 20)
static char memory[BYTES + 1];
static void *blocks[BYTES / 16];

static tessalloc_buffer_stats_t stats_of(tessalloc_buffer_t *buffer) {
  tessalloc_buffer_stats_t stats;
  stats.struct_bytes = sizeof stats;
  tessalloc_buffer_stats(buffer, &stats);
  CHECK(stats.version == 1 && stats.struct_bytes == sizeof stats);
  return stats;
}

static size_t fill(tessalloc_buffer_t *buffer, size_t size) {
  size_t count = 0;
  while ((blocks[count] = tessalloc_buffer_malloc(buffer, size)) != NULL) {
    CHECK((uintptr_t)blocks[count] % 16 == 0);
    CHECK((char *)blocks[count] > memory && (char *)blocks[count] + size <= memory + sizeof memory);
    memset(blocks[count], (int)count, size);
    count++;
  }
  CHECK(errno == ENOMEM);
  return count;
}

static void empty(tessalloc_buffer_t *buffer, size_t count) {
  for (size_t i = 0; i < count; i++) tessalloc_buffer_free(buffer, blocks[i]);
  tessalloc_buffer_stats_t stats = stats_of(buffer);
  CHECK(stats.blocks == 0 && stats.allocated_bytes == 0 && stats.largest_free_bytes == stats.capacity_bytes);
}

static void mark(void) {
  CHECK(write(2, "mark\n", 5) == 5);
}

int main(int argc, char **argv) {
  (void)argv;
  CHECK(tessalloc_buffer_over(NULL, BYTES) == NULL && errno == EINVAL);
  for (size_t bytes = 0; bytes < 600; bytes++) CHECK(tessalloc_buffer_over(memory + bytes % 64, bytes) == NULL);
  for (size_t at = 0; at < 1024; at++) CHECK(tessalloc_buffer_over(memory + at, 3072) != NULL);

  tessalloc_buffer_t *buffer = tessalloc_buffer_over(memory + 1, BYTES);
  CHECK(buffer != NULL && (char *)buffer > memory);
  if (argc > 1) {
    void *block = tessalloc_buffer_malloc(buffer, 100);
    tessalloc_buffer_free(buffer, block);
    tessalloc_buffer_free(buffer, block);
    return 0;
  }

  mark();
  static const size_t sizes[] = {0, 1, 16, 17, 100, 512, 1000, 2048, 2049, 5000, 40000, 65536, 300000, 900000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t count = fill(buffer, sizes[i]);
    CHECK(count >= 1);
    empty(buffer, count);
    CHECK(fill(buffer, sizes[i]) == count);
    empty(buffer, count);
  }

  char *block = (char *)tessalloc_buffer_malloc(buffer, 1000);
  memset(block, 7, 1000);
  for (size_t size = 1000; size < BYTES / 2; size += size / 3) {
    block = (char *)tessalloc_buffer_realloc(buffer, block, size);
    CHECK(block != NULL && block[999] == 7 && tessalloc_buffer_usable_size(buffer, block) >= size);
  }
  CHECK((errno = 0, tessalloc_buffer_realloc(buffer, block, BYTES) == NULL && errno == ENOMEM && block[999] == 7));
  CHECK((errno = 0, tessalloc_buffer_realloc(buffer, block, SIZE_MAX) == NULL && errno == ENOMEM && block[999] == 7));
  CHECK(tessalloc_buffer_realloc(buffer, block, 0) == NULL);
  CHECK(tessalloc_buffer_usable_size(buffer, block) == 0 && tessalloc_buffer_usable_size(buffer, NULL) == 0);

  memset(blocks[0] = tessalloc_buffer_malloc(buffer, 3000), 0xff, 3000);
  tessalloc_buffer_free(buffer, blocks[0]);
  block = (char *)tessalloc_buffer_calloc(buffer, 30, 100);
  for (size_t i = 0; i < 3000; i++) CHECK(block[i] == 0);
  tessalloc_buffer_free(buffer, block);
  CHECK((errno = 0, tessalloc_buffer_calloc(buffer, SIZE_MAX / 2 + 1, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_buffer_malloc(buffer, SIZE_MAX) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_buffer_aligned_alloc(buffer, 24, 100) == NULL && errno == EINVAL));
  for (size_t align = 1; align <= BYTES / 4; align *= 2) {
    void *aligned = tessalloc_buffer_aligned_alloc(buffer, align, 100);
    CHECK(aligned != NULL && (uintptr_t)aligned % align == 0);
    tessalloc_buffer_free(buffer, aligned);
  }
  tessalloc_buffer_free(buffer, NULL);
  empty(buffer, 0);
  mark();
  puts("ok");
  return 0;
}
