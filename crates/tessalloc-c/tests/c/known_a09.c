/* Threads whose key destructors free and allocate in rounds 1 to 4; keys made before the first allocation and after it, so
 * that ours stands between them. Blocks of the ended threads are freed by others. */
#include "check.h"

enum { ROUNDS = 4, THREADS = 8, KEYS = 40 };
static pthread_key_t early_key, late_keys[KEYS];
static int destructor_runs;

struct held {
  int round;
  char *blocks[20];
};

static void fill(struct held *held, int round) {
  held->round = round;
  for (int i = 0; i < 20; i++) {
    size_t size = (size_t)(i * i * 60 + round);
    CHECK((held->blocks[i] = i % 4 == 3 ? aligned_alloc(256, size) : malloc(size)));
    memset(held->blocks[i], round + i, size);
  }
}

static void empty(struct held *held) {
  for (int i = 0; i < 20; i++) {
    size_t size = (size_t)(i * i * 60 + held->round);
    for (size_t j = 0; j < size; j++) CHECK(held->blocks[i][j] == (char)(held->round + i));
    free(held->blocks[i]);
  }
}

static void again(pthread_key_t key, struct held *held) {
  __atomic_add_fetch(&destructor_runs, 1, __ATOMIC_RELAXED);
  int round = held->round;
  empty(held);
  free(held);
  void *grown = realloc(malloc(10), 100000);
  CHECK(grown);
  free(grown);
  free(NULL);
  if (round == ROUNDS) return;
  held = calloc(1, sizeof *held);
  CHECK(held);
  fill(held, round + 1);
  CHECK(pthread_setspecific(key, held) == 0);
}

static void early_destructor(void *value) { again(early_key, value); }
static void late_destructor(void *value) { again(late_keys[0], value); }
static void last_key_destructor(void *value) { again(late_keys[KEYS - 1], value); }

static void make_early(void) { pthread_key_create(&early_key, early_destructor); }
__attribute__((section(".preinit_array"), used)) static void (*preinit)(void) = make_early;

static void *left[THREADS][100];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *thread(void *argument) {
  uintptr_t index = (uintptr_t)argument;
  pthread_key_t keys[] = {early_key, late_keys[0], late_keys[KEYS - 1]};
  for (int i = 0; i < 3; i++) {
    struct held *held = calloc(1, sizeof *held);
    fill(held, 1);
    CHECK(pthread_setspecific(keys[i], held) == 0);
  }
  pthread_mutex_lock(&lock);
  for (int i = 0; i < 100; i++) {
    free(left[index][i]);
    CHECK((left[index][i] = malloc((size_t)i * 50)));
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

/* Its first act in the allocator is in a destructor. */
static void first_act_is_late(void *value) {
  free(NULL);
  void *block = malloc((uintptr_t)value);
  CHECK(block);
  free(block);
}
static pthread_key_t idle_key;
static void *idle_thread(void *argument) {
  CHECK(pthread_setspecific(idle_key, argument) == 0);
  return NULL;
}

int main(void) {
  check_live();
  for (int i = 0; i < KEYS; i++)
    CHECK(pthread_key_create(&late_keys[i], i == 0 ? late_destructor : i == KEYS - 1 ? last_key_destructor : NULL) == 0);
  CHECK(pthread_key_create(&idle_key, first_act_is_late) == 0);
  int expected = 0;
  for (int generation = 0; generation < 60; generation++) {
    pthread_t threads[2 * THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
      CHECK(pthread_create(&threads[2 * i], NULL, thread, (void *)((i + (uintptr_t)generation) % THREADS)) == 0);
      CHECK(pthread_create(&threads[2 * i + 1], NULL, idle_thread, (void *)(i + 1)) == 0);
    }
    for (int i = 0; i < 2 * THREADS; i++) pthread_join(threads[i], NULL);
    expected += THREADS * 3 * ROUNDS;
  }
  CHECK(destructor_runs == expected);
  for (int i = 0; i < THREADS; i++)
    for (int j = 0; j < 100; j++) free(left[i][j]);
  /* Nothing stays behind of 960 threads. */
  CHECK(status_bytes("VmRSS:") < (48u << 20));
  puts("ok");
}
