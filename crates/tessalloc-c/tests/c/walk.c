/* Walking, threads and deferred frees of tessalloc.h. */
#include "check.h"

enum { BLOCKS = 20000 };

/* What a walk told of the blocks in `held`, which are sorted, and how many others. */
struct told {
  void **held;
  size_t count;
  unsigned char *seen;
  size_t others;
  size_t limit;
};

static int by_address(const void *a, const void *b) {
  uintptr_t left = (uintptr_t)*(void *const *)a, right = (uintptr_t)*(void *const *)b;
  return left < right ? -1 : left > right;
}

static int on_block(const tessalloc_page_info_t *page, void *block, size_t bytes, void *argument) {
  struct told *told = argument;
  CHECK(page->struct_bytes == sizeof *page);
  CHECK((char *)block >= (char *)page->start && (char *)block + bytes <= (char *)page->start + page->bytes);
  void **at = bsearch(&block, told->held, told->count, sizeof *told->held, by_address);
  if (at == NULL) {
    told->others++;
  } else {
    CHECK(told->seen[at - told->held]++ == 0);
    CHECK(bytes == tessalloc_usable_size(block));
  }
  return --told->limit != 0;
}

static void expect_all(struct told *told, int result, size_t skipped) {
  CHECK(result == 1 && skipped == 0);
  for (size_t i = 0; i < told->count; i++) CHECK(told->seen[i] == 1);
  memset(told->seen, 0, told->count);
  told->others = 0;
}

static int on_page(const tessalloc_page_info_t *page, void *argument) {
  CHECK(page->used <= page->capacity && page->capacity <= page->reserved);
  CHECK((page->owner == TESSALLOC_OWNER_THREAD) == (page->thread_id != 0));
  *(size_t *)argument += page->used;
  return 1;
}

static void *held_by_thread[BLOCKS / 2];
static uint64_t id_of_thread;

static void *allocate(void *argument) {
  (void)argument;
  id_of_thread = tessalloc_thread_id();
  for (int i = 0; i < BLOCKS / 2; i++) held_by_thread[i] = malloc(1 + i % 2000);
  return NULL;
}

static uint64_t last_heartbeat;
static int is_inside;

static void deferred(int force, uint64_t heartbeat, void *argument) {
  CHECK(force == 0 && argument == &last_heartbeat && !is_inside);
  is_inside = 1;
  CHECK(heartbeat == last_heartbeat + 1);
  last_heartbeat = heartbeat;
  for (int i = 0; i < 500; i++) free(malloc(1 + i * 7));
  is_inside = 0;
}

int main(void) {
  check_live();
  static unsigned char seen[BLOCKS];
  static void *held[BLOCKS];
  struct told told = {held, BLOCKS, seen, 0, SIZE_MAX};
  size_t skipped = 1, used = 0;

  /* Half of the blocks by a thread that has ended, some large, some of a heap. */
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, allocate, NULL) == 0 && pthread_join(thread, NULL) == 0);
  CHECK(id_of_thread != 0 && id_of_thread != tessalloc_thread_id() && !tessalloc_thread_is_alive(id_of_thread));
  CHECK(tessalloc_thread_is_alive(tessalloc_thread_id()) && tessalloc_thread_purge(id_of_thread) == -1);
  memcpy(held, held_by_thread, sizeof held_by_thread);
  tessalloc_heap_t *heap = tessalloc_heap_new();
  for (int i = BLOCKS / 2; i < BLOCKS; i++) {
    size_t size = i % 1000 == 0 ? 300000 : 1 + i % 3000;
    held[i] = i % 10 == 0 ? tessalloc_heap_malloc(heap, size) : malloc(size);
  }
  /* And what is free: it is told by no exact walk. */
  void *freed[1000];
  for (int i = 0; i < 1000; i++) freed[i] = malloc(1 + i * 3);
  for (int i = 0; i < 1000; i++) free(freed[i]);
  qsort(held, BLOCKS, sizeof held[0], by_address);

  int result = tessalloc_visit_blocks(TESSALLOC_WALK_ALL, 0, on_block, &told, &skipped);
  expect_all(&told, result, skipped);
  result = tessalloc_visit_blocks_exactly(TESSALLOC_WALK_ALL, 0, on_block, &told, &skipped);
  /* The C library may hold some. */
  CHECK(told.others < 100);
  expect_all(&told, result, skipped);

  /* Parts: of the heap, of this thread, and of none. */
  size_t of_heap = 0;
  for (int i = 0; i < BLOCKS; i++) of_heap += tessalloc_heap_of(held[i]) == heap;
  CHECK(tessalloc_visit_blocks_exactly(TESSALLOC_WALK_HEAP, tessalloc_heap_id(heap), on_block, &told, NULL) == 1);
  for (int i = 0; i < BLOCKS; i++) CHECK(told.seen[i] == (tessalloc_heap_of(held[i]) == heap));
  memset(seen, 0, sizeof seen);
  CHECK(tessalloc_visit_pages(TESSALLOC_WALK_HEAP, tessalloc_heap_id(heap), on_page, &used, &skipped) == 1 && used == of_heap);
  CHECK(tessalloc_visit_blocks(TESSALLOC_WALK_THREAD, tessalloc_thread_id(), on_block, &told, &skipped) == 1);
  CHECK(tessalloc_visit_blocks(TESSALLOC_WALK_WITHOUT_THREAD, 0, on_block, &told, &skipped) == 1);
  expect_all(&told, 1, skipped);

  /* Idle: what this thread holds is others'. */
  used = 0;
  tessalloc_thread_idle();
  CHECK(tessalloc_visit_pages(TESSALLOC_WALK_THREAD, tessalloc_thread_id(), on_page, &used, NULL) == 1);
  CHECK(used < BLOCKS / 4);
  CHECK(tessalloc_thread_purge(tessalloc_thread_id()) >= 0);

  /* Ended early, and misused. */
  told.limit = 10;
  CHECK(tessalloc_visit_blocks(TESSALLOC_WALK_ALL, 0, on_block, &told, NULL) == 0 && told.limit == 0);
  errno = 0;
  CHECK(tessalloc_visit_blocks(TESSALLOC_WALK_ALL, 0, NULL, NULL, NULL) == 0 && errno == EINVAL);
  errno = 0;
  CHECK(tessalloc_visit_pages(4, 0, on_page, &used, NULL) == 0 && errno == EINVAL);
  errno = 0;
  CHECK(tessalloc_visit_blocks_exactly(-1, 0, on_block, &told, NULL) == 0 && errno == EINVAL);

  /* Deferred frees, with a heartbeat. */
  tessalloc_set_deferred_free(deferred, &last_heartbeat);
  static void *more[BLOCKS];
  for (int i = 0; i < BLOCKS; i++) more[i] = malloc(200);
  tessalloc_set_deferred_free(NULL, NULL);
  CHECK(last_heartbeat > BLOCKS / 64 / 8 && last_heartbeat < BLOCKS);
  uint64_t last = last_heartbeat;
  for (int i = 0; i < BLOCKS; i++) free(more[i]);
  for (int i = 0; i < BLOCKS; i++) free(held[i]);
  for (int i = 0; i < BLOCKS; i++) more[i] = malloc(300);
  for (int i = 0; i < BLOCKS; i++) free(more[i]);
  CHECK(last_heartbeat == last);
  tessalloc_heap_delete(heap);
  puts("ok");
  return 0;
}
