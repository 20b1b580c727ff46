/* First-class heaps of tessalloc.h. */
#include "check.h"
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

static const size_t half = SIZE_MAX / 2 + 1;

static int is_zero(const void *block, size_t from, size_t to) {
  for (size_t at = from; at < to; at++)
    if (((const unsigned char *)block)[at] != 0) return 0;
  return 1;
}

static int holds(const void *block, int byte, size_t size) {
  for (size_t at = 0; at < size; at++)
    if (((const unsigned char *)block)[at] != (unsigned char)byte) return 0;
  return 1;
}

static int is_at(const void *block, size_t align, size_t offset) {
  return block != NULL && ((uintptr_t)block + offset) % align == 0;
}

/* A block that came from a heap: aligned as C expects, of that heap, and writable as far as is usable. */
static void *of(tessalloc_heap_t *heap, void *block, int byte) {
  CHECK(is_at(block, 16, 0) && tessalloc_heap_of(block) == heap && tessalloc_heap_contains(heap, block) == 1);
  memset(block, byte, tessalloc_usable_size(block));
  return block;
}

/* Leaves a freed block of a heap with ones in it for the next request of this kind. */
static void leave_dirt(tessalloc_heap_t *heap, size_t size, size_t align, size_t offset) {
  void *block = tessalloc_heap_malloc_aligned_at(heap, size, align, offset);
  CHECK(tessalloc_heap_of(block) == heap);
  memset(block, 0xff, tessalloc_usable_size(block));
  tessalloc_heap_free(heap, block);
}

/* All forms, in a first-class heap and in the default one. */
static void every_form(tessalloc_heap_t *heap) {
  void *block = of(heap, tessalloc_heap_malloc(heap, 100), 0xff);
  tessalloc_heap_free(heap, block);
  block = tessalloc_heap_zalloc(heap, 100); /* most likely the one with ones in it */
  CHECK(is_zero(block, 0, tessalloc_usable_size(block)));
  tessalloc_free(of(heap, block, 0xff));
  leave_dirt(heap, 100, 16, 0);
  block = tessalloc_heap_calloc(heap, 10, 10);
  CHECK(is_zero(block, 0, 100));
  free(of(heap, block, 1));
  block = of(heap, tessalloc_heap_mallocn(heap, 10, 10), 2);
  CHECK(tessalloc_usable_size(block) >= 100);
  block = tessalloc_heap_realloc(heap, block, 5000);
  CHECK(holds(block, 2, 100));
  block = tessalloc_heap_reallocn(heap, of(heap, block, 3), 300, 1000);
  CHECK(holds(block, 3, 5000));
  block = tessalloc_heap_reallocn(heap, block, 0, 1000);
  CHECK(block != NULL);
  CHECK((errno = 0, tessalloc_heap_reallocf(heap, block, SIZE_MAX) == NULL && errno == ENOMEM)); /* frees it */
  block = tessalloc_heap_reallocf(heap, NULL, 40);
  errno = 77;
  CHECK(tessalloc_heap_realloc(heap, of(heap, block, 4), 0) == NULL && errno == 77);
  block = of(heap, tessalloc_heap_realloc(heap, NULL, 0), 4);
  tessalloc_heap_free(heap, block);

  block = tessalloc_heap_rezalloc(heap, NULL, 100);
  const size_t before = tessalloc_usable_size(block);
  CHECK(is_zero(block, 0, before));
  leave_dirt(heap, 3000, 16, 0);
  block = tessalloc_heap_rezalloc(heap, of(heap, block, 5), 3000);
  CHECK(holds(block, 5, 100) && is_zero(block, before, tessalloc_usable_size(block)));
  leave_dirt(heap, 7000, 16, 0);
  block = tessalloc_heap_recalloc(heap, of(heap, block, 6), 7, 1000);
  CHECK(holds(block, 6, 3000) && is_zero(block, 3072, 7000));
  CHECK((errno = 0, tessalloc_heap_recalloc(heap, block, half, 2) == NULL && errno == ENOMEM));
  CHECK(holds(block, 6, 3000)); /* it stays */
  tessalloc_heap_free(heap, block);

  for (size_t align = 1; align <= 1 << 20; align *= 8) {
    for (size_t offset = 0; offset <= 40; offset += 8) {
      block = tessalloc_heap_malloc_aligned_at(heap, 300, align, offset);
      CHECK(is_at(block, align, offset) && tessalloc_heap_of(block) == heap);
      memset(block, 0xff, 300);
      block = tessalloc_heap_realloc_aligned_at(heap, block, 900, align, offset);
      CHECK(is_at(block, align, offset) && holds(block, 0xff, 300));
      tessalloc_heap_free(heap, block);
      leave_dirt(heap, 300, align, offset);
      block = tessalloc_heap_zalloc_aligned_at(heap, 300, align, offset);
      CHECK(is_at(block, align, offset) && is_zero(block, 0, 300));
      const size_t usable = tessalloc_usable_size(block);
      memset(block, 7, usable);
      leave_dirt(heap, 2 * usable, align, offset);
      block = tessalloc_heap_rezalloc_aligned_at(heap, block, 2 * usable, align, offset);
      CHECK(is_at(block, align, offset) && holds(block, 7, usable) && is_zero(block, usable, 2 * usable));
      leave_dirt(heap, 3 * usable, align, offset);
      block = tessalloc_heap_recalloc_aligned_at(heap, block, 3, usable, align, offset);
      CHECK(is_at(block, align, offset) && is_zero(block, 2 * usable, 3 * usable));
      CHECK(tessalloc_heap_of(block) == heap);
      tessalloc_free(block);
      leave_dirt(heap, 300, align, offset);
      block = tessalloc_heap_calloc_aligned_at(heap, 3, 100, align, offset);
      CHECK(is_at(block, align, offset) && is_zero(block, 0, 300));
      tessalloc_heap_free(heap, block);
    }
    block = of(heap, tessalloc_heap_malloc_aligned(heap, 300, align), 8);
    CHECK(is_at(block, align, 0));
    block = tessalloc_heap_realloc_aligned(heap, block, 3000, align);
    CHECK(is_at(block, align, 0) && holds(block, 8, 300));
    tessalloc_heap_free(heap, block);
    leave_dirt(heap, 300, align, 0);
    block = tessalloc_heap_zalloc_aligned(heap, 300, align);
    const size_t usable = tessalloc_usable_size(block);
    CHECK(is_at(block, align, 0) && is_zero(block, 0, usable));
    leave_dirt(heap, 2 * usable, align, 0);
    block = tessalloc_heap_rezalloc_aligned(heap, block, 2 * usable, align);
    CHECK(is_at(block, align, 0) && is_zero(block, 0, 2 * usable));
    leave_dirt(heap, 3 * usable, align, 0);
    block = tessalloc_heap_recalloc_aligned(heap, block, 3, usable, align);
    CHECK(is_at(block, align, 0) && is_zero(block, 0, 3 * usable));
    tessalloc_heap_free(heap, block);
    leave_dirt(heap, 300, align, 0);
    block = tessalloc_heap_calloc_aligned(heap, 3, 100, align);
    CHECK(is_at(block, align, 0) && is_zero(block, 0, 300));
    tessalloc_heap_free(heap, block);
  }

  char *text = tessalloc_heap_strdup(heap, "koka");
  CHECK(strcmp(text, "koka") == 0 && tessalloc_heap_of(text) == heap);
  tessalloc_heap_free(heap, text);
  text = tessalloc_heap_strndup(heap, "koka", 2);
  CHECK(strcmp(text, "ko") == 0 && tessalloc_heap_of(text) == heap);
  tessalloc_heap_free(heap, text);
  text = tessalloc_heap_realpath(heap, "/usr/..", NULL);
  CHECK(strcmp(text, "/") == 0 && tessalloc_heap_of(text) == heap);
  tessalloc_heap_free(heap, text);
  CHECK(tessalloc_heap_strdup(heap, NULL) == NULL && tessalloc_heap_strndup(heap, NULL, 3) == NULL);
  CHECK((errno = 0, tessalloc_heap_realpath(heap, "/no/such", NULL) == NULL && errno == ENOENT));

  void *blocks[1000];
  CHECK(tessalloc_heap_malloc_batch(heap, 48, blocks, 1000) == 1000 && tessalloc_heap_malloc_batch(heap, 8, NULL, 0) == 0);
  for (int i = 0; i < 1000; i++) of(heap, blocks[i], i);
  for (int i = 0; i < 1000; i++) CHECK(holds(blocks[i], i, 48));
  tessalloc_free_batch(blocks, 1000);
  CHECK((errno = 0, tessalloc_heap_malloc_batch(heap, half, blocks, 3) == 0 && errno == ENOMEM));

  CHECK((errno = 0, tessalloc_heap_malloc(heap, half) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_zalloc(heap, half) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_mallocn(heap, half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_calloc(heap, half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_reallocn(heap, NULL, half, 2) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_calloc_aligned(heap, half, 2, 64) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_calloc_aligned_at(heap, half, 2, 64, 8) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_recalloc_aligned(heap, NULL, half, 2, 64) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_recalloc_aligned_at(heap, NULL, half, 2, 64, 8) == NULL && errno == ENOMEM));
  CHECK((errno = 0, tessalloc_heap_malloc_aligned(heap, 10, 24) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_heap_zalloc_aligned(heap, 10, 0) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_heap_realloc_aligned(heap, NULL, 10, 3) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_heap_malloc_aligned_at(heap, 10, 8u << 20, 8) == NULL && errno == EINVAL));
  errno = 77;
  tessalloc_heap_free(heap, NULL);
  tessalloc_heap_free(heap, tessalloc_heap_malloc(heap, 10));
  CHECK(errno == 77);
  CHECK(tessalloc_heap_purge(heap) + 1 > 0);
}

static void resizing_across(void) {
  tessalloc_heap_t *first = tessalloc_heap_new(), *second = tessalloc_heap_new();
  char *block = (char *)tessalloc_heap_strdup(first, "taken along");
  block = (char *)tessalloc_heap_realloc(second, block, 5000);
  CHECK(tessalloc_heap_of(block) == second && strcmp(block, "taken along") == 0);
  block = (char *)tessalloc_realloc(block, 50000); /* the plain form: the default heap */
  CHECK(tessalloc_heap_of(block) == tessalloc_heap_main() && strcmp(block, "taken along") == 0);
  block = (char *)tessalloc_heap_realloc(first, block, 500000);
  CHECK(tessalloc_heap_of(block) == first && strcmp(block, "taken along") == 0);
  CHECK(tessalloc_expand(block, 1000) == block);
  tessalloc_heap_destroy(first);
  tessalloc_heap_destroy(second);
}

static void who_is_whose(void) {
  tessalloc_heap_options_t options;
  memset(&options, 0, sizeof options);
  options.struct_bytes = sizeof options;
  options.name = "sessions of the m\xc3\xa9tro: a name too long to be kept";
  options.tag = 99;
  tessalloc_heap_t *heap = tessalloc_heap_new_with(&options), *other = tessalloc_heap_new_with(NULL);
  CHECK(strlen(tessalloc_heap_name(heap)) == 32 && strncmp(tessalloc_heap_name(heap), options.name, 32) == 0);
  CHECK(tessalloc_heap_tag(heap) == 99 && strcmp(tessalloc_heap_name(other), "") == 0 && tessalloc_heap_tag(other) == 0);
  CHECK(tessalloc_heap_id(heap) != 0 && tessalloc_heap_id(heap) != tessalloc_heap_id(other));
  CHECK(tessalloc_heap_id(tessalloc_heap_main()) == 0 && tessalloc_heap_tag(tessalloc_heap_main()) == 0);
  CHECK(strcmp(tessalloc_heap_name(tessalloc_heap_main()), "default") == 0);
  char *block = (char *)tessalloc_heap_malloc(heap, 100), *plain = (char *)malloc(100), local;
  CHECK(tessalloc_heap_of(block + 50) == heap && tessalloc_heap_contains(heap, block) == 1);
  CHECK(tessalloc_heap_contains(other, block) == 0 && tessalloc_heap_contains(tessalloc_heap_main(), block) == 0);
  CHECK(tessalloc_heap_of(plain) == tessalloc_heap_main() && tessalloc_heap_contains(tessalloc_heap_main(), plain) == 1);
  CHECK(tessalloc_heap_of(&local) == NULL && tessalloc_heap_of(NULL) == NULL && tessalloc_heap_contains(heap, &local) == 0);
  CHECK(tessalloc_heap_contains(NULL, block) == 0 && tessalloc_heap_contains(NULL, NULL) == 0);

  const uint64_t count = tessalloc_heap_count();
  const uint64_t plain_before = tessalloc_heap_allocated_bytes(tessalloc_heap_main());
  void *large = tessalloc_heap_malloc(heap, 10 << 20);
  CHECK(tessalloc_heap_allocated_bytes(heap) >= 10 << 20 && tessalloc_heap_allocated_bytes(other) == 0);
  CHECK(tessalloc_heap_allocated_bytes(tessalloc_heap_main()) < plain_before + (1 << 20));
  /* What is left in a deleted heap is the default heap's. */
  memset(large, 3, 10 << 20);
  tessalloc_heap_delete(heap);
  CHECK(tessalloc_heap_count() == count - 1 && tessalloc_heap_of(block) == tessalloc_heap_main());
  CHECK(tessalloc_heap_of(large) == tessalloc_heap_main() && holds(large, 3, 10 << 20));
  free(block);
  free(large);
  free(plain);
  /* What ends nothing. */
  tessalloc_heap_delete(NULL);
  tessalloc_heap_destroy(NULL);
  tessalloc_heap_clear(NULL);
  tessalloc_heap_delete(tessalloc_heap_main());
  tessalloc_heap_destroy(tessalloc_heap_main());
  tessalloc_heap_clear(tessalloc_heap_main());
  tessalloc_heap_destroy(other);
  CHECK(tessalloc_heap_count() == count - 2);
}

static void options_of_all_sizes(void) {
  struct {
    tessalloc_heap_options_t known;
    uint64_t later;
  } options;
  memset(&options, 0, sizeof options);
  options.known.struct_bytes = 3;
  CHECK((errno = 0, tessalloc_heap_new_with(&options.known) == NULL && errno == EINVAL));
  options.known.struct_bytes = offsetof(tessalloc_heap_options_t, tag); /* what lies behind is not looked at */
  options.known.tag = 5;
  options.known.name = "older";
  tessalloc_heap_t *heap = tessalloc_heap_new_with(&options.known);
  CHECK(tessalloc_heap_tag(heap) == 0 && strcmp(tessalloc_heap_name(heap), "older") == 0);
  tessalloc_heap_delete(heap);
  options.known.struct_bytes = sizeof options; /* of a later version: fine as long as it asks for nothing new */
  heap = tessalloc_heap_new_with(&options.known);
  CHECK(tessalloc_heap_tag(heap) == 5);
  tessalloc_heap_delete(heap);
  options.later = 1;
  CHECK((errno = 0, tessalloc_heap_new_with(&options.known) == NULL && errno == EINVAL));
  options.later = 0;
  options.known.name = "\xff";
  CHECK((errno = 0, tessalloc_heap_new_with(&options.known) == NULL && errno == EINVAL));
}

struct told {
  tessalloc_heap_t *heap;
  int soft, hard;
  void *kept; /* freed at the hard limit, so that the request fits */
};

static void on_limit(tessalloc_heap_t *heap, uint32_t limit, uint64_t wanted_bytes, void *argument) {
  struct told *told = (struct told *)argument;
  CHECK(heap == told->heap && wanted_bytes >= 1000);
  if (limit == TESSALLOC_LIMIT_SOFT) told->soft++;
  if (limit == TESSALLOC_LIMIT_HARD) told->hard++;
  CHECK(tessalloc_heap_allocated_bytes(heap) > 0);
  if (limit == TESSALLOC_LIMIT_HARD && told->kept != NULL) {
    tessalloc_heap_free(heap, told->kept);
    told->kept = NULL;
  }
}

static void limits(void) {
  struct told told = {NULL, 0, 0, NULL};
  tessalloc_heap_options_t options;
  memset(&options, 0, sizeof options);
  options.struct_bytes = sizeof options;
  options.soft_limit_bytes = 1 << 20;
  options.hard_limit_bytes = 2 << 20;
  options.on_limit = on_limit;
  options.on_limit_argument = &told;
  tessalloc_heap_t *heap = told.heap = tessalloc_heap_new_with(&options);
  int count = 0;
  while (tessalloc_heap_malloc(heap, 1000) != NULL) count++;
  CHECK(errno == ENOMEM && told.soft == 1 && told.hard == 1);
  CHECK(count > (2 << 20) / 1024 * 9 / 10 && count <= (2 << 20) / 1000);
  CHECK((errno = 0, tessalloc_heap_zalloc_aligned_at(heap, 100000, 64, 8) == NULL && errno == ENOMEM));
  tessalloc_heap_clear(heap);
  CHECK(tessalloc_heap_allocated_bytes(heap) == 0);
  /* The function makes room, and the second try succeeds. */
  told.kept = tessalloc_heap_malloc(heap, 3 << 19);
  told.soft = told.hard = 0;
  void *block = tessalloc_heap_malloc(heap, 1 << 20);
  CHECK(block != NULL && told.kept == NULL && told.hard == 1);
  tessalloc_heap_destroy(heap);
}

static void zeroed_heaps(void) {
  tessalloc_heap_options_t options;
  memset(&options, 0, sizeof options);
  options.struct_bytes = sizeof options;
  options.zeroed = 1;
  tessalloc_heap_t *heap = tessalloc_heap_new_with(&options);
  const size_t sizes[] = {8, 100, 5000, 100000, 1 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (int round = 0; round < 3; round++) {
      void *block = tessalloc_heap_malloc(heap, sizes[i]);
      CHECK(is_zero(block, 0, sizes[i]));
      tessalloc_heap_free(heap, of(heap, block, 0xff));
      block = tessalloc_heap_malloc_aligned_at(heap, sizes[i], 64, 8);
      CHECK(is_zero(block, 0, sizes[i]));
      memset(block, 0xff, sizes[i]);
      tessalloc_heap_free(heap, block);
    }
  }
  tessalloc_heap_destroy(heap);
}

enum { COUNT = 5000 };
struct model {
  tessalloc_heap_t *heap;
  void *blocks[COUNT];
  unsigned char seen[COUNT];
  size_t found, stop_after;
};

static int find_block(tessalloc_heap_t *heap, void *block, size_t bytes, void *argument) {
  struct model *model = (struct model *)argument;
  CHECK(heap == model->heap);
  size_t index;
  memcpy(&index, block, sizeof index);
  CHECK(index < COUNT && model->blocks[index] == block && bytes == tessalloc_usable_size(block));
  CHECK(!model->seen[index]);
  model->seen[index] = 1;
  return ++model->found != model->stop_after;
}

static int find_none(tessalloc_heap_t *heap, void *block, size_t bytes, void *argument) {
  (void)heap;
  (void)argument;
  fprintf(stderr, "%p of %zu bytes is left\n", block, bytes);
  return 0;
}

static int find_heap(tessalloc_heap_t *heap, void *argument) {
  struct model *model = (struct model *)argument;
  if (heap == model->heap) model->found++;
  CHECK(tessalloc_heap_id(heap) != 0 && strlen(tessalloc_heap_name(heap)) <= 32 && tessalloc_heap_tag(heap) < 100);
  return heap != model->heap;
}

static int never(tessalloc_heap_t *heap, void *argument) {
  (void)heap;
  (void)argument;
  return 0;
}

static void visiting(void) {
  static struct model model;
  model.heap = tessalloc_heap_new();
  uint64_t random = 7;
  for (size_t i = 0; i < COUNT; i++) {
    const size_t size = sizeof i + next_random(&random) % (i % 100 == 0 ? 300000 : 300);
    model.blocks[i] = tessalloc_heap_malloc(model.heap, size);
    memcpy(model.blocks[i], &i, sizeof i);
  }
  size_t used = COUNT;
  for (size_t i = 0; i < COUNT; i++) {
    if (next_random(&random) % 2) continue;
    tessalloc_heap_free(model.heap, model.blocks[i]);
    model.blocks[i] = NULL;
    used--;
  }
  CHECK(tessalloc_heap_visit_blocks(model.heap, find_block, &model) == 1 && model.found == used);
  memset(model.seen, 0, sizeof model.seen);
  model.found = 0;
  model.stop_after = 10;
  CHECK(tessalloc_heap_visit_blocks(model.heap, find_block, &model) == 0 && model.found == 10);
  CHECK((errno = 0, tessalloc_heap_visit_blocks(tessalloc_heap_main(), find_block, &model) == 0 && errno == EINVAL));
  CHECK((errno = 0, tessalloc_heap_visit_blocks(model.heap, NULL, NULL) == 0 && errno == EINVAL));

  tessalloc_heap_t *newer = tessalloc_heap_new();
  model.found = 0;
  CHECK(tessalloc_visit_heaps(find_heap, &model) == 0 && model.found == 1);
  CHECK(tessalloc_visit_heaps(never, NULL) == 0 && (errno = 0, tessalloc_visit_heaps(NULL, NULL) == 0 && errno == EINVAL));
  tessalloc_heap_destroy(model.heap);
  model.found = 0;
  CHECK(tessalloc_visit_heaps(find_heap, &model) == 1 && model.found == 0);
  tessalloc_heap_destroy(newer);
  CHECK(tessalloc_visit_heaps(never, NULL) == 1); /* none is left */
}

static tessalloc_heap_t *shared_heap;
static void *argument_of_first_act;

static void *worker(void *argument) {
  uint64_t random = (uintptr_t)argument + 1;
  void *kept[64] = {NULL};
  for (int i = 0; i < 20000; i++) {
    void **place = &kept[next_random(&random) % 64];
    if (*place != NULL) {
      if (i % 2) tessalloc_heap_free(shared_heap, *place);
      else free(*place);
    }
    *place = of(shared_heap, tessalloc_heap_malloc(shared_heap, next_random(&random) % 2000), i);
  }
  return kept[0]; /* the rest is left to the heap's end */
}

static void threads(void) {
  shared_heap = tessalloc_heap_new();
  pthread_t workers[4];
  for (uintptr_t i = 0; i < 4; i++) CHECK(pthread_create(&workers[i], NULL, worker, (void *)i) == 0);
  for (int i = 0; i < 4; i++) {
    void *block;
    CHECK(pthread_join(workers[i], &block) == 0);
    tessalloc_heap_free(shared_heap, block); /* of a thread that has ended */
  }
  tessalloc_heap_destroy(shared_heap);
}

static pthread_key_t key;

/* Runs in all rounds of destructors, the last of them after the thread's end for the allocator. */
static void last_acts(void *round) {
  void *block = of(shared_heap, tessalloc_heap_malloc(shared_heap, 100), 1);
  block = of(shared_heap, tessalloc_heap_realloc(shared_heap, block, 20000), 2);
  tessalloc_heap_free(shared_heap, block);
  tessalloc_heap_t *heap = tessalloc_heap_new();
  of(heap, tessalloc_heap_zalloc_aligned_at(heap, 100, 64, 16), 3);
  of(heap, tessalloc_heap_malloc(heap, 100000), 3);
  if ((uintptr_t)round % 2) tessalloc_heap_delete(heap);
  else tessalloc_heap_destroy(heap);
  CHECK((uintptr_t)round == 4 || pthread_setspecific(key, (char *)round + 1) == 0);
}

static void *first_act(void *kind) {
  void *block = NULL;
  tessalloc_heap_t *heap;
  switch ((uintptr_t)kind) {
  case 0: block = tessalloc_heap_malloc(shared_heap, 100); break;
  case 1: block = tessalloc_heap_rezalloc(shared_heap, NULL, 100); break;
  case 2: block = tessalloc_heap_malloc_aligned_at(shared_heap, 100, 64, 8); break;
  case 3: tessalloc_heap_free(shared_heap, argument_of_first_act); break;
  case 4: CHECK(tessalloc_heap_of(argument_of_first_act) == shared_heap); break;
  case 5: CHECK(tessalloc_heap_malloc_batch(shared_heap, 100, &block, 1) == 1); break;
  case 6: tessalloc_heap_purge(shared_heap); break;
  case 7:
    heap = tessalloc_heap_new();
    tessalloc_heap_destroy(heap);
    break;
  }
  if (block != NULL) tessalloc_heap_free(shared_heap, block);
  CHECK(pthread_setspecific(key, (void *)1) == 0);
  return NULL;
}

static void first_and_last_acts(void) {
  const uint64_t count = tessalloc_heap_count();
  shared_heap = tessalloc_heap_new();
  CHECK(pthread_key_create(&key, last_acts) == 0);
  for (uintptr_t kind = 0; kind < 8; kind++) {
    pthread_t thread;
    argument_of_first_act = tessalloc_heap_malloc(shared_heap, 100);
    CHECK(pthread_create(&thread, NULL, first_act, (void *)kind) == 0 && pthread_join(thread, NULL) == 0);
    if (kind != 3) tessalloc_heap_free(shared_heap, argument_of_first_act);
  }
  CHECK(pthread_key_delete(key) == 0);
  CHECK(tessalloc_heap_visit_blocks(shared_heap, find_none, NULL) == 1);
  tessalloc_heap_destroy(shared_heap);
  CHECK(tessalloc_heap_count() == count);
}

/* Blocks that are destroyed go back to the system. A tool that watches the program has memory of its own for each byte. */
static void memory_comes_back(void) {
  const int is_watched = getenv("TESSALLOC_TEST_RUNNER") != NULL;
  tessalloc_purge();
  const size_t before = status_bytes("VmRSS:");
  tessalloc_heap_t *heap = tessalloc_heap_new();
  for (int i = 0; i < 320; i++) memset(tessalloc_heap_malloc(heap, 100000), 1, 100000);
  for (int i = 0; i < 320000; i++) memset(tessalloc_heap_malloc(heap, 100), 1, 100);
  CHECK(status_bytes("VmRSS:") > before + (60 << 20));
  tessalloc_heap_destroy(heap);
  tessalloc_purge();
  CHECK(is_watched || status_bytes("VmRSS:") < before + (8 << 20));
}

/* What a child that does this says before it dies of it. */
static void dies(void (*wrong)(void), const char *text) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    wrong();
    _exit(0);
  }
  close(ends[1]);
  char said[1000];
  size_t length = 0;
  for (ssize_t got; length < sizeof said - 1 && (got = read(ends[0], said + length, sizeof said - 1 - length)) > 0;)
    length += (size_t)got;
  said[length] = 0;
  close(ends[0]);
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  if (strstr(said, text) == NULL) fprintf(stderr, "said: %s", said);
  CHECK(strstr(said, text) != NULL);
}

static tessalloc_heap_t *volatile wrong_heap;
static void *volatile result;
static void allocates(void) { result = tessalloc_heap_malloc(wrong_heap, 10); }
static void resizes(void) { result = tessalloc_heap_realloc_aligned(wrong_heap, NULL, 10, 64); }
static void copies(void) { result = tessalloc_heap_strdup(wrong_heap, "text"); }
static void frees(void) { tessalloc_heap_free(wrong_heap, malloc(10)); }
static void ends(void) { tessalloc_heap_delete(wrong_heap); }
static void destroys(void) { tessalloc_heap_destroy(wrong_heap); }
static void asks(void) { result = (void *)tessalloc_heap_name(wrong_heap); }
static void visits(void) { tessalloc_heap_visit_blocks(wrong_heap, find_block, NULL); }

static void bad_handles(void) {
  void *block = aligned_alloc(128, 256), *text = aligned_alloc(128, 256);
  CHECK(block != NULL && text != NULL);
  memset(block, 0, 256);
  memset(text, 'x', 256);
  tessalloc_heap_t *ended = tessalloc_heap_new();
  result = tessalloc_heap_malloc(ended, 10);
  tessalloc_heap_destroy(ended);
  void *const wrong[] = {NULL, ended, block, text, (char *)text + 8, (void *)8};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    wrong_heap = (tessalloc_heap_t *)wrong[i];
    dies(allocates, "cannot run tessalloc_heap_malloc: expected a heap, received 0x");
    dies(resizes, "cannot run tessalloc_heap_realloc_aligned: expected a heap, received 0x");
    dies(copies, "cannot run tessalloc_heap_strdup: expected a heap, received 0x");
    dies(frees, "cannot run tessalloc_heap_free: expected a heap, received 0x");
    dies(asks, "cannot run tessalloc_heap_name: expected a heap, received 0x");
    dies(visits, "cannot run tessalloc_heap_visit_blocks: expected a heap, received 0x");
    if (wrong[i] == NULL) continue;
    dies(ends, "cannot run tessalloc_heap_delete: expected a heap, received 0x");
    dies(destroys, "cannot run tessalloc_heap_destroy: expected a heap, received 0x");
  }
  /* A heap takes its own blocks only. */
  wrong_heap = tessalloc_heap_new();
  dies(frees, "cannot free by a heap: expected a block of this heap, received 0x");
  tessalloc_heap_destroy(wrong_heap);
  free(block);
  free(text);
}

int main(void) {
  check_live();
  tessalloc_heap_t *heap = tessalloc_heap_new();
  CHECK(heap != NULL && heap != tessalloc_heap_main());
  every_form(heap);
  every_form(tessalloc_heap_main());
  tessalloc_heap_clear(heap);
  every_form(heap);
  tessalloc_heap_destroy(heap);
  memory_comes_back();
  resizing_across();
  who_is_whose();
  options_of_all_sizes();
  limits();
  zeroed_heaps();
  visiting();
  threads();
  first_and_last_acts();
  bad_handles();
  puts("ok");
  return 0;
}
