/* The allocation functions of tessalloc.h beyond the malloc family. */
#include "check.h"

static int is_zero(const void *block, size_t from, size_t to) {
  for (size_t at = from; at < to; at++)
    if (((const unsigned char *)block)[at] != 0) return 0;
  return 1;
}

/* Leaves a freed block with ones in it for the next request of this size. */
static void leave_dirt(size_t size) {
  void *block = tessalloc_malloc(size);
  CHECK(block != NULL);
  memset(block, 0xff, tessalloc_usable_size(block));
  tessalloc_free(block);
}

static int is_at(const void *block, size_t align, size_t offset) {
  return block != NULL && ((uintptr_t)block + offset) % align == 0;
}

static const size_t half = SIZE_MAX / 2 + 1;

static void counted(void) {
  CHECK((errno = 0, tessalloc_mallocn(half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_zallocn(half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_malloc_sized(SIZE_MAX, NULL) == NULL && errno == ENOMEM));
  char *block = (char *)tessalloc_mallocn(10, 10);
  CHECK(block != NULL && tessalloc_usable_size(block) >= 100);
  memset(block, 3, 100);
  CHECK((errno = 0, tessalloc_reallocn(block, half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_recalloc(block, half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_recalloc_aligned(block, half, 2, 64) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_recalloc_aligned_at(block, half, 2, 64, 8) == NULL && errno == ENOMEM));
  block = (char *)tessalloc_reallocn(block, 10, 200);
  CHECK(block != NULL && block[99] == 3);
  block = (char *)tessalloc_reallocn(block, 0, 200);
  CHECK(block != NULL);
  CHECK((errno = 0, tessalloc_reallocf(block, SIZE_MAX) == NULL && errno == ENOMEM));

  void *place = NULL;
  errno = 77;
  CHECK(tessalloc_reallocarr(&place, 10, 10) == 0 && place != NULL);
  memset(place, 5, 100);
  CHECK(tessalloc_reallocarr(&place, half, 2) == EOVERFLOW);
  CHECK(tessalloc_reallocarr(&place, SIZE_MAX, 1) == ENOMEM);
  CHECK(((char *)place)[99] == 5);
  CHECK(tessalloc_reallocarr(&place, 0, 10) == 0 && place == NULL && errno == 77);
}

static void zeroing(void) {
  const size_t sizes[] = {1, 50, 1000, 5000, 70000, 300000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t size = sizes[i];
    leave_dirt(size);
    char *block = (char *)tessalloc_zalloc(size);
    CHECK(is_zero(block, 0, tessalloc_usable_size(block)));
    memset(block, 1, size);
    leave_dirt(3 * size);
    block = (char *)tessalloc_rezalloc(block, 3 * size);
    CHECK(block[size - 1] == 1 && is_zero(block, size, tessalloc_usable_size(block)));
    block = (char *)tessalloc_recalloc(block, 5, size);
    CHECK(block[size - 1] == 1 && is_zero(block, 3 * size, 5 * size));
    tessalloc_free(block);
    block = (char *)tessalloc_zallocn(2, size);
    CHECK(is_zero(block, 0, tessalloc_usable_size(block)));
    tessalloc_free(block);
  }
  void *block = tessalloc_rezalloc(NULL, 100);
  CHECK(is_zero(block, 0, 100));
  tessalloc_free(block);
}

static void alignment(void) {
  const size_t offsets[] = {0, 8, 16, 40, 100};
  for (size_t align = 1; align <= 4u << 20; align *= 4) {
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
      size_t offset = offsets[i];
      leave_dirt(100);
      void *block = tessalloc_malloc_aligned_at(100, align, offset);
      CHECK(is_at(block, align, offset));
      if (offset % align == 0) CHECK(is_at(block, 16, 0));
      memset(block, 7, 100);
      block = tessalloc_realloc_aligned_at(block, 400, align, offset);
      CHECK(is_at(block, align, offset) && ((char *)block)[99] == 7);
      memset(block, 7, tessalloc_usable_size(block));
      size_t before = tessalloc_usable_size(block);
      block = tessalloc_rezalloc_aligned_at(block, 3 * before, align, offset);
      CHECK(is_at(block, align, offset) && ((char *)block)[before - 1] == 7);
      CHECK(is_zero(block, before, tessalloc_usable_size(block)));
      before = tessalloc_usable_size(block);
      block = tessalloc_recalloc_aligned_at(block, 2, before, align, offset);
      CHECK(is_at(block, align, offset) && is_zero(block, before, 2 * before));
      tessalloc_free_size_aligned(block, 2 * before, align);
      block = tessalloc_calloc_aligned_at(10, 11, align, offset);
      CHECK(is_at(block, align, offset) && is_zero(block, 0, tessalloc_usable_size(block)));
      free(block);
      block = tessalloc_zalloc_aligned_at(110, align, offset);
      CHECK(is_at(block, align, offset) && is_zero(block, 0, tessalloc_usable_size(block)));
      tessalloc_free_aligned(block, align);
    }
    void *block = tessalloc_malloc_aligned(10, align);
    CHECK(is_at(block, align, 0));
    block = tessalloc_realloc_aligned(block, 1000, align);
    CHECK(is_at(block, align, 0));
    block = tessalloc_rezalloc_aligned(block, 5000, align);
    CHECK(is_at(block, align, 0));
    block = tessalloc_recalloc_aligned(block, 3, 5000, align);
    CHECK(is_at(block, align, 0));
    tessalloc_free(block);
    block = tessalloc_zalloc_aligned(100, align);
    CHECK(is_at(block, align, 0) && is_zero(block, 0, 100));
    tessalloc_free(block);
    block = tessalloc_calloc_aligned(10, 10, align);
    CHECK(is_at(block, align, 0) && is_zero(block, 0, 100));
    tessalloc_free(block);
  }
  CHECK((errno = 0, tessalloc_malloc_aligned(10, 24) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_zalloc_aligned_at(10, 0, 8) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_malloc_aligned_at(10, 8u << 20, 8) == NULL && errno == EINVAL));
}

static void sizes(void) {
  size_t usable = 0, before = 0;
  void *block = tessalloc_malloc_sized(100, &usable);
  CHECK(usable >= 100 && usable == tessalloc_usable_size(block));
  size_t first = usable;
  block = tessalloc_realloc_sized(block, 1000, &before, &usable);
  CHECK(before == first && usable >= 1000 && usable == tessalloc_usable_size(block));
  tessalloc_free_size(block, 1000);
  block = tessalloc_zalloc_sized(100, &usable);
  CHECK(is_zero(block, 0, usable));
  tessalloc_free_size(block, 12345); /* wrong, and harmless */
  block = tessalloc_malloc_aligned_sized(100, 256, &usable);
  CHECK(is_at(block, 256, 0) && usable >= 100);
  tessalloc_free(block);
  block = tessalloc_zalloc_aligned_sized(100, 256, NULL);
  CHECK(is_at(block, 256, 0) && is_zero(block, 0, 100));
  CHECK(tessalloc_expand(block, tessalloc_usable_size(block)) == block);
  CHECK(tessalloc_expand(block, 1 << 20) == NULL && tessalloc_expand(NULL, 1) == NULL);
  tessalloc_free(block);
}

static void batches(void) {
  enum { COUNT = 500 };
  void *blocks[COUNT];
  CHECK(tessalloc_malloc_batch(48, blocks, COUNT) == COUNT);
  for (int i = 0; i < COUNT; i++) memset(blocks[i], i, 48);
  for (int i = 0; i < COUNT; i++) CHECK(((unsigned char *)blocks[i])[47] == (unsigned char)i);
  blocks[7] = (free(blocks[7]), (void *)NULL);
  tessalloc_free_batch(blocks, COUNT);
  CHECK((errno = 0, tessalloc_malloc_batch(SIZE_MAX, blocks, 2) == 0 && errno == ENOMEM));
  CHECK(tessalloc_malloc_batch(8, NULL, 0) == 0);
}

static void texts(void) {
  char *copy = tessalloc_strdup("tessera");
  CHECK(strcmp(copy, "tessera") == 0 && tessalloc_is_ours(copy));
  tessalloc_free(copy);
  copy = tessalloc_strndup("tessera", 4);
  CHECK(strcmp(copy, "tess") == 0);
  tessalloc_free(copy);
  CHECK(tessalloc_strdup(NULL) == NULL && tessalloc_strndup(NULL, 3) == NULL);
  copy = tessalloc_realpath("/usr/../", NULL);
  CHECK(strcmp(copy, "/") == 0);
  tessalloc_free(copy);
  static char room[4096];
  CHECK(tessalloc_realpath("/usr/..", room) == room && strcmp(room, "/") == 0);
  CHECK((errno = 0, tessalloc_realpath("/does/not/exist", NULL) == NULL && errno == ENOENT));
}

int main(void) {
  check_live();
  counted();
  zeroing();
  alignment();
  sizes();
  batches();
  texts();
  int outside = 0;
  CHECK(tessalloc_cfree(&outside) == 0 && tessalloc_cfree(NULL) == 0);
  CHECK(tessalloc_cfree(tessalloc_malloc(10)) == 1);
  puts("ok");
  return 0;
}
