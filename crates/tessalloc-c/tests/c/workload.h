/* Threads that allocate, resize, check, free, and hand blocks to each other. */
#ifndef WORKLOAD_H
#define WORKLOAD_H
#include "check.h"

enum { SLOTS = 512, SHARED = 1024 };
struct block {
  unsigned char *at;
  size_t size;
  unsigned char mark;
};
static void *volatile shared_slots[SHARED];

static inline size_t random_size(uint64_t *state) {
  uint64_t r = next_random(state);
  if (r % 1000 == 0) return next_random(state) % 3000000;
  if (r % 50 == 0) return next_random(state) % 100000;
  return next_random(state) % 1500;
}

static inline void check_block(const struct block *block) {
  if (!block->at) return;
  size_t step = block->size > 4096 ? 509 : 1;
  for (size_t i = 0; i < block->size; i += step) CHECK(block->at[i] == block->mark);
  if (block->size) CHECK(block->at[block->size - 1] == block->mark);
}

/* A block for another thread: its first bytes say how long it is and what it holds. */
static inline void give(uint64_t *state) {
  size_t size = 32 + random_size(state);
  size_t *block = malloc(size);
  CHECK(block);
  block[0] = size;
  block[1] = next_random(state) & 0xff;
  memset(block + 2, (int)block[1], size - 16);
  size_t *old = __atomic_exchange_n((void **)&shared_slots[next_random(state) % SHARED], block, __ATOMIC_ACQ_REL);
  if (old) {
    for (size_t i = 16; i < old[0]; i += old[0] > 4096 ? 509 : 1) CHECK(((unsigned char *)old)[i] == old[1]);
    free(old);
  }
}

static inline void work(uint64_t seed, int steps) {
  struct block *slots = calloc(SLOTS, sizeof *slots);
  CHECK(slots);
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (int step = 0; step < steps; step++) {
    struct block *slot = &slots[next_random(&state) % SLOTS];
    check_block(slot);
    size_t size = random_size(&state);
    unsigned char mark = (unsigned char)next_random(&state);
    switch (next_random(&state) % 8) {
    case 0: {
      unsigned char *moved = realloc(slot->at, size + 1);
      CHECK(moved);
      for (size_t i = 0; slot->at && i < slot->size && i <= size; i += 61) CHECK(moved[i] == slot->mark);
      slot->at = moved;
      size++;
      break;
    }
    case 1:
      free(slot->at);
      CHECK((slot->at = calloc(1, size + 1)));
      for (size_t i = 0; i <= size; i++) CHECK(slot->at[i] == 0);
      break;
    case 2: {
      size_t align = (size_t)16 << next_random(&state) % 9;
      free(slot->at);
      CHECK((slot->at = aligned_alloc(align, size + 1)) && ((uintptr_t)slot->at & (align - 1)) == 0);
      break;
    }
    case 3:
      give(&state);
      /* fall through */
    default:
      free(slot->at);
      CHECK((slot->at = malloc(size + 1)));
    }
    slot->size = size;
    slot->mark = mark;
    memset(slot->at, mark, size);
  }
  for (int i = 0; i < SLOTS; i++) {
    check_block(&slots[i]);
    free(slots[i].at);
  }
  free(slots);
}

static inline void empty_shared(void) {
  for (int i = 0; i < SHARED; i++) free(__atomic_exchange_n((void **)&shared_slots[i], NULL, __ATOMIC_ACQ_REL));
}

struct work_task {
  uint64_t seed;
  int steps;
};
static void *work_thread(void *argument) {
  struct work_task *task = argument;
  work(task->seed, task->steps);
  return NULL;
}

static inline void run_threads(int count, int steps, uint64_t seed) {
  pthread_t threads[64];
  struct work_task tasks[64];
  CHECK(count <= 64);
  for (int i = 0; i < count; i++) {
    tasks[i] = (struct work_task){seed + (uint64_t)i, steps};
    CHECK(pthread_create(&threads[i], NULL, work_thread, &tasks[i]) == 0);
  }
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}
#endif
