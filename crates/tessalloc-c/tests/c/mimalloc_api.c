/* A program written for mimalloc, with its own expectations of every function it calls. Compiled as C and as C++. */
#include "check.h"
#include <mimalloc.h>

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

/* Functions of the API are functions: their addresses can be taken. */
static void test_addresses(void) {
  void *(*allocate)(size_t) = mi_malloc;
  void (*release)(void *) = &mi_free;
  void *(*resize)(void *, size_t) = mi_realloc;
  void *p = resize(allocate(10), 20);
  CHECK(p != NULL);
  release(p);
}

int main(void) {
  check_live();
  test_basic();
  test_realloc();
  test_sized();
  test_aligned();
  test_texts();
  test_new();
  test_process();
  test_options();
  test_addresses();
  puts("ok");
  return 0;
}
