/* fork from a program whose threads are at work: the child allocates, frees what any thread of the parent made, starts
 * threads, and ends; its children do too. */
#include <sys/wait.h>
#include "workload.h"

static volatile int stop;
static void *keep_working(void *argument) {
  for (uint64_t i = 0; !stop; i++) work((uintptr_t)argument * 1000 + i, 300);
  return NULL;
}

static void child(void) {
  void *block = malloc(1000);
  CHECK(block);
  free(block);
  work(5, 2000);
  for (int i = 0; i < SHARED; i += 3) free(__atomic_exchange_n((void **)&shared_slots[i], NULL, __ATOMIC_ACQ_REL));
  run_threads(3, 500, 42);
  tessalloc_purge();
}

/* Three generations; none returns. */
static void family(void) {
  alarm(60);
  for (int generation = 0; generation < 3; generation++) {
    child();
    pid_t pid = generation < 2 ? fork() : -1;
    if (pid == 0) continue;
    int status = 0;
    CHECK(pid == -1 || waitpid(pid, &status, 0) == pid);
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
  }
}

int main(void) {
  check_live();
  pthread_t threads[8];
  for (uintptr_t i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, keep_working, (void *)i) == 0);
  for (int i = 0; i < 40; i++) {
    usleep((useconds_t)(i % 7) * 500);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) family();
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
