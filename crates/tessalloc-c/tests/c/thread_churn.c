/* 512 threads at once that allocate, write and exit, ten times over: memory after the tenth is what it was after the first. */
#include "check.h"

enum { THREADS = 512 };
static pthread_barrier_t all;

static void *run(void *argument) {
  uint64_t state = (uintptr_t)argument + 1;
  void *blocks[60];
  for (int i = 0; i < 60; i++) {
    size_t size = 16 + next_random(&state) % 2000;
    CHECK(memset(blocks[i] = malloc(size), i, size));
  }
  pthread_barrier_wait(&all);
  for (int i = 0; i < 60; i++) free(blocks[i]);
  return NULL;
}

int main(void) {
  check_live();
  pthread_barrier_init(&all, NULL, THREADS);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  size_t first = 0, last = 0;
  for (int round = 0; round < 10; round++) {
    static pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], &attributes, run, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    last = status_bytes("VmRSS:");
    if (round == 0) first = last;
  }
  printf("resident: %zu KiB after the first round, %zu KiB after the tenth\n", first >> 10, last >> 10);
  /* Ended threads leave 2 MiB of slices, of which more or less is resident. */
  CHECK((double)last <= 1.1 * (double)first + (2 << 20));
  puts("ok");
}
