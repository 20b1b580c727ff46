/* A program written for mimalloc, with its own expectations of every function it calls. Compiled as C and as C++. */
#include "check.h"
#include <mimalloc.h>
#include <mimalloc-stats.h>
#include <sys/mman.h>

static bool is_zero(const void *p, size_t from, size_t to) {
  for (size_t at = from; at < to; at++)
    if (((const unsigned char *)p)[at] != 0) return false;
  return true;
}

static bool is_at(const void *p, size_t alignment, size_t offset) {
  return p != NULL && ((uintptr_t)p + offset) % alignment == 0;
}

/* Writes a byte over all of a block's usable size. */
static void *filled(void *p, int byte) {
  CHECK(p != NULL);
  memset(p, byte, mi_usable_size(p));
  return p;
}

static bool holds(const void *p, int byte, size_t size) {
  for (size_t at = 0; at < size; at++)
    if (((const unsigned char *)p)[at] != (unsigned char)byte) return false;
  return true;
}

/* Leaves a freed block full of ones for the next request of this size. */
static void leave_dirt(size_t size) { mi_free(filled(mi_malloc(size), 0xff)); }

static const size_t half = SIZE_MAX / 2 + 1;

static void test_basic(void) {
  char *p = (char *)mi_malloc(100);
  CHECK(p != NULL && is_at(p, 16, 0) && mi_usable_size(p) >= 100);
  CHECK(mi_malloc_size(p) == mi_usable_size(p) && mi_malloc_usable_size(p) == mi_usable_size(p));
  CHECK(mi_good_size(100) == mi_usable_size(p) && mi_malloc_good_size(100) == mi_good_size(100));
  CHECK(mi_usable_size(NULL) == 0);
  CHECK(mi_is_in_heap_region(p) && mi_check_owned(p));
  int outside = 5;
  CHECK(!mi_is_in_heap_region(&outside) && !mi_check_owned(&outside));
  mi_cfree(&outside);
  CHECK(outside == 5);
  mi_cfree(p);
  mi_free(NULL);

  leave_dirt(200);
  p = (char *)mi_zalloc(200);
  CHECK(is_zero(p, 0, mi_usable_size(p)));
  mi_free_size(p, 200);
  leave_dirt(200);
  p = (char *)mi_calloc(20, 10);
  CHECK(is_zero(p, 0, mi_usable_size(p)));
  mi_free_small(p);
  p = (char *)mi_malloc_small(MI_SMALL_SIZE_MAX);
  CHECK(mi_usable_size(filled(p, 1)) >= MI_SMALL_SIZE_MAX);
  mi_free_aligned(p, 16);
  p = (char *)mi_zalloc_small(40);
  CHECK(is_zero(p, 0, 40));
  mi_free_size_aligned(p, 40, 16);
  p = (char *)mi_mallocn(7, 11);
  CHECK(mi_usable_size(p) >= 77);
  mi_free(p);
  CHECK((errno = 0, mi_mallocn(half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, mi_calloc(half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, mi_malloc((size_t)PTRDIFF_MAX + 1) == NULL && errno == ENOMEM));

  int *typed = mi_malloc_tp(int);
  CHECK(is_at(typed, sizeof(int), 0));
  typed = mi_reallocn_tp(int, typed, 10);
  for (int i = 0; i < 10; i++) typed[i] = i;
  typed = mi_recalloc_tp(int, typed, 1000);
  CHECK(typed[9] == 9 && typed[999] == 0);
  mi_free(typed);
  long *longs = mi_calloc_tp(long, 3);
  CHECK(longs[0] == 0 && longs[2] == 0);
  mi_free(longs);
  longs = mi_zalloc_tp(long);
  CHECK(*longs == 0);
  mi_free(longs);
  longs = mi_mallocn_tp(long, 8);
  CHECK(mi_usable_size(longs) >= 8 * sizeof(long));
  mi_free(longs);
}

static void test_realloc(void) {
  char *p = (char *)mi_realloc(NULL, 50);
  memset(p, 1, 50);
  p = (char *)mi_realloc(p, 5000);
  CHECK(holds(p, 1, 50));
  p = (char *)mi_realloc(p, 0);
  CHECK(p != NULL); /* size 0 is a block */
  p = (char *)mi_reallocn(p, 10, 10);
  filled(p, 2);
  CHECK((errno = 0, mi_reallocn(p, half, 2) == NULL && errno == ENOMEM && holds(p, 2, 100)));
  CHECK((errno = 0, mi_reallocarray(p, half, 2) == NULL && errno == ENOMEM && holds(p, 2, 100)));
  p = (char *)mi_reallocarray(p, 20, 20);
  CHECK(holds(p, 2, 100));
  CHECK(mi_expand(p, mi_usable_size(p)) == p && mi__expand(p, 1) == p && mi_expand(p, 100000) == NULL);
  CHECK(mi_expand(NULL, 8) == NULL);
  CHECK(mi_reallocf(p, half) == NULL); /* frees p */
  p = (char *)mi_reallocf(NULL, 10);
  CHECK(p != NULL);
  CHECK(mi_reallocarr(&p, 100, 10) == 0 && mi_usable_size(p) >= 1000);
  CHECK(mi_reallocarr(&p, half, 2) != 0 && p != NULL);
  mi_free(p);

  leave_dirt(3000);
  p = (char *)mi_zalloc(1000);
  memset(p, 3, 1000);
  p = (char *)mi_rezalloc(p, 3000);
  CHECK(holds(p, 3, 1000) && is_zero(p, 1000, 3000));
  leave_dirt(9000);
  p = (char *)mi_recalloc(p, 3, 3000);
  CHECK(holds(p, 3, 1000) && is_zero(p, 1000, 9000));
  CHECK((errno = 0, mi_recalloc(p, half, 2) == NULL && errno == ENOMEM));
  mi_free(p);
}

static void test_sized(void) {
  size_t size = 0, pre = 0, post = 0;
  void *p = mi_umalloc(100, &size);
  CHECK(size >= 100 && size == mi_usable_size(p));
  p = mi_urealloc(p, 1000, &pre, &post);
  CHECK(pre == size && post >= 1000 && post == mi_usable_size(p));
  mi_ufree(p, &size);
  CHECK(size == post);
  leave_dirt(100);
  p = mi_ucalloc(10, 10, &size);
  CHECK(size >= 100 && is_zero(p, 0, size));
  mi_ufree(p, NULL);
  p = mi_umalloc_small(64, &size);
  CHECK(size >= 64);
  mi_free(p);
  p = mi_uzalloc_small(64, &size);
  CHECK(size >= 64 && is_zero(p, 0, size));
  mi_free(p);
  p = mi_umalloc_aligned(100, 512, &size);
  CHECK(is_at(p, 512, 0) && size >= 100);
  mi_free(p);
  p = mi_uzalloc_aligned(100, 512, &size);
  CHECK(is_at(p, 512, 0) && is_zero(p, 0, size));
  mi_free(p);
}

static void test_aligned(void) {
  for (size_t alignment = 8; alignment <= 64 * 1024; alignment *= 2) {
    leave_dirt(300);
    void *p = mi_malloc_aligned(300, alignment);
    CHECK(is_at(p, alignment, 0));
    mi_free(filled(p, 0xff));
    p = mi_zalloc_aligned(300, alignment);
    CHECK(is_at(p, alignment, 0) && is_zero(p, 0, 300));
    memset(p, 4, 300);
    p = mi_realloc_aligned(p, 3000, alignment);
    CHECK(is_at(p, alignment, 0) && holds(p, 4, 300));
    mi_free_aligned(p, alignment);
    p = mi_calloc_aligned(30, 10, alignment);
    CHECK(is_at(p, alignment, 0) && is_zero(p, 0, 300));
    filled(p, 5);
    size_t before = mi_usable_size(p);
    p = mi_rezalloc_aligned(p, 2 * before, alignment);
    CHECK(is_at(p, alignment, 0) && holds(p, 5, before) && is_zero(p, before, 2 * before));
    p = mi_recalloc_aligned(p, 3, before, alignment);
    CHECK(is_at(p, alignment, 0) && holds(p, 5, before) && is_zero(p, before, 3 * before));
    p = mi_aligned_recalloc(p, 4, before, alignment);
    CHECK(is_at(p, alignment, 0) && is_zero(p, before, 4 * before));
    mi_free(p);

    const size_t offset = 24;
    p = mi_malloc_aligned_at(300, alignment, offset);
    CHECK(is_at(p, alignment, offset));
    mi_free(filled(p, 0xff));
    p = mi_zalloc_aligned_at(300, alignment, offset);
    CHECK(is_at(p, alignment, offset) && is_zero(p, 0, 300));
    memset(p, 6, 300);
    p = mi_realloc_aligned_at(p, 3000, alignment, offset);
    CHECK(is_at(p, alignment, offset) && holds(p, 6, 300));
    mi_free(p);
    p = mi_calloc_aligned_at(30, 10, alignment, offset);
    CHECK(is_at(p, alignment, offset) && is_zero(p, 0, 300));
    filled(p, 7);
    before = mi_usable_size(p);
    p = mi_rezalloc_aligned_at(p, 2 * before, alignment, offset);
    CHECK(is_at(p, alignment, offset) && holds(p, 7, before) && is_zero(p, before, 2 * before));
    p = mi_recalloc_aligned_at(p, 3, before, alignment, offset);
    CHECK(is_at(p, alignment, offset) && holds(p, 7, before) && is_zero(p, before, 3 * before));
    p = mi_aligned_offset_recalloc(p, 4, before, alignment, offset);
    CHECK(is_at(p, alignment, offset) && is_zero(p, before, 4 * before));
    mi_free(p);
  }
  CHECK(mi_malloc_aligned(10, 3) == NULL && mi_malloc_aligned_at(10, 0, 8) == NULL);
  CHECK(mi_calloc_aligned(half, 2, 64) == NULL);

  void *p = mi_memalign(256, 10);
  CHECK(is_at(p, 256, 0));
  mi_free(p);
  p = mi_aligned_alloc(64, 128);
  CHECK(is_at(p, 64, 0));
  mi_free(p);
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  p = mi_valloc(10);
  CHECK(is_at(p, page, 0));
  mi_free(p);
  p = mi_pvalloc(page + 1);
  CHECK(is_at(p, page, 0) && mi_usable_size(p) >= 2 * page);
  mi_free(p);
  CHECK(mi_pvalloc(SIZE_MAX) == NULL);
  p = NULL;
  errno = 77;
  CHECK(mi_posix_memalign(&p, 1024, 5) == 0 && is_at(p, 1024, 0) && errno == 77);
  mi_free(p);
  p = NULL;
  CHECK(mi_posix_memalign(&p, 2, 5) == EINVAL && mi_posix_memalign(&p, 24, 5) == EINVAL && p == NULL);
  CHECK(mi_posix_memalign(&p, 64, half) == ENOMEM && p == NULL && errno == 77);
}

static void test_texts(void) {
  char *s = mi_strdup("koka");
  CHECK(strcmp(s, "koka") == 0);
  mi_free(s);
  s = mi_strndup("koka", 2);
  CHECK(strcmp(s, "ko") == 0);
  mi_free(s);
  CHECK(mi_strdup(NULL) == NULL && mi_strndup(NULL, 1) == NULL && mi_wcsdup(NULL) == NULL);
  s = mi_realpath("/usr/..", NULL);
  CHECK(strcmp(s, "/") == 0);
  mi_free(s);
  unsigned char *m = mi_mbsdup((const unsigned char *)"m\xc3\xa9");
  CHECK(strcmp((char *)m, "m\xc3\xa9") == 0);
  mi_free(m);
  wchar_t *w = mi_wcsdup(L"wide");
  CHECK(wcscmp(w, L"wide") == 0);
  mi_free(w);
  size_t size = 9;
  CHECK(setenv("TEST_DUPENV", "value", 1) == 0);
  CHECK(mi_dupenv_s(&s, &size, "TEST_DUPENV") == 0 && strcmp(s, "value") == 0 && size == 5);
  mi_free(s);
  CHECK(mi_dupenv_s(&s, &size, "TEST_NO_SUCH") == 0 && s == NULL && size == 0);
  CHECK(mi_dupenv_s(NULL, NULL, "TEST_DUPENV") == EINVAL);
  CHECK(mi_wdupenv_s(&w, &size, L"TEST_DUPENV") != 0 && w == NULL);
}

static void test_new(void) {
  void *p = mi_new(100);
  CHECK(is_at(p, 16, 0));
  p = mi_new_realloc(filled(p, 8), 1000);
  CHECK(holds(p, 8, 100));
  p = mi_new_reallocn(p, 50, 100);
  CHECK(holds(p, 8, 100));
  mi_free(p);
  p = mi_new_n(10, 20);
  CHECK(mi_usable_size(p) >= 200);
  mi_free(p);
  p = mi_new_aligned(10, 128);
  CHECK(is_at(p, 128, 0));
  mi_free(p);
  p = mi_new_nothrow(10);
  CHECK(p != NULL && mi_new_nothrow(half) == NULL);
  mi_free(p);
  p = mi_new_aligned_nothrow(10, 128);
  CHECK(is_at(p, 128, 0) && mi_new_aligned_nothrow(half, 128) == NULL);
  mi_free(p);
}

/* A block of a heap, written over as far as is usable. */
static void *of(mi_heap_t *heap, void *p, int byte) {
  CHECK(p != NULL && mi_heap_of(p) == heap && mi_heap_contains(heap, p));
  return filled(p, byte);
}

/* Leaves a freed block of a heap full of ones for the next request of this kind. */
static void leave_heap_dirt(mi_heap_t *heap, size_t size, size_t alignment, size_t offset) {
  void *p = mi_heap_malloc_aligned_at(heap, size, alignment, offset);
  CHECK(mi_heap_of(p) == heap);
  mi_free(filled(p, 0xff));
}

static void test_heap(mi_heap_t *heap) {
  void *p = of(heap, mi_heap_malloc(heap, 100), 0xff);
  mi_free(p);
  p = mi_heap_zalloc(heap, 100);
  CHECK(is_zero(p, 0, mi_usable_size(p)));
  mi_free(of(heap, p, 0xff));
  p = mi_heap_calloc(heap, 10, 10);
  CHECK(is_zero(p, 0, mi_usable_size(p)));
  mi_free(of(heap, p, 1));
  p = of(heap, mi_heap_malloc_small(heap, MI_SMALL_SIZE_MAX), 1);
  CHECK(mi_usable_size(p) >= MI_SMALL_SIZE_MAX);
  mi_free_size(p, MI_SMALL_SIZE_MAX);
  p = mi_heap_zalloc_small(heap, 40);
  CHECK(is_zero(p, 0, 40));
  p = mi_heap_realloc(heap, of(heap, p, 2), 4000);
  CHECK(mi_heap_of(p) == heap && holds(p, 2, 40));
  p = mi_heap_realloc(heap, p, 0); /* size 0 is a block */
  CHECK(p != NULL && mi_heap_of(p) == heap);
  p = mi_heap_reallocn(heap, p, 10, 10);
  of(heap, p, 3);
  CHECK((errno = 0, mi_heap_reallocn(heap, p, half, 2) == NULL && errno == ENOMEM && holds(p, 3, 100)));
  CHECK(mi_heap_reallocf(heap, p, half) == NULL); /* frees p */
  p = mi_heap_reallocf(heap, NULL, 10);
  mi_free(of(heap, p, 4));
  p = of(heap, mi_heap_mallocn(heap, 7, 11), 4);
  CHECK(mi_usable_size(p) >= 77);
  mi_free(p);
  CHECK((errno = 0, mi_heap_mallocn(heap, half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, mi_heap_calloc(heap, half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, mi_heap_malloc(heap, half) == NULL && errno == ENOMEM));
  p = mi_heap_rezalloc(heap, NULL, 1000);
  size_t before = mi_usable_size(p);
  leave_heap_dirt(heap, 3000, 16, 0);
  p = mi_heap_rezalloc(heap, of(heap, p, 5), 3000);
  CHECK(holds(p, 5, 1000) && is_zero(p, before, 3000));
  before = mi_usable_size(p);
  leave_heap_dirt(heap, 9000, 16, 0);
  p = mi_heap_recalloc(heap, of(heap, p, 6), 3, 3000);
  CHECK(holds(p, 6, 3000) && is_zero(p, before, 9000) && mi_heap_of(p) == heap);
  CHECK((errno = 0, mi_heap_recalloc(heap, p, half, 2) == NULL && errno == ENOMEM));
  mi_free(p);

  char *s = mi_heap_strdup(heap, "koka");
  CHECK(strcmp(s, "koka") == 0 && mi_heap_of(s) == heap);
  mi_free(s);
  s = mi_heap_strndup(heap, "koka", 2);
  CHECK(strcmp(s, "ko") == 0 && mi_heap_of(s) == heap);
  mi_free(s);
  s = mi_heap_realpath(heap, "/usr/..", NULL);
  CHECK(strcmp(s, "/") == 0 && mi_heap_of(s) == heap);
  mi_free(s);

  long *typed = mi_heap_malloc_tp(long, heap);
  typed = mi_heap_reallocn_tp(long, heap, typed, 10);
  for (int i = 0; i < 10; i++) typed[i] = i;
  typed = mi_heap_recalloc_tp(long, heap, typed, 1000);
  CHECK(typed[9] == 9 && typed[999] == 0);
  mi_free(typed);
  typed = mi_heap_calloc_tp(long, heap, 3);
  CHECK(typed[0] == 0 && typed[2] == 0);
  mi_free(typed);
  typed = mi_heap_zalloc_tp(long, heap);
  CHECK(*typed == 0);
  mi_free(typed);
  typed = mi_heap_mallocn_tp(long, heap, 8);
  CHECK(mi_usable_size(typed) >= 8 * sizeof(long));
  mi_free(typed);

  p = mi_heap_alloc_new(heap, 100);
  mi_free(of(heap, p, 7));
  p = mi_heap_alloc_new_n(heap, 10, 20);
  CHECK(mi_usable_size(p) >= 200);
  mi_free(of(heap, p, 7));
  mi_heap_set_numa_affinity(heap, 0);
  mi_heap_collect(heap, false);
  mi_heap_collect(heap, true);
}

static void test_heap_aligned(mi_heap_t *heap) {
  for (size_t alignment = 8; alignment <= 64 * 1024; alignment *= 8) {
    void *p = mi_heap_malloc_aligned(heap, 300, alignment);
    CHECK(is_at(p, alignment, 0));
    p = mi_heap_realloc_aligned(heap, of(heap, p, 1), 3000, alignment);
    CHECK(is_at(p, alignment, 0) && holds(p, 1, 300));
    mi_free(p);
    leave_heap_dirt(heap, 300, alignment, 0);
    p = mi_heap_zalloc_aligned(heap, 300, alignment);
    size_t before = mi_usable_size(p);
    CHECK(is_at(p, alignment, 0) && is_zero(p, 0, before));
    leave_heap_dirt(heap, 2 * before, alignment, 0);
    p = mi_heap_rezalloc_aligned(heap, of(heap, p, 2), 2 * before, alignment);
    CHECK(is_at(p, alignment, 0) && holds(p, 2, before) && is_zero(p, before, 2 * before));
    leave_heap_dirt(heap, 3 * before, alignment, 0);
    p = mi_heap_recalloc_aligned(heap, p, 3, before, alignment);
    CHECK(is_at(p, alignment, 0) && mi_heap_of(p) == heap && holds(p, 2, before) && is_zero(p, before, 3 * before));
    mi_free(p);
    leave_heap_dirt(heap, 300, alignment, 0);
    p = mi_heap_calloc_aligned(heap, 30, 10, alignment);
    CHECK(is_at(p, alignment, 0) && is_zero(p, 0, 300));
    mi_free(p);

    const size_t offset = 24;
    p = mi_heap_malloc_aligned_at(heap, 300, alignment, offset);
    CHECK(is_at(p, alignment, offset) && mi_heap_of(p) == heap);
    memset(p, 3, 300);
    p = mi_heap_realloc_aligned_at(heap, p, 3000, alignment, offset);
    CHECK(is_at(p, alignment, offset) && mi_heap_of(p) == heap && holds(p, 3, 300));
    mi_free(p);
    leave_heap_dirt(heap, 300, alignment, offset);
    p = mi_heap_zalloc_aligned_at(heap, 300, alignment, offset);
    CHECK(is_at(p, alignment, offset) && is_zero(p, 0, 300));
    mi_free(p);
    leave_heap_dirt(heap, 300, alignment, offset);
    p = mi_heap_calloc_aligned_at(heap, 30, 10, alignment, offset);
    CHECK(is_at(p, alignment, offset) && is_zero(p, 0, 300));
    before = mi_usable_size(filled(p, 4));
    leave_heap_dirt(heap, 2 * before, alignment, offset);
    p = mi_heap_rezalloc_aligned_at(heap, p, 2 * before, alignment, offset);
    CHECK(is_at(p, alignment, offset) && holds(p, 4, before) && is_zero(p, before, 2 * before));
    leave_heap_dirt(heap, 3 * before, alignment, offset);
    p = mi_heap_recalloc_aligned_at(heap, p, 3, before, alignment, offset);
    CHECK(mi_heap_of(p) == heap && is_at(p, alignment, offset) && holds(p, 4, before) && is_zero(p, before, 3 * before));
    mi_free(p);
  }
  CHECK((errno = 0, mi_heap_malloc_aligned(heap, 10, 3) == NULL && errno == EINVAL));
  CHECK((errno = 0, mi_heap_calloc_aligned(heap, half, 2, 64) == NULL && errno == ENOMEM));
}

static void test_theap(mi_heap_t *heap) {
  mi_theap_t *theap = mi_heap_theap(heap);
  CHECK(theap != NULL && mi_theap_get_default() == mi_heap_theap(mi_heap_main()));
  void *p = of(heap, mi_theap_malloc(theap, 100), 0xff);
  mi_free(p);
  p = mi_theap_zalloc(theap, 100);
  CHECK(is_zero(p, 0, 100));
  mi_free(of(heap, p, 0xff));
  p = mi_theap_calloc(theap, 10, 10);
  CHECK(is_zero(p, 0, 100));
  p = mi_theap_realloc(theap, of(heap, p, 1), 1000);
  CHECK(holds(p, 1, 100));
  mi_free(of(heap, p, 1));
  p = of(heap, mi_theap_malloc_small(theap, 16), 1);
  mi_free(p);
  p = mi_theap_zalloc_small(theap, 16);
  CHECK(is_zero(p, 0, 16));
  mi_free(of(heap, p, 1));
  p = mi_theap_malloc_aligned(theap, 100, 4096);
  CHECK(is_at(p, 4096, 0));
  mi_free(of(heap, p, 1));
  mi_theap_collect(theap, false);
  mi_theap_collect(theap, true);
}

struct seen {
  const mi_heap_t *heap;
  size_t areas, used, committed, blocks, bytes, end_after;
};

static bool see_block(const mi_heap_t *heap, const mi_heap_area_t *area, void *block, size_t block_size, void *arg) {
  struct seen *seen = (struct seen *)arg;
  CHECK(heap == seen->heap && block_size == area->block_size && area->committed <= area->reserved);
  if (block == NULL) {
    seen->areas++;
    seen->used += area->used;
    seen->committed += area->committed;
    return true;
  }
  CHECK((char *)block >= (char *)area->blocks && (char *)block + block_size <= (char *)area->blocks + area->reserved);
  CHECK(mi_heap_contains(heap, block) && mi_usable_size(block) == block_size);
  seen->bytes += block_size;
  return ++seen->blocks != seen->end_after;
}

static bool see_heap(mi_heap_t *heap, void *arg) {
  struct seen *seen = (struct seen *)arg;
  seen->areas += heap == seen->heap;
  seen->used += heap == mi_heap_main();
  return --seen->end_after != 0;
}

static void test_visits(void) {
  mi_heap_t *heap = mi_heap_new(), *other = mi_heap_new();
  size_t bytes = 0;
  for (size_t i = 0; i < 1000; i++) {
    void *p = mi_heap_malloc(heap, i % 10 == 0 ? 50 * i : 50);
    if (i % 3 == 0) mi_free(p);
    else bytes += mi_usable_size(p);
  }
  struct seen seen = {heap, 0, 0, 0, 0, 0, 0};
  CHECK(mi_heap_visit_blocks(heap, true, see_block, &seen));
  CHECK(seen.blocks == 666 && seen.used == 666 && seen.bytes == bytes && seen.committed >= bytes && seen.areas > 0);
  struct seen areas = {heap, 0, 0, 0, 0, 0, 0};
  CHECK(mi_theap_visit_blocks(mi_heap_theap(heap), false, see_block, &areas));
  CHECK(areas.blocks == 0 && areas.used == 666);
  struct seen some = {heap, 0, 0, 0, 0, 0, 5};
  CHECK(!mi_heap_visit_blocks(heap, true, see_block, &some) && some.blocks == 5);
  CHECK(!mi_heap_visit_blocks(heap, true, NULL, NULL));
  void *kept[500];
  for (size_t i = 0; i < 500; i++) kept[i] = mi_malloc(777);
  struct seen of_main = {mi_heap_main(), 0, 0, 0, 0, 0, 0};
  CHECK(mi_heap_visit_blocks(mi_heap_main(), true, see_block, &of_main) && of_main.blocks >= 500);
  for (size_t i = 0; i < 500; i++) mi_free(kept[i]);
  struct seen of_none = {heap, 0, 0, 0, 0, 0, 0};
  CHECK(mi_heap_visit_abandoned_blocks(heap, true, see_block, &of_none) && of_none.blocks == 0);

  CHECK(mi_subproc_main()._mi_subproc_id == mi_subproc_current()._mi_subproc_id);
  struct seen heaps = {other, 0, 0, 0, 0, 0, 0};
  CHECK(mi_subproc_visit_heaps(mi_subproc_main(), see_heap, &heaps) && heaps.areas == 1 && heaps.used == 1);
  heaps.end_after = 1;
  CHECK(!mi_subproc_visit_heaps(mi_subproc_main(), see_heap, &heaps) && heaps.areas == 1 && heaps.used == 2);
  mi_heap_destroy(heap);
  mi_heap_destroy(other);
}

static mi_heap_t *shared_heap;

static void *allocate_in_a_thread(void *unused) {
  (void)unused;
  return of(shared_heap, mi_heap_malloc(shared_heap, 1000), 9);
}

static void test_heaps(void) {
  mi_heap_t *heap = mi_heap_new();
  CHECK(heap != NULL && heap != mi_heap_main());
  test_heap(heap);
  test_heap(mi_heap_main());
  test_heap_aligned(heap);
  test_theap(heap);
  void *p = mi_heap_malloc(NULL, 100); /* no heap is the main one */
  CHECK(mi_heap_of(p) == mi_heap_main() && mi_heap_contains(NULL, p) && !mi_heap_contains(heap, p));
  int outside;
  CHECK(mi_any_heap_contains(p) && !mi_any_heap_contains(&outside) && mi_heap_of(&outside) == NULL);
  mi_free(p);

  shared_heap = heap;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, allocate_in_a_thread, NULL) == 0 && pthread_join(thread, &p) == 0);
  /* Blocks outlive the heap that is deleted, as blocks of the main one. */
  mi_heap_delete(heap);
  CHECK(mi_heap_of(p) == mi_heap_main() && holds(p, 9, 1000));
  mi_free(p);
  mi_heap_delete(NULL);
  mi_heap_destroy(NULL);
  test_visits();
}

static void *in_a_thread(void *unused) {
  (void)unused;
  mi_thread_init();
  void *p = mi_malloc(1000);
  mi_thread_done();
  return p;
}

static void test_process(void) {
  CHECK(mi_version() == MI_MALLOC_VERSION && mi_version() >= 30000);
  CHECK(mi_is_redirected()); /* linked, so malloc is ours too */
  mi_process_init();
  pthread_t thread;
  void *p = NULL;
  CHECK(pthread_create(&thread, NULL, in_a_thread, NULL) == 0 && pthread_join(thread, &p) == 0);
  CHECK(mi_usable_size(p) >= 1000);
  mi_free(p);
  /* What is collected goes back to the system. */
  p = mi_malloc(8 << 20);
  mi_free(filled(p, 1));
  const size_t before = status_bytes("VmRSS:");
  mi_collect(false);
  mi_collect(true);
  CHECK(status_bytes("VmRSS:") + (4 << 20) < before);
  mi_process_done();
}

/* What the arena's function was asked for. */
typedef struct {
  size_t committed, purged;
} asked_t;

static bool commit(bool commit, void *start, size_t size, bool *is_zero, void *arg) {
  asked_t *asked = (asked_t *)arg;
  CHECK(size > 0 && size % mi_arena_min_alignment() == 0);
  if (commit) {
    asked->committed += size;
    memset(start, 0, size);
    *is_zero = true;
  } else {
    CHECK(is_zero == NULL);
    asked->purged += size;
    memset(start, 0xdd, size);
  }
  return true;
}

static char *mapped(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return (char *)memory;
}

static void test_arenas(void) {
  const size_t size = 8 << 20;
  mi_arena_id_t arena;
  CHECK(mi_reserve_os_memory_ex(size, true, true, true, &arena) == 0 && arena != NULL);
  size_t bytes = 0;
  char *start = (char *)mi_arena_area(arena, &bytes);
  CHECK(bytes == size && (uintptr_t)start % mi_arena_min_alignment() == 0 && mi_arena_min_size() <= size);
  CHECK(mi_arena_contains(arena, start + size - 1) && !mi_arena_contains(arena, start + size));
  CHECK(mi_arena_area(NULL, &bytes) == NULL && bytes == 0 && !mi_arena_contains(NULL, start));
  mi_heap_t *heap = mi_heap_new_in_arena(arena);
  CHECK(heap != NULL);
  test_heap(heap);
  void *p = mi_heap_malloc(heap, 1 << 20);
  CHECK(mi_arena_contains(arena, p) && mi_heap_of(p) == heap && !mi_arena_contains(arena, filled(mi_malloc(100), 1)));
  mi_heap_destroy(heap);

  /* Memory of the program's: blocks lie in it, and what was said to be zero is taken for it. */
  char *memory = mapped(size);
  CHECK(mi_manage_os_memory_ex(memory, size, true, false, true, -1, true, &arena));
  start = (char *)mi_arena_area(arena, &bytes);
  CHECK(start >= memory && start < memory + mi_arena_min_alignment() && start + bytes <= memory + size);
  heap = mi_heap_new_in_arena(arena);
  p = mi_heap_zalloc(heap, 1 << 20);
  CHECK(mi_arena_contains(arena, p) && is_zero(p, 0, 1 << 20));
  mi_heap_delete(heap);
  mi_free(p);
  CHECK(!mi_manage_os_memory(memory, size, true, false, false, 0)); /* it is an arena already */

  /* The program commits it. */
  asked_t asked = {0, 0};
  memory = mapped(size);
  CHECK(!mi_manage_memory(memory, 100, false, false, false, -1, true, commit, &asked, &arena) && arena == NULL);
  CHECK(mi_manage_memory(memory, size, false, false, false, -1, true, commit, &asked, &arena));
  heap = mi_heap_new_in_arena(arena);
  p = mi_heap_zalloc(heap, 1 << 20);
  CHECK(mi_arena_contains(arena, p) && is_zero(p, 0, 1 << 20) && asked.committed == 1 << 20);
  mi_heap_destroy(heap);
  mi_collect(true);
  CHECK(asked.purged == asked.committed);

  CHECK(mi_reserve_os_memory(size, false, false) == 0); /* for everyone, for ever */
  CHECK(mi_reserve_os_memory((size_t)1 << 62, false, false) == EINVAL);
  CHECK(mi_reserve_huge_os_pages_at(1, 0, 100) == ENOMEM && mi_reserve_huge_os_pages_interleave(1, 0, 100) == ENOMEM);
  CHECK(mi_reserve_huge_os_pages_at_ex(1, 0, 100, true, &arena) == ENOMEM && arena == NULL);
  mi_arenas_print();
  mi_debug_show_arenas();
}

static void count_lines(const char *msg, void *arg) {
  CHECK(strncmp(msg, "TESSALLOC_", 10) == 0 && msg[strlen(msg) - 1] == '\n');
  ++*(int *)arg;
}

static void test_options(void) {
  mi_option_set(mi_option_purge_delay, 1234);
  CHECK(mi_option_get(mi_option_purge_delay) == 1234);
  CHECK(mi_option_get_clamp(mi_option_purge_delay, 0, 1000) == 1000);
  CHECK(mi_option_get_clamp(mi_option_purge_delay, 2000, 3000) == 2000);
  mi_option_set_default(mi_option_purge_delay, 5);
  CHECK(mi_option_get(mi_option_purge_delay) == 1234); /* a value was given */
  mi_option_set(mi_option_purge_delay, -1);            /* never: as late as can be */
  CHECK(mi_option_get(mi_option_purge_delay) >= 3600 * 1000);
  mi_option_set(mi_option_arena_reserve, 64 * 1024); /* KiB */
  CHECK(mi_option_get(mi_option_arena_reserve) == 64 * 1024);
  CHECK(mi_option_get_size(mi_option_arena_reserve) == (size_t)64 << 20);

  CHECK(!mi_option_is_enabled(mi_option_verbose));
  mi_option_set_enabled_default(mi_option_verbose, true);
  CHECK(mi_option_is_enabled(mi_option_verbose)); /* nobody had given one */
  mi_option_disable(mi_option_verbose);
  CHECK(!mi_option_is_enabled(mi_option_verbose));
  mi_option_enable(mi_option_verbose);
  CHECK(mi_option_is_enabled(mi_option_verbose));
  mi_option_set_enabled(mi_option_verbose, false);
  CHECK(!mi_option_is_enabled(mi_option_verbose));

  mi_option_enable(mi_option_allow_thp); /* there is no such option here */
  CHECK(mi_option_get(mi_option_allow_thp) == 0);
  int lines = 0;
  mi_options_print_out(count_lines, &lines);
  CHECK(lines == tessalloc_option_count());
  mi_options_print();
}

struct heard {
  char text[1 << 15];
  size_t length;
};
static void hear(const char *msg, void *arg) {
  struct heard *heard = (struct heard *)arg;
  const size_t length = strlen(msg);
  CHECK(heard->length + length < sizeof heard->text);
  memcpy(heard->text + heard->length, msg, length + 1);
  heard->length += length;
}

static volatile int last_error, errors;
static void note_error(int err, void *arg) {
  CHECK(arg == (void *)&errors);
  last_error = err;
  errors++;
}

static void count_beats(bool force, unsigned long long heartbeat, void *arg) {
  unsigned long long *beats = (unsigned long long *)arg;
  CHECK(!force && heartbeat == *beats + 1);
  *beats = heartbeat;
}

static void test_deferred_free(void) {
  static void *blocks[10000];
  unsigned long long beats = 0;
  mi_register_deferred_free(count_beats, &beats);
  for (size_t i = 0; i < 10000; i++) blocks[i] = mi_malloc(500);
  mi_register_deferred_free(NULL, NULL);
  CHECK(beats > 10);
  for (size_t i = 0; i < 10000; i++) mi_free(blocks[i]);
  mi_thread_set_in_threadpool();
}

static void test_hooks(void) {
  static struct heard heard;
  mi_register_output(hear, &heard);
  mi_stats_print(NULL);
  mi_process_info_print();
  mi_register_output(NULL, NULL);
  CHECK(strstr(heard.text, "committed_bytes ") != NULL && strstr(heard.text, "rss_peak_bytes ") != NULL);
  heard.length = 0;
  mi_stats_print_out(hear, &heard);
  CHECK(strstr(heard.text, "purge_calls ") != NULL);
  heard.length = 0;
  mi_process_info_print_out(hear, &heard);
  CHECK(strncmp(heard.text, "elapsed_us ", 11) == 0);
  heard.length = 0;
  mi_thread_stats_print_out(hear, &heard);
  CHECK(strncmp(heard.text, "thread.allocated_bytes ", 23) == 0);

  mi_register_error(note_error, (void *)&errors);
  CHECK(mi_malloc(half) == NULL && errors == 1 && last_error == EOVERFLOW);
  CHECK(mi_mallocn(half, 4) == NULL && errors == 2 && last_error == EOVERFLOW);
  CHECK(mi_malloc((size_t)1 << 60) == NULL && errors == 3 && last_error == ENOMEM);
  mi_register_error(NULL, NULL);
  CHECK(mi_malloc(half) == NULL && errors == 3);
}

static void test_stats(void) {
  size_t elapsed = 0, user = 0, system = 0, rss = 0, rss_peak = 0, commit = 0, commit_peak = 0, faults = 0;
  void *blocks[1000];
  void *large = filled(mi_malloc(3 << 20), 1);
  for (int i = 0; i < 1000; i++) blocks[i] = mi_malloc(600);
  mi_process_info(&elapsed, &user, &system, &rss, &rss_peak, &commit, &commit_peak, &faults);
  const size_t now = status_bytes("VmRSS:");
  CHECK(rss < now + (8 << 20) && now < rss + (8 << 20) && rss_peak >= rss);
  CHECK(commit >= 3 << 20 && commit_peak >= commit && elapsed < 100000);
  mi_process_info(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

  mi_stats_t_decl(stats);
  CHECK(mi_stats_get(&stats) && stats.version == MI_STAT_VERSION && stats.size == sizeof stats);
  size_t bin = 1;
  while (mi_stats_get_bin_size(bin) < 600) bin++;
  CHECK(mi_stats_get_bin_size(bin) == 640 && mi_stats_get_bin_size(1) == 8 && mi_stats_get_bin_size(9) == 80);
  CHECK(mi_stats_get_bin_size(MI_BIN_HUGE + 1) == 0);
  /* The first few may lie in the slice that all sizes share. */
  CHECK(stats.malloc_bins[bin].current >= 950 && stats.page_bins[bin].current >= 1);
  CHECK(stats.malloc_huge.current >= 3 << 20 && stats.malloc_bins[MI_BIN_HUGE].current >= 1);
  CHECK(stats.malloc_normal.current >= 600 * 1000 && stats.malloc_normal.total >= stats.malloc_normal.current);
  CHECK(stats.pages.current > 0 && stats.pages.peak >= stats.pages.current && stats.pages.total >= stats.pages.peak);
  CHECK(stats.threads.current >= 1 && stats.threads.total >= 2 && stats.heaps.current >= 1);
  CHECK(stats.mmap_calls.total >= 2 && stats.purged.total > 0 && stats.committed.peak >= stats.committed.current);
  stats.version = MI_STAT_VERSION - 1; /* another header's */
  CHECK(!mi_stats_get(&stats) && mi_stats_as_json(&stats, 0, NULL) == NULL);
  mi_stats_init(&stats);
  CHECK(mi_subproc_stats_get(mi_subproc_main(), &stats) && stats.malloc_bins[bin].current >= 950);
  stats.size = 8;
  CHECK(!mi_stats_get(&stats));
  mi_stats_header_init(&stats);
  CHECK(!mi_stats_get(NULL) && mi_subproc_stats_get_exclusive(mi_subproc_main(), &stats));
  CHECK(stats.malloc_normal.total == 0 && stats.reserved.current > 0);

  mi_heap_t *heap = mi_heap_new();
  for (int i = 0; i < 100; i++) CHECK(mi_heap_malloc(heap, 600) != NULL);
  CHECK(mi_heap_malloc(heap, 1 << 20) != NULL && mi_heap_stats_get(heap, &stats));
  CHECK(stats.malloc_bins[bin].current >= 100 && stats.malloc_bins[bin].current <= 200);
  CHECK(stats.malloc_huge.current == 1 << 20 && stats.malloc_huge_count.total == 1 && stats.theaps.current == 1);
  CHECK(stats.malloc_normal.current >= 60000 && stats.pages.current >= 1 && stats.pages.current < 10);
  char *json = mi_heap_stats_get_json(heap, 0, NULL);
  CHECK(json != NULL && strstr(json, "\"malloc_huge\": { \"total\": 1048576, ") != NULL);
  mi_free(json);
  static struct heard heard;
  mi_heap_stats_print_out(heap, hear, &heard);
  CHECK(strncmp(heard.text, "heap ", 5) == 0 && strstr(heard.text, "large_bytes ") != NULL);
  heard.length = 0;
  mi_subproc_heap_stats_print_out(mi_subproc_current(), hear, &heard);
  CHECK(strncmp(heard.text, "heap ", 5) == 0 && strstr(heard.text, "purge_calls ") != NULL);
  mi_heap_stats_merge_to_subproc(heap);
  mi_heap_destroy(heap);
  heard.length = 0;
  mi_subproc_stats_print_out(mi_subproc_main(), hear, &heard);
  CHECK(strstr(heard.text, "purge_calls ") != NULL);
  CHECK(mi_heap_stats_get(NULL, &stats) && stats.malloc_bins[bin].current >= 950);

  json = mi_stats_get_json(0, NULL);
  CHECK(json != NULL && json[0] == '{' && strstr(json, "\"stat_version\": 5,") != NULL);
  char *same = mi_subproc_stats_get_json(mi_subproc_main(), 0, NULL);
  CHECK(same != NULL && strncmp(same, json, 20) == 0);
  mi_free(same);
  const size_t length = strlen(json);
  mi_free(json);
  static char room[1 << 16];
  CHECK(length + 1000 < sizeof room && mi_stats_get_json(sizeof room, room) == room && strstr(room, "\"chunk_bins\"") != NULL);
  CHECK(mi_stats_get_json(100, room) == NULL && room[0] == 0);
  mi_stats_merge();
  mi_stats_reset();
  for (int i = 0; i < 1000; i++) mi_free(blocks[i]);
  mi_free(large);
}

/* Functions of the API are functions: their addresses can be taken. */
static void test_addresses(void) {
  void *(*allocate)(size_t) = mi_malloc;
  void (*release)(void *) = &mi_free;
  void *(*resize)(void *, size_t) = mi_realloc;
  void *p = resize(allocate(10), 20);
  CHECK(p != NULL);
  release(p);
}

static void test_guarded(void) {
  mi_heap_guarded_set_size_bound(mi_heap_main(), 900, 1000);
  void *p = mi_malloc(901);
  CHECK(mi_usable_size(p) > 901); /* not yet on */
  mi_free(p);
  mi_theap_guarded_set_sample_rate(mi_theap_get_default(), 1, 7);
  p = mi_malloc(901);
  CHECK(mi_usable_size(p) == 901);
  mi_free(p);
  p = mi_malloc(801);
  CHECK(mi_usable_size(p) > 801);
  mi_free(p);
  mi_theap_guarded_set_size_bound(mi_theap_get_default(), 0, 850);
  p = mi_malloc(801);
  CHECK(mi_usable_size(p) == 801);
  mi_heap_guarded_set_sample_rate(mi_heap_main(), 0, 0);
  void *q = mi_malloc(801);
  CHECK(mi_usable_size(q) > 801);
  mi_free(p);
  mi_free(q);
}

int main(int count, char **arguments) {
  (void)arguments;
  if (count > 1) { /* for who reads JSON */
    CHECK(mi_malloc(1000) != NULL);
    char *json = mi_stats_get_json(0, NULL);
    CHECK(json != NULL && fputs(json, stdout) >= 0);
    return 0;
  }
  check_live();
  test_basic();
  test_realloc();
  test_sized();
  test_aligned();
  test_texts();
  test_new();
  test_heaps();
  test_process();
  test_options();
  test_hooks();
  test_deferred_free();
  test_stats();
  test_addresses();
  test_arenas();
  test_guarded();
  puts("ok");
  return 0;
}
