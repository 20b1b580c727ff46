/* A life that calls every function of tessalloc.h, while somebody outside fails calls of the system (tests/real_faults.rs). Null and
 * errors are taken as they come; what was written into a block stays, whatever fails. Then nothing fails any more: the blocks from
 * before are whole and can be resized and freed, and a second life lacks nothing. "idle": the background thread is waited for, too. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/wait.h>

/* Told to who watches: from now on the C library's own calls for memory and threads count too; no call fails any more. */
enum { MARK = 0x7e55a110, BEGIN = 1, LIFTED = 2 };
static void tell(int what) { prctl(MARK, what, 0, 0, 0); }

static int may_fail;
/* A request that may be refused only while calls fail. */
#define HAS(fact) (check_has((fact) != 0, #fact, __LINE__))
static int check_has(int fact, const char *text, int line) {
  if (!fact && !may_fail) {
    fprintf(stderr, "%s:%d: nothing failed, but not so: %s (errno %d)\n", __FILE__, line, text, errno);
    _exit(1);
  }
  return fact;
}

enum { MIB = 1 << 20, KEPT_MAX = 4096, STRIDE = 1021 };
struct kept {
  unsigned char *at;
  size_t size;
};
/* Blocks of the first life that the second one finds; and those of now. */
static struct kept kept[KEPT_MAX];
static int kept_count;

static void fill(void *block, size_t size) {
  unsigned char *at = block;
  for (size_t i = 0; i < size; i += STRIDE) at[i] = (unsigned char)(size + i / STRIDE);
}
static void look(const void *block, size_t size) {
  const unsigned char *at = block;
  for (size_t i = 0; i < size; i += STRIDE) CHECK(at[i] == (unsigned char)(size + i / STRIDE));
}
static int is_zero(const unsigned char *at, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (at[i]) return 0;
  return 1;
}
/* Writes into a block, and keeps it for the end. */
static void keep(void *block, size_t size) {
  if (!block) return;
  CHECK(tessalloc_is_ours(block) && tessalloc_usable_size(block) >= size && kept_count < KEPT_MAX);
  fill(block, size);
  kept[kept_count++] = (struct kept){block, size};
}
static void keep_zeroed(void *block, size_t size, size_t zeroed) {
  CHECK(is_zero(block, zeroed));
  keep(block, size);
}
#define KEEP(call, size) (HAS((block = (call)) != NULL), keep(block, size))

/* Resizes a block from one size to another by `call`, and looks at what must stay, whether it worked or not. */
#define RESIZE(block, from, to, call)                          \
  do {                                                         \
    if (!(block)) break;                                       \
    look(block, from);                                         \
    void *resized = (call);                                    \
    if (!HAS(resized != NULL)) {                               \
      look(block, from);                                       \
      break;                                                   \
    }                                                          \
    block = resized;                                           \
    for (size_t at = 0; at < (from) && at < (size_t)(to); at += STRIDE) \
      CHECK(((unsigned char *)block)[at] == (unsigned char)((from) + at / STRIDE)); \
    from = (to);                                               \
    fill(block, from);                                         \
  } while (0)

static void family(void) {
  void *block;
  static const size_t sizes[] = {1, 40, 700, 5000, 30000, 90000, 400000};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t size = sizes[i];
    KEEP(malloc(size), size);
    if (HAS((block = calloc(3, size)) != NULL)) keep_zeroed(block, 3 * size, 3 * size);
    KEEP(aligned_alloc(4096, size), size);
    KEEP(memalign(64, size), size);
    if (HAS(posix_memalign(&block, 2 * MIB, size) == 0)) keep(block, size);
    KEEP(tessalloc_malloc(size), size);
    KEEP(tessalloc_calloc(1, size), size);
    KEEP(tessalloc_aligned_alloc(256, size), size);
    KEEP(tessalloc_mallocn(2, size), 2 * size);
    if (HAS((block = tessalloc_zalloc(size)) != NULL)) keep_zeroed(block, size, tessalloc_usable_size(block));
    KEEP(tessalloc_zallocn(1, size), size);
    KEEP(tessalloc_malloc_aligned(size, 128), size);
    KEEP(tessalloc_zalloc_aligned(size, 128), size);
    KEEP(tessalloc_calloc_aligned(1, size, 128), size);
    KEEP(tessalloc_malloc_aligned_at(size, 64, 8), size);
    KEEP(tessalloc_zalloc_aligned_at(size, 64, 8), size);
    KEEP(tessalloc_calloc_aligned_at(1, size, 64, 8), size);
    size_t usable = 0;
    KEEP(tessalloc_malloc_sized(size, &usable), size);
    KEEP(tessalloc_zalloc_sized(size, &usable), size);
    KEEP(tessalloc_malloc_aligned_sized(size, 512, &usable), size);
    KEEP(tessalloc_zalloc_aligned_sized(size, 512, &usable), size);
    CHECK(tessalloc_good_size(size) >= size);
  }
  KEEP(malloc(5 * MIB), 5 * MIB);
  KEEP(valloc(100), 100);
  KEEP(pvalloc(100), 100);
  char *text = tessalloc_strdup("a text");
  if (HAS(text)) CHECK(strcmp(text, "a text") == 0);
  free(text);
  text = tessalloc_strndup("a text", 3);
  if (HAS(text)) CHECK(strcmp(text, "a t") == 0);
  free(text);
  HAS((text = tessalloc_realpath("/", NULL)) != NULL);
  free(text);
  void *batch[300];
  size_t count = tessalloc_malloc_batch(72, batch, 300);
  HAS(count == 300);
  for (size_t i = 0; i < count; i++) fill(batch[i], 72);
  for (size_t i = 0; i < count; i++) look(batch[i], 72);
  tessalloc_free_batch(batch, count);
  if (HAS((block = tessalloc_malloc(100)) != NULL)) tessalloc_free_size(block, 100);
  if (HAS((block = tessalloc_malloc_aligned(100, 64)) != NULL)) tessalloc_free_aligned(block, 64);
  if (HAS((block = tessalloc_malloc_aligned(100, 64)) != NULL)) tessalloc_free_size_aligned(block, 100, 64);
  if (HAS((block = tessalloc_malloc(100)) != NULL)) CHECK(tessalloc_cfree(block) == 1);
}

static void resizes(void) {
  /* Two that grow past each other: neither can grow where it lies; large enough to be moved by the page table, and smaller. */
  for (size_t unit = MIB; unit <= 9 * MIB; unit += 8 * MIB) {
    size_t from[2] = {unit, unit};
    void *pair[2] = {malloc(unit), malloc(unit)};
    for (int i = 0; i < 2; i++)
      if (HAS(pair[i])) fill(pair[i], unit);
    for (size_t step = 2; step < 5; step++)
      for (int i = 0; i < 2; i++) {
        size_t to = unit + step * (unit / 2);
        RESIZE(pair[i], from[i], to, realloc(pair[i], to));
      }
    keep(pair[0], from[0]);
    free(pair[1]);
  }
  size_t from = 24;
  void *block = malloc(from);
  if (!HAS(block)) return;
  fill(block, from);
  RESIZE(block, from, 5000, tessalloc_realloc(block, 5000));
  RESIZE(block, from, 90000, tessalloc_reallocn(block, 9, 10000));
  RESIZE(block, from, 3000, tessalloc_rezalloc(block, 3000));
  RESIZE(block, from, 2 * MIB, tessalloc_recalloc(block, 2, MIB));
  RESIZE(block, from, 70000, tessalloc_realloc_aligned(block, 70000, 4096));
  RESIZE(block, from, 300000, tessalloc_rezalloc_aligned(block, 300000, 256));
  RESIZE(block, from, 100, tessalloc_recalloc_aligned(block, 10, 10, 64));
  RESIZE(block, from, 9000, tessalloc_realloc_aligned_at(block, 9000, 64, 24));
  RESIZE(block, from, 12000, tessalloc_rezalloc_aligned_at(block, 12000, 64, 24));
  RESIZE(block, from, 400000, tessalloc_recalloc_aligned_at(block, 4, 100000, 64, 24));
  size_t before = 0, usable = 0;
  RESIZE(block, from, 5 * MIB, tessalloc_realloc_sized(block, 5 * MIB, &before, &usable));
  if (tessalloc_expand(block, from + 4096)) look(block, from);
  RESIZE(block, from, 40000, reallocarray(block, 4, 10000));
  if (HAS(tessalloc_reallocarr(&block, 5, 20000) == 0)) from = 100000;
  fill(block, from);
  block = tessalloc_reallocf(block, 200000);
  if (HAS(block)) keep(block, 200000);
}

static int on_block(tessalloc_heap_t *heap, void *block, size_t bytes, void *seen) {
  CHECK(tessalloc_heap_of(block) == heap && bytes > 0);
  return ++*(int *)seen;
}
static int on_heap(tessalloc_heap_t *heap, void *argument) {
  (void)argument;
  return tessalloc_heap_name(heap) != NULL;
}
static void on_limit(tessalloc_heap_t *heap, uint32_t limit, uint64_t wanted, void *argument) {
  (void)heap, (void)limit, (void)wanted, (void)argument;
}
static int on_class(const tessalloc_class_stats_t *figures, void *argument) {
  (void)argument;
  return figures->block_bytes != 0;
}
static void into_nothing(const char *text, size_t bytes, void *argument) {
  CHECK(text[bytes] == 0);
  *(size_t *)argument += bytes;
}

/* Blocks of a heap by each of its forms: how many there are. */
static int live_in(tessalloc_heap_t *heap, size_t size) {
  void *blocks[] = {
      tessalloc_heap_malloc(heap, size), tessalloc_heap_zalloc(heap, size), tessalloc_heap_calloc(heap, 1, size),
      tessalloc_heap_mallocn(heap, 1, size), tessalloc_heap_malloc_aligned(heap, size, 64),
      tessalloc_heap_zalloc_aligned(heap, size, 64), tessalloc_heap_calloc_aligned(heap, 1, size, 64),
      tessalloc_heap_malloc_aligned_at(heap, size, 64, 8), tessalloc_heap_zalloc_aligned_at(heap, size, 64, 8),
      tessalloc_heap_calloc_aligned_at(heap, 1, size, 64, 8),
  };
  int count = 0;
  for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    if (!HAS(blocks[i])) continue;
    count++;
    CHECK(tessalloc_heap_contains(heap, blocks[i]));
    fill(blocks[i], size);
  }
  for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (blocks[i]) look(blocks[i], size);
  return count;
}

struct shared {
  tessalloc_heap_t *heap;
  int count;
};
static void *live_in_on_a_thread(void *argument) {
  struct shared *shared = argument;
  shared->count = live_in(shared->heap, 900) + live_in(shared->heap, 50000);
  return NULL;
}

static void heap_resizes(tessalloc_heap_t *heap) {
  size_t from = 100;
  void *block = tessalloc_heap_malloc(heap, from);
  if (!HAS(block)) return;
  fill(block, from);
  RESIZE(block, from, 9000, tessalloc_heap_realloc(heap, block, 9000));
  RESIZE(block, from, 80000, tessalloc_heap_reallocn(heap, block, 8, 10000));
  RESIZE(block, from, 2 * MIB, tessalloc_heap_rezalloc(heap, block, 2 * MIB));
  RESIZE(block, from, 500, tessalloc_heap_recalloc(heap, block, 5, 100));
  RESIZE(block, from, 7000, tessalloc_heap_realloc_aligned(heap, block, 7000, 1024));
  RESIZE(block, from, 8000, tessalloc_heap_rezalloc_aligned(heap, block, 8000, 1024));
  RESIZE(block, from, 90000, tessalloc_heap_recalloc_aligned(heap, block, 9, 10000, 1024));
  RESIZE(block, from, 95000, tessalloc_heap_realloc_aligned_at(heap, block, 95000, 64, 8));
  RESIZE(block, from, 99000, tessalloc_heap_rezalloc_aligned_at(heap, block, 99000, 64, 8));
  RESIZE(block, from, 200000, tessalloc_heap_recalloc_aligned_at(heap, block, 2, 100000, 64, 8));
  block = tessalloc_heap_reallocf(heap, block, 300);
  if (HAS(block)) tessalloc_heap_free(heap, block);
  void *batch[50];
  size_t count = tessalloc_heap_malloc_batch(heap, 300, batch, 50);
  HAS(count == 50);
  for (size_t i = 0; i < count; i++) tessalloc_heap_free(heap, batch[i]);
  char *texts[] = {tessalloc_heap_strdup(heap, "text"), tessalloc_heap_strndup(heap, "text", 2),
                   tessalloc_heap_realpath(heap, "/", NULL)};
  for (int i = 0; i < 3; i++) {
    HAS(texts[i]);
    tessalloc_heap_free(heap, texts[i]);
  }
}

static void heaps(tessalloc_arena_t *arena) {
  CHECK(tessalloc_heap_main() != NULL);
  for (int way = 0; way < 4; way++) {
    tessalloc_heap_options_t options = {0};
    options.struct_bytes = sizeof options;
    options.name = "faults";
    options.hard_limit_bytes = 64 * MIB;
    options.on_limit = on_limit;
    options.arena = way == 3 ? arena : NULL;
    tessalloc_heap_t *heap = way == 0 ? tessalloc_heap_new() : tessalloc_heap_new_with(&options);
    if (!HAS(heap)) continue;
    CHECK(tessalloc_heap_id(heap) != 0 && tessalloc_heap_tag(heap) == 0 && tessalloc_heap_count() > 0);
    int count = live_in(heap, 40) + live_in(heap, 6000) + live_in(heap, 90000);
    struct shared shared = {heap, 0};
    pthread_t thread;
    if (HAS(pthread_create(&thread, NULL, live_in_on_a_thread, &shared) == 0)) pthread_join(thread, NULL);
    heap_resizes(heap);
    int seen = 0;
    CHECK(tessalloc_heap_visit_blocks(heap, on_block, &seen) == 1 || seen == 0);
    CHECK(seen == count + shared.count);
    CHECK(tessalloc_heap_allocated_bytes(heap) >= (uint64_t)count * 40);
    tessalloc_visit_heaps(on_heap, NULL);
    tessalloc_heap_stats_t stats = {.struct_bytes = sizeof stats};
    tessalloc_heap_stats(heap, &stats);
    tessalloc_page_stats_t pages = {.struct_bytes = sizeof pages};
    tessalloc_heap_page_stats(heap, &pages, on_class, NULL);
    size_t written = 0;
    tessalloc_heap_stats_json(heap, into_nothing, &written);
    tessalloc_heap_stats_print(heap, into_nothing, &written);
    CHECK(written > 0);
    tessalloc_heap_purge(heap);
    if (way == 0) {
      tessalloc_heap_clear(heap);
      live_in(heap, 100);
      void *stays = tessalloc_heap_malloc(heap, 3000);
      tessalloc_heap_delete(heap);
      keep(stays, 3000);
    } else {
      tessalloc_heap_destroy(heap);
    }
  }
}

static int commit(void *memory, size_t bytes, void *user) {
  (void)memory, (void)bytes, (void)user;
  return TESSALLOC_COMMIT_DONE;
}
static int purge(void *memory, size_t bytes, void *user) {
  (void)user;
  memset(memory, 0xdd, bytes);
  return 1;
}
static int on_arena(const tessalloc_arena_info_t *info, void *argument) {
  (void)argument;
  return info->bytes > 0;
}

static void live_with(tessalloc_arena_t *arena, int is_exclusive) {
  if (!HAS(arena)) return;
  size_t bytes = 0;
  char *start = tessalloc_arena_area(arena, &bytes);
  CHECK(tessalloc_arena_contains(arena, start) && !tessalloc_arena_contains(arena, start + bytes));
  if (is_exclusive) heaps(arena);
  void *blocks[3] = {malloc(90000), calloc(1, 2 * MIB), malloc(MIB)};
  for (int i = 0; i < 3; i++)
    if (HAS(blocks[i])) fill(blocks[i], 90000);
  tessalloc_arena_info_t info = {.struct_bytes = sizeof info};
  tessalloc_arena_info(arena, &info);
  CHECK(info.bytes == bytes);
  tessalloc_arenas_visit(on_arena, NULL);
  for (int i = 0; i < 3; i++) {
    if (blocks[i]) look(blocks[i], 90000);
    free(blocks[i]);
  }
  /* A thread that was joined may be giving up its pages still. */
  int refused = 0;
  for (int tries = 0; tries < 5000 && (refused = tessalloc_arena_release(arena)) == EBUSY; tries++) usleep(1000);
  CHECK(refused == 0);
}

static void arenas(void) {
  CHECK(tessalloc_arena_align() <= tessalloc_arena_bytes_min() && tessalloc_arena_bytes_min() < tessalloc_arena_bytes_max());
  tessalloc_arena_options_t options = {0};
  options.struct_bytes = sizeof options;
  static const uint32_t kinds[] = {0, TESSALLOC_ARENA_COMMITTED, TESSALLOC_ARENA_HUGE_PAGES, TESSALLOC_ARENA_EXCLUSIVE,
                                   TESSALLOC_ARENA_NUMA_NODE | TESSALLOC_ARENA_PINNED};
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    options.flags = kinds[i];
    live_with(tessalloc_arena_reserve(24 * MIB, &options), kinds[i] == TESSALLOC_ARENA_EXCLUSIVE);
  }
  static char memory[6 * MIB];
  options.flags = 0;
  options.commit = commit;
  options.purge = purge;
  live_with(tessalloc_arena_manage(memory, sizeof memory, &options), 0);
}

static void buffer(void) {
  static char memory[65536];
  tessalloc_buffer_t *buffer = tessalloc_buffer_over(memory, sizeof memory);
  CHECK(buffer);
  void *blocks[4] = {tessalloc_buffer_malloc(buffer, 100), tessalloc_buffer_calloc(buffer, 3, 100),
                     tessalloc_buffer_aligned_alloc(buffer, 64, 100), tessalloc_buffer_malloc(buffer, 10)};
  CHECK((blocks[3] = tessalloc_buffer_realloc(buffer, blocks[3], 5000)));
  for (int i = 0; i < 4; i++) {
    CHECK(tessalloc_buffer_usable_size(buffer, blocks[i]) >= 100);
    tessalloc_buffer_free(buffer, blocks[i]);
  }
  tessalloc_buffer_stats_t stats = {.struct_bytes = sizeof stats};
  tessalloc_buffer_stats(buffer, &stats);
  CHECK(stats.blocks == 0);
}

static int on_page(const tessalloc_page_info_t *page, void *argument) {
  (void)argument;
  return page->bytes > 0;
}
static int on_page_block(const tessalloc_page_info_t *page, void *block, size_t bytes, void *argument) {
  (void)page, (void)block, (void)argument;
  return bytes > 0;
}
static int on_stack(const tessalloc_profile_stack_t *stack, void *argument) {
  (void)argument;
  return stack->struct_bytes > 0;
}
static void on_pressure(void *argument, const tessalloc_pressure_t *pressure) { (void)argument, (void)pressure; }
static void on_error(const tessalloc_error_t *error, void *argument) { CHECK(error->text != argument); }
static void deferred(int force, uint64_t heartbeat, void *argument) { (void)force, (void)heartbeat, (void)argument; }
static size_t unwind(uintptr_t *frames, size_t max, void *argument) {
  (void)argument;
  frames[0] = (uintptr_t)unwind;
  return max > 0;
}

static void figures(void) {
  size_t written = 0;
  tessalloc_stats_t stats = {.struct_bytes = sizeof stats};
  tessalloc_stats(&stats);
  CHECK(stats.committed_bytes <= stats.committed_peak_bytes);
  CHECK(stats.allocated_bytes + stats.retained_bytes == stats.committed_bytes);
  tessalloc_process_info_t process = {.struct_bytes = sizeof process};
  tessalloc_process_info(&process);
  CHECK(process.rss_bytes == TESSALLOC_UNKNOWN || process.rss_bytes <= process.rss_peak_bytes);
  tessalloc_page_stats_t pages = {.struct_bytes = sizeof pages};
  tessalloc_page_stats(&pages, on_class, NULL);
  uint64_t allocated, freed, value;
  tessalloc_thread_totals(&allocated, &freed);
  size_t value_bytes = sizeof value;
  CHECK(tessalloc_ctl("purged_bytes", &value, &value_bytes, NULL, 0) == 0);
  tessalloc_stats_json(into_nothing, &written);
  tessalloc_stats_print(into_nothing, &written);
  tessalloc_process_print(into_nothing, &written);
  tessalloc_set_output(into_nothing, &written);
  tessalloc_options_print();
  tessalloc_set_output(NULL, NULL);
  CHECK(written > 1000 && tessalloc_version());
  for (int option = 0; option < tessalloc_option_count(); option++) {
    tessalloc_option_info_t info = {.struct_bytes = sizeof info};
    CHECK(tessalloc_option_info(option, &info) == 0 && tessalloc_option_get(option) == info.value);
    CHECK(tessalloc_option_find(tessalloc_option_name(option)) == option);
  }
  CHECK(tessalloc_option_set(TESSALLOC_OPTION_PURGE_DELAY, 100) == 0);
  CHECK(tessalloc_option_set_text(TESSALLOC_OPTION_PURGE_DELAY, "1s") == 0);
  size_t skipped;
  tessalloc_visit_pages(TESSALLOC_WALK_ALL, 0, on_page, NULL, &skipped);
  tessalloc_visit_blocks(TESSALLOC_WALK_ALL, 0, on_page_block, NULL, &skipped);
  tessalloc_visit_blocks_exactly(TESSALLOC_WALK_HEAP, 0, on_page_block, NULL, &skipped);
  struct mallinfo2 info = mallinfo2();
  HAS(info.uordblks > 0);
  const tessalloc_table_t *table = tessalloc_table_v1();
  CHECK(table->version == 1);
  CHECK(tessalloc_set_limits(1u << 30, 2u << 30) == 0 && tessalloc_set_limits(0, 0) == 0);
}

static void samples(void) {
  tessalloc_profile_set_unwinder(unwind, NULL);
  void *block;
  if (HAS(tessalloc_profile_start(1) == 0)) {
    CHECK(tessalloc_profile_is_on());
    tessalloc_guarded_options_t options = {.struct_bytes = sizeof options, .rate = 1};
    CHECK(tessalloc_guarded_start(&options) == 0 && tessalloc_guarded_is_on());
    for (size_t size = 1; size < 400000; size = size * 3 + 1) {
      KEEP(malloc(size), size);
      if (HAS((block = calloc(1, size)) != NULL)) {
        CHECK(is_zero(block, size));
        fill(block, size);
        RESIZE(block, size, size * 2, realloc(block, size * 2));
        size /= 2;
        free(block);
      }
    }
    tessalloc_guarded_options(&options);
    tessalloc_guarded_stop();
    size_t written = 0;
    tessalloc_profile_totals(on_stack, NULL);
    tessalloc_profile_visit(on_stack, NULL);
    tessalloc_profile_write(TESSALLOC_PROFILE_IN_USE, into_nothing, &written);
    char name[] = "/tmp/tessalloc-faults-XXXXXX";
    int file = mkstemp(name);
    if (file >= 0) {
      HAS(tessalloc_profile_dump(TESSALLOC_PROFILE_AT_PEAK, name) == 0);
      close(file);
      unlink(name);
    }
    tessalloc_profile_stop();
  }
  tessalloc_profile_set_unwinder(NULL, NULL);
}

enum { THREADS = 4, BLOCKS_A_THREAD = 2000 };
static int ready, released;
static void *handed[THREADS][BLOCKS_A_THREAD];
static void *work(void *argument) {
  void **blocks = handed[(uintptr_t)argument];
  uint64_t id = tessalloc_thread_id();
  CHECK(id == 0 || tessalloc_thread_is_alive(id));
  for (size_t i = 0; i < BLOCKS_A_THREAD; i++) {
    blocks[i] = malloc(16 + i % 900);
    if (HAS(blocks[i])) fill(blocks[i], 16 + i % 900);
  }
  void *large = malloc(300000);
  if (HAS(large)) fill(large, 300000);
  tessalloc_thread_idle();
  __atomic_add_fetch(&ready, 1, __ATOMIC_RELEASE);
  /* Others free what this thread made, and purge, while it waits. */
  while (!__atomic_load_n(&released, __ATOMIC_ACQUIRE)) usleep(200);
  if (large) look(large, 300000);
  tessalloc_free(large);
  return NULL;
}
/* Those that can't be started leave nothing to look at. */
static void threads(void) {
  pthread_t all[THREADS];
  uint64_t own = tessalloc_thread_id();
  int count = 0;
  ready = released = 0;
  memset(handed, 0, sizeof handed);
  for (uintptr_t i = 0; i < THREADS; i++)
    if (HAS(pthread_create(&all[count], NULL, work, (void *)i) == 0)) count++;
  while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < count) usleep(200);
  for (int i = 0; i < THREADS / 2; i++)
    for (size_t j = 0; j < BLOCKS_A_THREAD; j++) {
      if (handed[i][j]) look(handed[i][j], 16 + j % 900);
      free(handed[i][j]);
    }
  tessalloc_purge();
  if (own) tessalloc_thread_purge(own);
  __atomic_store_n(&released, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < count; i++) pthread_join(all[i], NULL);
  /* Pages without an owner; some of their blocks stay for the end. */
  for (int i = THREADS / 2; i < THREADS; i++)
    for (size_t j = 0; j < BLOCKS_A_THREAD; j++) {
      if (handed[i][j]) look(handed[i][j], 16 + j % 900);
      if (j % 20) free(handed[i][j]);
      else keep(handed[i][j], 16 + j % 900);
    }
}

/* Holes in pages that are in use. */
static void holes(void) {
  enum { COUNT = 5000 };
  static void *blocks[COUNT];
  for (int i = 0; i < COUNT; i++)
    if (HAS((blocks[i] = malloc(512)))) fill(blocks[i], 512);
  for (int i = 0; i < COUNT; i++)
    if (i % 250) free(blocks[i]), blocks[i] = NULL;
  tessalloc_purge();
  for (int i = 0; i < COUNT; i++) {
    if (blocks[i]) look(blocks[i], 512);
    else if (HAS((blocks[i] = malloc(512)))) fill(blocks[i], 512);
  }
  for (int i = 0; i < COUNT; i++) free(blocks[i]);
  malloc_trim(0);
}

static void look_at_kept(void) {
  for (int i = 0; i < kept_count; i++) look(kept[i].at, kept[i].size);
}

/* A child that looks at what it inherited, frees it, and allocates. */
static void in_a_child(void) {
  pid_t pid = fork();
  if (!HAS(pid >= 0)) return;
  if (pid == 0) {
    look_at_kept();
    for (int i = 0; i < kept_count; i++) free(kept[i].at);
    void *block = malloc(3 * MIB);
    HAS(block);
    free(block);
    tessalloc_purge();
    _exit(0);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void live(int idles) {
  /* Starts the background thread. One that the system refused is started by the second life. */
  if (HAS(tessalloc_on_pressure(on_pressure, NULL))) tessalloc_on_pressure(NULL, NULL);
  tessalloc_set_on_error(on_error, NULL);
  tessalloc_set_deferred_free(deferred, NULL);
  arenas();
  resizes();
  family();
  heaps(NULL);
  buffer();
  samples();
  threads();
  holes();
  figures();
  look_at_kept();
  in_a_child();
  if (idles) {
    void *much[400];
    for (int i = 0; i < 400; i++)
      if (HAS((much[i] = malloc(200000)))) fill(much[i], 200000);
    for (int i = 0; i < 400; i++) free(much[i]);
    usleep(2500000);
  }
  tessalloc_set_deferred_free(NULL, NULL);
  tessalloc_set_on_error(NULL, NULL);
}

int main(int argc, char **argv) {
  alarm(120);
  int idles = argc > 1 && strcmp(argv[1], "idle") == 0;
  may_fail = 1;
  tell(BEGIN);
  live(idles);
  tell(LIFTED);
  may_fail = 0;
  int before = kept_count;
  look_at_kept();
  live(0);
  look_at_kept();
  for (int number = 0; number < kept_count; number++) {
    void *block = kept[number].at;
    size_t size = kept[number].size, more = size + size / 2 + 1;
    if (number % 3 == 0) RESIZE(block, size, more, realloc(block, more));
    look(block, size);
    free(block);
  }
  tessalloc_purge();
  printf("%d blocks before, %d in all\nok\n", before, kept_count);
}
