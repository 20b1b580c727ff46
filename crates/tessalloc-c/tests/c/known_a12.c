/* A service of eight threads: bursts of requests, each with a few hundred blocks, then nothing to do. What is resident then? */
#include "check.h"

enum { THREADS = 8, REQUESTS = 3000, BLOCKS = 300 };
static pthread_barrier_t idle;

static void *serve(void *argument) {
  uint64_t state = (uintptr_t)argument + 1;
  static _Thread_local void *blocks[BLOCKS];
  void *session[64] = {0};
  for (int request = 0; request < REQUESTS; request++) {
    for (int i = 0; i < BLOCKS; i++) {
      size_t size = 16 + next_random(&state) % (i % 20 == 0 ? 16384 : 700);
      CHECK((blocks[i] = malloc(size)));
      memset(blocks[i], i, size);
    }
    /* Some of it stays for a while. */
    int kept = (int)(next_random(&state) % 64);
    free(session[kept]);
    session[kept] = blocks[0];
    for (int i = 1; i < BLOCKS; i++) free(blocks[i]);
  }
  for (int i = 0; i < 64; i++) free(session[i]);
  pthread_barrier_wait(&idle);
  /* Waits for the next request, which doesn't come: the thread makes no call. */
  pthread_barrier_wait(&idle);
  return NULL;
}

int main(void) {
  check_live();
  pthread_barrier_init(&idle, NULL, THREADS + 1);
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, serve, (void *)i) == 0);
  pthread_barrier_wait(&idle);
  size_t busy = status_bytes("VmRSS:");
  usleep(4000000);
  size_t after = status_bytes("VmRSS:");
  printf("resident: %zu KiB at the end of the work, %zu KiB idle\n", busy >> 10, after >> 10);
  /* 4 MiB may be held without use, 256 KiB a thread of blocks kept ready, and 8 MiB are the process itself. */
  CHECK(after <= (4u << 20) + THREADS * (256u << 10) + (8u << 20));
  pthread_barrier_wait(&idle);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  puts("ok");
}
