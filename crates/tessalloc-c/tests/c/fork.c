/* fork from a program whose threads are at work: the child allocates, frees what any thread of the parent made, starts
 * threads, and ends; its children do too. */
#include <sys/wait.h>
#include "workload.h"

static volatile int stop;
static void *keep_working(void *argument) {
  for (uint64_t i = 0; !stop; i++) work((uintptr_t)argument * 1000 + i, 300);
  return NULL;
}

static void child(int depth) {
  void *block = malloc(1000);
  CHECK(block);
  free(block);
  work(5, 2000);
  for (int i = 0; i < SHARED; i += 3) free(__atomic_exchange_n((void **)&shared_slots[i], NULL, __ATOMIC_ACQ_REL));
  run_threads(3, 500, 42);
  if (depth < 2) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) child(depth + 1);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  tessalloc_purge();
  exit(0);
}

int main(void) {
  check_live();
  pthread_t threads[8];
  for (uintptr_t i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, keep_working, (void *)i) == 0);
  for (int i = 0; i < 40; i++) {
    usleep((useconds_t)(i % 7) * 500);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      alarm(60);
      child(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fprintf(stderr, "child %d: status %#x\n", i, status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = 1;
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  empty_shared();
  work(1, 5000);
  puts("ok");
}
