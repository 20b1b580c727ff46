/* A thread that only frees what others allocate: the peak stays within 1.30 of the live bytes, counted by usable size with blocks
 * in flight. Arguments: producers, live MiB. Each producer holds a page a class that it has not filled, so that many of them with little
 * live would show those pages and not what the report was about. */
#include "check.h"

static size_t live_most = (size_t)90 << 20;
static int producers = 4;
static size_t live, live_peak;
static uint64_t made_bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER, filled = PTHREAD_COND_INITIALIZER;

enum { BATCH = 256 };
struct batch {
  struct batch *next;
  size_t bytes;
  int count;
  void *blocks[BATCH];
};
static struct batch *head, *tail;
static int running;

static void *produce(void *argument) {
  uint64_t state = (uintptr_t)argument * 77 + 1;
  for (;;) {
    struct batch *batch = malloc(sizeof *batch);
    CHECK(batch);
    batch->next = NULL;
    batch->bytes = malloc_usable_size(batch);
    for (batch->count = 0; batch->count < BATCH; batch->count++) {
      size_t size = 16 + next_random(&state) % 2000;
      void *block = malloc(size);
      CHECK(block);
      memset(block, 1, size);
      batch->blocks[batch->count] = block;
      batch->bytes += malloc_usable_size(block);
    }
    pthread_mutex_lock(&lock);
    while (live + batch->bytes > live_most) pthread_cond_wait(&room, &lock);
    live += batch->bytes;
    if (live > live_peak) live_peak = live;
    made_bytes += batch->bytes;
    int done = made_bytes > (uint64_t)live_most * 12;
    if (tail) tail->next = batch;
    else head = batch;
    tail = batch;
    pthread_cond_signal(&filled);
    if (done) {
      running--;
      pthread_mutex_unlock(&lock);
      return NULL;
    }
    pthread_mutex_unlock(&lock);
  }
}

int main(int argc, char **argv) {
  check_live();
  if (argc > 1) producers = atoi(argv[1]);
  if (argc > 2) live_most = (size_t)atoi(argv[2]) << 20;
  size_t base = status_bytes("VmRSS:");
  pthread_t threads[64];
  running = producers;
  for (uintptr_t i = 0; i < (uintptr_t)producers; i++) CHECK(pthread_create(&threads[i], NULL, produce, (void *)(i + 1)) == 0);
  /* The consumer: takes the oldest batch once the live set is nearly full, and never allocates. */
  for (;;) {
    pthread_mutex_lock(&lock);
    while (running && (!head || live < live_most - (2u << 20))) {
      if (head && live + (1u << 20) > live_most) break;
      pthread_cond_wait(&filled, &lock);
    }
    struct batch *batch = head;
    if (batch && !(head = batch->next)) tail = NULL;
    pthread_mutex_unlock(&lock);
    if (!batch) break;
    size_t bytes = batch->bytes;
    for (int i = 0; i < BATCH; i++) free(batch->blocks[i]);
    free(batch);
    pthread_mutex_lock(&lock);
    live -= bytes;
    pthread_cond_broadcast(&room);
    pthread_mutex_unlock(&lock);
  }
  for (int i = 0; i < producers; i++) pthread_join(threads[i], NULL);
  size_t peak = status_bytes("VmHWM:") - base;
  printf("live at most %zu MiB, resident at most %zu MiB: %.2f\n", live_peak >> 20, peak >> 20, (double)peak / (double)live_peak);
  /* In flight: what a producer holds while it waits, and the batch that is being freed. */
  size_t flight = (size_t)(producers + 1) * (live_peak / (live_most / (BATCH * 1100)));
  CHECK((double)peak <= 1.30 * (double)(live_peak + flight));
  puts("ok");
}
