/* Several copies of tessalloc in one process: cdylibs with a copy each, loaded and unloaded in different orders, each at work
 * on eight threads, blocks freed by other threads of the same copy. Arguments: the copies. */
#include <dlfcn.h>
#include "check.h"

enum { COPIES_MAX = 8, THREADS = 8 };
typedef int (*work_function)(uint64_t seed);
static pthread_barrier_t start;
struct task {
  work_function work;
  uint64_t seed;
};

static void *run(void *argument) {
  struct task *task = argument;
  pthread_barrier_wait(&start);
  CHECK(task->work(task->seed) == 0);
  return NULL;
}

int main(int argc, char **argv) {
  check_live();
  int copies = argc - 1;
  CHECK(copies >= 2 && copies <= COPIES_MAX);
  for (int round = 0; round < 12; round++) {
    void *handles[COPIES_MAX];
    static struct task tasks[COPIES_MAX][THREADS];
    pthread_t threads[COPIES_MAX][THREADS];
    pthread_barrier_init(&start, NULL, (unsigned)(copies * THREADS));
    for (int i = 0; i < copies; i++) {
      /* Every round loads in another order. */
      int which = (i * (round % 2 ? 1 : copies - 1) + round) % copies;
      handles[i] = dlopen(argv[1 + which], RTLD_NOW | (round % 3 ? RTLD_LOCAL : RTLD_GLOBAL));
      if (!handles[i]) fprintf(stderr, "%s\n", dlerror());
      CHECK(handles[i]);
      work_function work = (work_function)dlsym(handles[i], "copy_work");
      CHECK(work);
      CHECK(work(1) == 0);
      for (int j = 0; j < THREADS; j++) tasks[i][j] = (struct task){work, (uint64_t)(round * 1000 + i * 100 + j + 1)};
    }
    for (int i = 0; i < copies; i++)
      for (int j = 0; j < THREADS; j++) CHECK(pthread_create(&threads[i][j], NULL, run, &tasks[i][j]) == 0);
    for (int i = 0; i < copies; i++)
      for (int j = 0; j < THREADS; j++) pthread_join(threads[i][j], NULL);
    pthread_barrier_destroy(&start);
    for (int i = 0; i < copies; i++) dlclose(handles[round % 2 ? i : copies - 1 - i]);
    check_live();
  }
  puts("ok");
}
