/* The malloc family against C23, POSIX and glibc's manual. */
#include "check.h"

static volatile size_t over_ptrdiff = (size_t)PTRDIFF_MAX + 1;
static volatile size_t all_bits = SIZE_MAX;

static int aligned_to(const void *block, size_t align) { return ((uintptr_t)block & (align - 1)) == 0; }

static void every_block_is_aligned_to_16(void) {
  for (size_t size = 0; size < 5000; size++) {
    void *block = malloc(size);
    CHECK(block && aligned_to(block, 16) && malloc_usable_size(block) >= size);
    memset(block, 0xa5, size);
    block = realloc(block, size + 1);
    CHECK(block && aligned_to(block, 16));
    free(block);
    block = calloc(1, size);
    CHECK(block && aligned_to(block, 16));
    for (size_t i = 0; i < size; i++) CHECK(((unsigned char *)block)[i] == 0);
    memset(block, 0x5a, size);
    free(block);
  }
  for (size_t size = 1; size < (64u << 20); size = size * 3 + 1) {
    void *block = malloc(size);
    CHECK(block && aligned_to(block, 16));
    free(block);
  }
}

static void no_bytes_are_a_block_of_its_own(void) {
  void *blocks[64];
  for (int i = 0; i < 64; i++) {
    blocks[i] = i % 3 == 0 ? malloc(0) : i % 3 == 1 ? calloc(0, 8) : realloc(NULL, 0);
    CHECK(blocks[i]);
    for (int j = 0; j < i; j++) CHECK(blocks[i] != blocks[j]);
  }
  for (int i = 0; i < 64; i++) free(blocks[i]);
  void *none;
  CHECK(posix_memalign(&none, 64, 0) == 0 && none && aligned_to(none, 64));
  free(none);
}

#define NO_MEMORY(call) \
  do {                  \
    errno = 0;          \
    CHECK((call) == NULL); \
    CHECK(errno == ENOMEM); \
  } while (0)

static void too_large_is_enomem(void) {
  size_t sizes[] = {over_ptrdiff, over_ptrdiff + 4096, all_bits, all_bits - 1, all_bits - 15, all_bits - 4095};
  void *block = malloc(100);
  memset(block, 7, 100);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    NO_MEMORY(malloc(sizes[i]));
    NO_MEMORY(calloc(1, sizes[i]));
    NO_MEMORY(calloc(sizes[i], 1));
    NO_MEMORY(realloc(NULL, sizes[i]));
    NO_MEMORY(realloc(block, sizes[i]));
    NO_MEMORY(reallocarray(block, 1, sizes[i]));
    NO_MEMORY(aligned_alloc(16, sizes[i]));
    NO_MEMORY(aligned_alloc(4096, sizes[i]));
    NO_MEMORY(memalign(64, sizes[i]));
    NO_MEMORY(valloc(sizes[i]));
    NO_MEMORY(pvalloc(sizes[i]));
  }
  NO_MEMORY(malloc((size_t)PTRDIFF_MAX));
  NO_MEMORY(calloc(all_bits / 2 + 2, 2));
  NO_MEMORY(calloc((size_t)1 << 33, (size_t)1 << 33));
  NO_MEMORY(reallocarray(block, all_bits / 2 + 2, 2));
  NO_MEMORY(reallocarray(NULL, (size_t)1 << 33, (size_t)1 << 33));
  for (int i = 0; i < 100; i++) CHECK(((char *)block)[i] == 7);
  free(block);
}

static void realloc_to_nothing_frees(void) {
  for (int i = 0; i < 100000; i++) {
    void *block = malloc(10000);
    errno = 0;
    CHECK(realloc(block, 0) == NULL && errno == 0);
  }
  for (int i = 0; i < 100000; i++) CHECK(reallocarray(malloc(10000), i % 2, i % 2 ? 0 : 100) == NULL);
  /* Had they stayed, 2 GB would be here. */
  CHECK(mallinfo2().uordblks < (64u << 20));
}

static void realloc_keeps_what_was_there(void) {
  for (size_t from = 1; from < 3000000; from = from * 5 / 2 + 3) {
    for (size_t to = 1; to < 3000000; to = to * 7 / 2 + 1) {
      unsigned char *block = malloc(from);
      for (size_t i = 0; i < from; i++) block[i] = (unsigned char)(i * 31 + from);
      block = realloc(block, to);
      CHECK(block);
      size_t kept = from < to ? from : to;
      for (size_t i = 0; i < kept; i++) CHECK(block[i] == (unsigned char)(i * 31 + from));
      free(block);
    }
  }
}

static void free_keeps_errno(void) {
  errno = 12345;
  free(NULL);
  CHECK(errno == 12345);
  void *blocks[2000];
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 2000; i++) CHECK((blocks[i] = malloc((size_t)i * 37 % 70000 + (i % 500 == 0) * 5000000)));
    errno = 54321;
    for (int i = 0; i < 2000; i++) {
      free(blocks[i]);
      CHECK(errno == 54321);
    }
  }
}

static void bad_alignments_are_einval(void) {
  size_t bad[] = {0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 24, 48, 100, 4095, 4097, all_bits};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char mark;
    void *out = &mark;
    errno = 777;
    CHECK(posix_memalign(&out, bad[i], 100) == EINVAL);
    CHECK(out == &mark && errno == 777);
    if ((bad[i] & (bad[i] - 1)) != 0 || bad[i] == 0) {
      errno = 0;
      CHECK(aligned_alloc(bad[i], 100) == NULL && errno == EINVAL);
    }
  }
  char mark;
  void *out = &mark;
  errno = 777;
  CHECK(posix_memalign(&out, 64, over_ptrdiff) == ENOMEM && out == &mark && errno == 777);
  /* glibc rounds memalign's alignment up. */
  void *block = memalign(24, 100);
  CHECK(block && aligned_to(block, 32));
  free(block);
  errno = 0;
  CHECK(memalign(over_ptrdiff + 1, 100) == NULL && errno == EINVAL);
}

static void every_alignment_holds(void) {
  for (size_t align = 1; align <= (8u << 20); align *= 2) {
    size_t sizes[] = {0, 1, 8, align - 1, align, align + 1, 3 * align / 2, 1000, 70000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      void *a = aligned_alloc(align, sizes[i]);
      void *b = memalign(align, sizes[i]);
      void *c = NULL;
      CHECK(a && aligned_to(a, align) && aligned_to(a, 16) && malloc_usable_size(a) >= sizes[i]);
      CHECK(b && aligned_to(b, align) && aligned_to(b, 16));
      if (align >= sizeof(void *)) CHECK(posix_memalign(&c, align, sizes[i]) == 0 && aligned_to(c, align));
      memset(a, 1, sizes[i]);
      memset(b, 2, sizes[i]);
      if (c) memset(c, 3, sizes[i]);
      for (size_t j = 0; j < sizes[i]; j++) CHECK(((char *)a)[j] == 1 && ((char *)b)[j] == 2);
      a = realloc(a, sizes[i] * 2 + 1);
      CHECK(a);
      for (size_t j = 0; j < sizes[i]; j++) CHECK(((char *)a)[j] == 1);
      free(a);
      free(b);
      free(c);
    }
  }
}

static void whole_pages(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t size = 0; size < 5 * page; size += 511) {
    void *block = valloc(size);
    CHECK(block && aligned_to(block, page));
    free(block);
    block = pvalloc(size);
    CHECK(block && aligned_to(block, page));
    size_t rounded = (size + page - 1) / page * page;
    CHECK(malloc_usable_size(block) >= rounded);
    memset(block, 1, rounded);
    free(block);
  }
}

#pragma weak tessalloc_option_find
#pragma weak tessalloc_option_get
extern void free_sized(void *, size_t) __attribute__((weak));
extern void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
extern void cfree(void *) __attribute__((weak));
extern void *__libc_malloc(size_t) __attribute__((weak));
extern void __libc_free(void *) __attribute__((weak));
extern void *__libc_calloc(size_t, size_t) __attribute__((weak));
extern void *__libc_realloc(void *, size_t) __attribute__((weak));
extern void *__libc_memalign(size_t, size_t) __attribute__((weak));
extern void *__libc_valloc(size_t) __attribute__((weak));
extern void *__libc_pvalloc(size_t) __attribute__((weak));

static void c23_frees(void) {
  CHECK(free_sized && free_aligned_sized);
  for (size_t size = 0; size < 100000; size = size * 2 + 1) {
    free_sized(malloc(size), size);
    for (size_t align = 1; align <= 65536; align *= 2) free_aligned_sized(aligned_alloc(align, size), align, size);
  }
  free_sized(NULL, 0);
  free_aligned_sized(NULL, 64, 0);
}

static void old_and_inner_names(void) {
  CHECK(cfree);
  cfree(malloc(10));
  cfree(NULL);
  void *block = __libc_malloc(10);
  CHECK(tessalloc_is_ours(block));
  block = __libc_realloc(block, 10000);
  CHECK(tessalloc_is_ours(block));
  __libc_free(block);
  block = __libc_calloc(10, 10);
  CHECK(tessalloc_is_ours(block));
  free(block);
  block = __libc_memalign(128, 10);
  CHECK(tessalloc_is_ours(block) && aligned_to(block, 128));
  free(block);
  block = __libc_valloc(10);
  CHECK(tessalloc_is_ours(block));
  free(block);
  block = __libc_pvalloc(10);
  CHECK(tessalloc_is_ours(block));
  free(block);
}

static void figures(void) {
  void *block = malloc(10 << 20);
  memset(block, 1, 10 << 20);
  struct mallinfo2 wide = mallinfo2();
  CHECK(wide.uordblks >= (10u << 20) && wide.arena >= wide.uordblks);
  struct mallinfo narrow = mallinfo();
  CHECK(narrow.uordblks >= (10 << 20));
  free(block);
  CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1 && mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
  CHECK(mallopt(M_ARENA_MAX, 2) == 1 && mallopt(M_MXFAST, 64) == 1 && mallopt(M_MXFAST, 1 << 20) == 0);
  CHECK(mallopt(12345, 1) == 0);
  char text[4096] = {0};
  FILE *file = fmemopen(text, sizeof text, "w");
  CHECK(malloc_info(0, file) == 0);
  fclose(file);
  CHECK(strstr(text, "<malloc version=\"1\">") && strstr(text, "</malloc>\n") && strstr(text, "<system type=\"current\""));
  errno = 0;
  CHECK(malloc_info(1, stdout) == EINVAL);
  malloc_stats();
}

static void trim_says_whether(void) {
  enum { BLOCKS = 4000 };
  static void *blocks[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) memset(blocks[i] = malloc(10000), 1, 10000);
  for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
  CHECK(malloc_trim(0) == 1);
  CHECK(malloc_trim(0) == 0 || malloc_trim(0) == 0);
}

static int add_range(void *at, size_t bytes, void *sum) {
  CHECK(bytes > 0 && aligned_to(at, 65536));
  *(size_t *)sum += bytes;
  return 1;
}

static void own_functions(void) {
  CHECK(strchr(tessalloc_version(), '.'));
  tessalloc_stats_t stats;
  memset(&stats, 0xff, sizeof stats);
  stats.struct_bytes = sizeof stats;
  tessalloc_stats(&stats);
  CHECK(stats.version == 2 && stats.struct_bytes == sizeof stats && stats.remote_batches != UINT64_MAX);
  memset(&stats, 0xff, sizeof stats);
  stats.struct_bytes = 16;
  tessalloc_stats(&stats);
  CHECK(stats.struct_bytes == 16 && stats.reserved_bytes != UINT64_MAX && stats.committed_bytes == UINT64_MAX);
  const tessalloc_table_t *table = tessalloc_table_v1();
  CHECK(table->version == 1 && table->bytes == sizeof *table);
  CHECK(table->version_text() == tessalloc_version());
  void *block = table->malloc(100);
  CHECK(table->is_ours(block) && !table->is_ours(&block) && table->usable_size(block) >= 100);
  table->free(block);
  stats.struct_bytes = sizeof stats;
  table->stats(&stats);
  CHECK(stats.version == 2);
  size_t in_ranges = 0;
  table->ranges(add_range, &in_ranges);
  CHECK(in_ranges > 0 && in_ranges % 65536 == 0);
  tessalloc_page_stats_t pages = {.struct_bytes = sizeof pages};
  table->page_stats(&pages, NULL, NULL);
  CHECK(pages.version == 1 && pages.struct_bytes == sizeof pages);
  int number = tessalloc_option_find("TESSALLOC_KEEP");
  tessalloc_option_info_t info = {.struct_bytes = sizeof info};
  CHECK(table->option_info(number, &info) == 0 && !strcmp(info.name, "TESSALLOC_KEEP"));
  CHECK(table->option_info(-1, &info) == EINVAL && table->option_set(1000, 0) == EINVAL);
  CHECK(table->option_set(number, 2u << 20) == 0 && tessalloc_option_get(number) == 2u << 20);
  CHECK(table->option_set_text(number, "1T1") == ERANGE && table->option_set_text(number, "3M") == 0);
  CHECK(tessalloc_option_get(number) == 3u << 20 && table->option_set(number, info.value) == 0);
  for (size_t size = 0; size < 200000; size = size * 5 / 4 + 1) {
    block = tessalloc_malloc(size);
    CHECK(tessalloc_good_size(size) >= size && tessalloc_usable_size(block) >= size);
    tessalloc_free(block);
  }
  block = tessalloc_realloc(tessalloc_calloc(10, 10), 1000);
  for (int i = 0; i < 100; i++) CHECK(((char *)block)[i] == 0);
  CHECK(tessalloc_realloc(block, 0) == NULL);
  block = tessalloc_aligned_alloc(4096, 1);
  CHECK(aligned_to(block, 4096));
  free(block);
  errno = 0;
  CHECK(tessalloc_aligned_alloc(48, 1) == NULL && errno == EINVAL);
}

int main(void) {
  check_live();
  CHECK(malloc_usable_size(NULL) == 0);
  every_block_is_aligned_to_16();
  no_bytes_are_a_block_of_its_own();
  too_large_is_enomem();
  realloc_to_nothing_frees();
  realloc_keeps_what_was_there();
  free_keeps_errno();
  bad_alignments_are_einval();
  every_alignment_holds();
  whole_pages();
  c23_frees();
  old_and_inner_names();
  figures();
  trim_says_whether();
  own_functions();
  puts("ok");
}
