/* Stress of the C library: a scenario by name and how often it is repeated. Prints what was done, as "N words, N words", then "ok". */
#include "workload.h"
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#pragma weak tessalloc_heap_new
#pragma weak tessalloc_heap_malloc
#pragma weak tessalloc_heap_destroy

static unsigned long repeats;

static pthread_t start_with_stack(size_t stack_bytes, void *(*run)(void *), void *argument) {
  pthread_attr_t attributes;
  pthread_t thread;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, stack_bytes) == 0);
  CHECK(pthread_create(&thread, &attributes, run, argument) == 0);
  pthread_attr_destroy(&attributes);
  return thread;
}

/* --- hand-over: 256 threads at once; half of what each allocates is freed by another --- */
enum { MANY = 256 };
static pthread_barrier_t all_there;
static void *hand_over_thread(void *argument) {
  pthread_barrier_wait(&all_there);
  work((uintptr_t)argument, 400);
  return NULL;
}
static void hand_over(void) {
  static pthread_t threads[MANY];
  pthread_barrier_init(&all_there, NULL, MANY);
  for (unsigned long round = 0; round < repeats; round++) {
    for (uintptr_t i = 0; i < MANY; i++) threads[i] = start_with_stack(128 << 10, hand_over_thread, (void *)(round * MANY + i));
    for (int i = 0; i < MANY; i++) pthread_join(threads[i], NULL);
  }
  empty_shared();
  printf("%d threads at once, %lu allocations and more", MANY, repeats * MANY * 400);
}

/* --- churn: threads come and go all the time, each with a few blocks, some of which outlive it --- */
static void *churn_thread(void *argument) {
  uint64_t state = (uintptr_t)argument * 77 + 1;
  void *blocks[20];
  for (int i = 0; i < 20; i++) CHECK(memset(blocks[i] = malloc(random_size(&state) + 1), i, 1));
  for (int i = 0; i < 10; i++) give(&state);
  for (int i = 0; i < 20; i++) free(blocks[i]);
  return NULL;
}
struct starter {
  uintptr_t seed;
  unsigned long threads;
};
static void *start_and_join(void *argument) {
  struct starter *starter = argument;
  for (unsigned long i = 0; i < starter->threads; i += 4) {
    pthread_t four[4];
    for (int j = 0; j < 4; j++)
      four[j] = start_with_stack(64 << 10, churn_thread, (void *)(starter->seed + i + (unsigned long)j));
    for (int j = 0; j < 4; j++) pthread_join(four[j], NULL);
  }
  return NULL;
}
static void churn(void) {
  enum { STARTERS = 4 };
  pthread_t threads[STARTERS];
  struct starter starters[STARTERS];
  for (int i = 0; i < STARTERS; i++) {
    starters[i] = (struct starter){(uintptr_t)i << 32, repeats};
    CHECK(pthread_create(&threads[i], NULL, start_and_join, &starters[i]) == 0);
  }
  for (int i = 0; i < STARTERS; i++) pthread_join(threads[i], NULL);
  empty_shared();
  tessalloc_stats_t stats = {.struct_bytes = sizeof stats};
  tessalloc_stats(&stats);
  CHECK(stats.threads_total >= STARTERS * repeats && stats.threads <= 3);
  printf("%lu threads that came and went", STARTERS * repeats);
}

/* --- forks: several threads fork at once, beside others at work; each child works, purges, starts threads and forks again --- */
static volatile int is_over;
static void *keep_working(void *argument) {
  for (uint64_t i = 0; !is_over; i++) work((uintptr_t)argument * 1000 + i, 200);
  return NULL;
}
static unsigned long children;
enum { GENERATIONS = 3 };
static void child_life(void) {
  for (int generation = 1;; generation++) {
    alarm(60);
    void *block = malloc(3000000);
    CHECK(block);
    memset(block, 1, 100);
    free(block);
    work(7, 500);
    for (int i = 0; i < SHARED; i += 5) free(__atomic_exchange_n((void **)&shared_slots[i], NULL, __ATOMIC_ACQ_REL));
    tessalloc_purge();
    run_threads(2, 200, 3);
    pid_t pid = generation < GENERATIONS ? fork() : -1;
    if (pid == 0) continue;
    int status = 0;
    CHECK(pid == -1 || (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0));
    _exit(0);
  }
}
static void *fork_and_wait(void *argument) {
  uint64_t state = (uintptr_t)argument + 5;
  for (unsigned long i = 0; i < repeats; i++) {
    void *block = malloc(random_size(&state) + 1);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      free(block);
      child_life();
    }
    free(block);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fprintf(stderr, "a child ended with status %#x\n", status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    __atomic_add_fetch(&children, GENERATIONS, __ATOMIC_RELAXED);
  }
  return NULL;
}
static void forks(void) {
  enum { WORKERS = 3, FORKERS = 3 };
  pthread_t workers[WORKERS], forkers[FORKERS];
  for (uintptr_t i = 0; i < WORKERS; i++) CHECK(pthread_create(&workers[i], NULL, keep_working, (void *)i) == 0);
  for (uintptr_t i = 0; i < FORKERS; i++) CHECK(pthread_create(&forkers[i], NULL, fork_and_wait, (void *)i) == 0);
  for (int i = 0; i < FORKERS; i++) pthread_join(forkers[i], NULL);
  is_over = 1;
  for (int i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
  empty_shared();
  work(1, 2000);
  printf("%lu children of %d threads, in three generations", children, FORKERS);
}

/* --- signals: handlers interrupt the allocator wherever it is; they call what docs/c-api.md allows --- */
static unsigned long signals_seen;
static void *a_block_of_main;
static void on_signal(int number) {
  (void)number;
  int before = errno;
  tessalloc_stats_t stats = {.struct_bytes = sizeof stats};
  tessalloc_stats(&stats);
  CHECK(stats.committed_bytes <= stats.committed_peak_bytes);
  CHECK(tessalloc_is_ours(a_block_of_main) == 1 && tessalloc_is_ours(&stats) == 0);
  CHECK(tessalloc_good_size(100) >= 100 && tessalloc_version() != NULL);
  __atomic_add_fetch(&signals_seen, 1, __ATOMIC_RELAXED);
  errno = before;
}
static void *signal_others(void *argument) {
  pthread_t *threads = argument;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  for (unsigned long i = 0; !is_over; i++) {
    for (int j = 0; j < 3; j++) pthread_kill(threads[j], SIGUSR1);
    usleep(100);
  }
  return NULL;
}
static volatile int is_work_done;
static void *work_until_told(void *argument) {
  /* Joined later than it is signalled: it stays. */
  for (unsigned long i = 0; i < repeats; i++) {
    work((uintptr_t)argument * 1000 + i, 300);
    if (i % 5 == 0) tessalloc_purge();
  }
  __atomic_add_fetch(&is_work_done, 1, __ATOMIC_RELEASE);
  while (!is_over) usleep(1000);
  return NULL;
}
static void signals(void) {
  a_block_of_main = malloc(100);
  struct sigaction action = {.sa_handler = on_signal};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);
  pthread_t threads[3], sender;
  for (uintptr_t i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, work_until_told, (void *)i) == 0);
  CHECK(pthread_create(&sender, NULL, signal_others, threads) == 0);
  struct itimerval every = {{0, 200}, {0, 200}};
  CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
  for (unsigned long i = 0; __atomic_load_n(&is_work_done, __ATOMIC_ACQUIRE) < 3; i++) work(i, 300);
  struct itimerval never = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  is_over = 1;
  pthread_join(sender, NULL);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  free(a_block_of_main);
  empty_shared();
  CHECK(signals_seen >= 100);
  printf("%lu signals into 4 threads", signals_seen);
}

/* --- stacks: calls of every kind at the end of a thread's stack; threads with the least stack; one that overflows and goes on --- */
/* What a call may take: 4 KiB for the slow paths of the library, and room for the C library around them. */
enum { LEFT = 8 << 10 };
static void *every_call(void) {
  void *block = malloc(40);
  CHECK(block);
  CHECK((block = realloc(block, 70000)));
  CHECK((block = realloc(block, 2000)));
  free(block);
  CHECK((block = calloc(1, 3000000)));
  free(block);
  CHECK((block = aligned_alloc(4096, 5000)));
  free(block);
  for (int i = 0; i < 64; i++) free(malloc((size_t)i * 900));
  tessalloc_heap_t *heap = tessalloc_heap_new();
  CHECK(heap && tessalloc_heap_malloc(heap, 500) && tessalloc_heap_malloc(heap, 100000));
  tessalloc_heap_destroy(heap);
  tessalloc_purge();
  return malloc(100);
}
static char *stack_end;
static __attribute__((noinline)) void *deep(volatile char *above) {
  volatile char here[512];
  here[0] = above[0];
  if ((char *)here - stack_end < LEFT) return every_call();
  void *block = deep(here);
  here[1] = 0;
  return block;
}
static void *at_the_end(void *argument) {
  (void)argument;
  pthread_attr_t attributes;
  void *low;
  size_t bytes, guard;
  CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0 && pthread_attr_getstack(&attributes, &low, &bytes) == 0);
  CHECK(pthread_attr_getguardsize(&attributes, &guard) == 0);
  pthread_attr_destroy(&attributes);
  stack_end = low;
  volatile char start[1] = {0};
  return deep(start);
}
static void *small_stack(void *argument) {
  (void)argument;
  void *block = malloc(1000);
  CHECK(block);
  free(block);
  return malloc(200000);
}
/* The overflow is the program's own, outside of the allocator: the handler leaves by a jump, and the thread goes on. */
static _Thread_local sigjmp_buf before_overflow;
static void on_overflow(int number) {
  (void)number;
  siglongjmp(before_overflow, 1);
}
static volatile int is_deep_enough;
static __attribute__((noinline)) int overflow(volatile char *above) {
  volatile char here[1024];
  here[0] = above[0];
  return is_deep_enough ? 0 : overflow(here) + here[0];
}
static void *overflows(void *argument) {
  (void)argument;
  stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
  CHECK(other.ss_sp && sigaltstack(&other, NULL) == 0);
  void *before = malloc(300);
  CHECK(before);
  memset(before, 5, 300);
  volatile char start[1] = {0};
  if (sigsetjmp(before_overflow, 1) == 0) overflow(start);
  CHECK(((char *)before)[299] == 5);
  free(before);
  work(3, 300);
  stack_t none = {.ss_flags = SS_DISABLE};
  CHECK(sigaltstack(&none, NULL) == 0);
  free(other.ss_sp);
  return malloc(10);
}
static void stacks(void) {
  struct sigaction action = {.sa_handler = on_overflow, .sa_flags = SA_ONSTACK};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  for (unsigned long i = 0; i < repeats; i++) {
    void *block;
    pthread_join(start_with_stack(64 << 10, at_the_end, NULL), &block);
    CHECK(block && tessalloc_is_ours(block));
    free(block);
    pthread_join(start_with_stack((size_t)PTHREAD_STACK_MIN, small_stack, NULL), &block);
    CHECK(block && tessalloc_is_ours(block));
    free(block);
    pthread_join(start_with_stack(64 << 10, overflows, NULL), &block);
    CHECK(block && tessalloc_is_ours(block));
    free(block);
  }
  printf("%lu threads at the end of their stacks", 3 * repeats);
}

/* --- cancel: threads are cancelled while they allocate, at points of their own; what they hold their cleanup frees --- */
static void clean(void *block) { free(*(void *volatile *)block); }
static unsigned long turns;
static void *cancelled(void *argument) {
  uint64_t state = (uintptr_t)argument + 9;
  void *volatile block = NULL;
  pthread_cleanup_push(clean, (void *)&block);
  for (;;) {
    block = realloc(block, random_size(&state) + 1);
    CHECK(block);
    *(char *)(void *)block = 1;
    give(&state);
    if (next_random(&state) % 16 == 0) tessalloc_purge();
    __atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
    if (next_random(&state) % 4 == 0) pthread_testcancel();
  }
  pthread_cleanup_pop(1);
  return NULL;
}
static void cancel(void) {
  enum { AT_ONCE = 8 };
  tessalloc_stats_t stats = {.struct_bytes = sizeof stats};
  for (unsigned long round = 0; round < repeats; round++) {
    pthread_t threads[AT_ONCE];
    for (uintptr_t i = 0; i < AT_ONCE; i++)
      threads[i] = start_with_stack(64 << 10, cancelled, (void *)(round * AT_ONCE + i));
    usleep((useconds_t)(round % 5) * 300);
    for (int i = 0; i < AT_ONCE; i++) CHECK(pthread_cancel(threads[i]) == 0);
    for (int i = 0; i < AT_ONCE; i++) {
      void *result;
      CHECK(pthread_join(threads[i], &result) == 0 && result == PTHREAD_CANCELED);
    }
  }
  empty_shared();
  tessalloc_stats(&stats);
  CHECK(stats.threads <= 3);
  printf("%lu threads cancelled in %lu turns", repeats * AT_ONCE, turns);
}

/* --- exit: the process ends, in one of four ways, while its threads allocate, end heaps, purge, and begin and end --- */
static void *busy(void *argument) {
  for (uint64_t i = 0;; i++) {
    work((uintptr_t)argument * 1000 + i, 50);
    tessalloc_heap_t *heap = tessalloc_heap_new();
    CHECK(heap && tessalloc_heap_malloc(heap, 100));
    tessalloc_heap_destroy(heap);
    if (i % 8 == 0) tessalloc_purge();
  }
  return NULL;
}
static void *begin_and_end(void *argument) {
  for (uintptr_t i = 0;; i++) pthread_join(start_with_stack(64 << 10, churn_thread, (void *)((uintptr_t)argument + i)), NULL);
  return NULL;
}
static void *kept_to_the_end;
static void at_the_exit(void) {
  free(kept_to_the_end);
  void *block = malloc(5000);
  CHECK(block);
  free(block);
}
static void *exit_from_here(void *argument) {
  (void)argument;
  exit(0);
}
static void exits(void) {
  for (unsigned long i = 0; i < repeats; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      alarm(30);
      fclose(stdout);
      kept_to_the_end = malloc(100);
      CHECK(atexit(at_the_exit) == 0 && at_quick_exit(at_the_exit) == 0);
      for (uintptr_t j = 0; j < 3; j++) start_with_stack(128 << 10, busy, (void *)j);
      start_with_stack(64 << 10, begin_and_end, NULL);
      usleep((useconds_t)(i % 7) * 700);
      switch (i % 4) {
      case 0: exit(0);
      case 1: quick_exit(0);
      case 2: _exit(0);
      default: pthread_join(start_with_stack(64 << 10, exit_from_here, NULL), NULL);
      }
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fprintf(stderr, "exit %lu: status %#x\n", i, status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  printf("%lu processes ended while 5 threads allocated", repeats);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
  } scenarios[] = {{"hand-over", hand_over}, {"churn", churn},   {"forks", forks}, {"signals", signals},
                   {"stacks", stacks},       {"cancel", cancel}, {"exit", exits}};
  CHECK(argc == 3);
  check_live();
  repeats = strtoul(argv[2], NULL, 10);
  for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
    if (strcmp(argv[1], scenarios[i].name) == 0) {
      scenarios[i].run();
      puts("\nok");
      return 0;
    }
  fprintf(stderr, "no scenario %s\n", argv[1]);
  return 1;
}
