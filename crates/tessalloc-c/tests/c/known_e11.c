/* Copies of tessalloc in libraries that are loaded and unloaded many times, while threads that allocated in them live on, end
 * later, and free each other's blocks. Arguments: rounds, then the libraries; the first five are loaded in unusual ways. */
#include "check.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/syscall.h>

enum { UNUSUAL = 5, COPIES_MAX = 64, ALIVE = 24 };

struct copy {
  int (*work)(uint64_t seed);
  void *(*keep)(size_t bytes);
  int (*release)(void *block, size_t bytes);
};

/* A thread that allocates in a copy, and ends when it is told to. */
struct lingering {
  struct copy copy;
  void *mine;
  pthread_t thread;
  pthread_barrier_t has_allocated, may_end;
};

static void *linger(void *argument) {
  struct lingering *self = argument;
  self->mine = self->copy.keep(5000);
  pthread_barrier_wait(&self->has_allocated);
  pthread_barrier_wait(&self->may_end);
  CHECK(self->copy.release(self->copy.keep(300), 300) == 0);
  return NULL; /* Here its thread locals in the image are dropped, then its part of the allocator ends. */
}

static void start(struct lingering *self, struct copy copy) {
  self->copy = copy;
  pthread_barrier_init(&self->has_allocated, NULL, 2);
  pthread_barrier_init(&self->may_end, NULL, 2);
  CHECK(pthread_create(&self->thread, NULL, linger, self) == 0);
  pthread_barrier_wait(&self->has_allocated);
}

static void end(struct lingering *self) {
  CHECK(self->copy.release(self->mine, 5000) == 0);
  pthread_barrier_wait(&self->may_end);
  pthread_join(self->thread, NULL);
  pthread_barrier_destroy(&self->has_allocated);
  pthread_barrier_destroy(&self->may_end);
}

static struct copy functions(void *handle) {
  if (!handle) fprintf(stderr, "%s\n", dlerror());
  CHECK(handle);
  struct copy copy = {(int (*)(uint64_t))dlsym(handle, "copy_work"), (void *(*)(size_t))dlsym(handle, "copy_keep"),
                      (int (*)(void *, size_t))dlsym(handle, "copy_release")};
  CHECK(copy.work && copy.keep && copy.release);
  return copy;
}

/* The library is unloaded while one of its threads is alive, and has to stay. */
static void outlived(void *handle) {
  struct copy copy = functions(handle);
  static struct lingering thread;
  start(&thread, copy);
  CHECK(dlclose(handle) == 0);
  Dl_info found;
  CHECK(dladdr((void *)copy.work, &found) != 0);
  CHECK(copy.work(1) == 0);
  end(&thread);
}

static void unusual_ways(char **paths) {
  char path[4096];
  char *folder = dirname(strcpy(path, paths[0])), *name = basename(paths[0]);
  char link[4200], file[64];
  /* Nothing of a library that never allocated stays. */
  void *handle = dlopen(paths[0], RTLD_NOW | RTLD_LOCAL);
  functions(handle);
  CHECK(dlclose(handle) == 0);
  CHECK(dlopen(paths[0], RTLD_NOW | RTLD_NOLOAD) == NULL);
  /* By a path that no longer leads there. */
  CHECK(chdir(folder) == 0);
  snprintf(link, sizeof link, "./%s", name);
  handle = dlopen(link, RTLD_NOW | RTLD_LOCAL);
  CHECK(chdir("/") == 0);
  outlived(handle);
  /* By a link that is gone. */
  snprintf(link, sizeof link, "%s.link", paths[1]);
  unlink(link);
  CHECK(symlink(paths[1], link) == 0);
  handle = dlopen(link, RTLD_NOW | RTLD_LOCAL);
  unlink(link);
  outlived(handle);
  /* Out of a file that is gone, and another in its place. */
  handle = dlopen(paths[2], RTLD_NOW | RTLD_GLOBAL);
  CHECK(unlink(paths[2]) == 0 && rename(paths[3], paths[2]) == 0);
  outlived(handle);
  /* Out of no file at all. */
  int memory = (int)syscall(SYS_memfd_create, "library", 0), from = open(paths[4], O_RDONLY);
  CHECK(memory >= 0 && from >= 0);
  for (ssize_t bytes; (bytes = read(from, path, sizeof path)) != 0;) CHECK(bytes > 0 && write(memory, path, (size_t)bytes) == bytes);
  snprintf(file, sizeof file, "/proc/self/fd/%d", memory);
  handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  close(from);
  close(memory);
  outlived(handle);
}

static size_t peak_kib(size_t *peak) {
  size_t now = status_bytes("VmRSS:") >> 10;
  return *peak = now > *peak ? now : *peak;
}

int main(int argc, char **argv) {
  CHECK(argc > 2 + UNUSUAL && argc <= 2 + UNUSUAL + COPIES_MAX);
  unusual_ways(argv + 2);
  int rounds = atoi(argv[1]), copies = argc - 2 - UNUSUAL;
  char **paths = argv + 2 + UNUSUAL;
  /* All at once first: their thread locals would not fit into what the C library keeps for such libraries. */
  void *handles[COPIES_MAX];
  for (int i = 0; i < copies; i++) CHECK(functions(handles[i] = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL)).work(1) == 0);
  for (int i = 0; i < copies; i++) CHECK(dlclose(handles[i]) == 0);

  static struct lingering alive[ALIVE];
  size_t early = 0, late = 0, mappings = 0;
  for (int round = 0; round < rounds; round++) {
    struct lingering *oldest = &alive[round % ALIVE];
    if (round >= ALIVE) end(oldest);
    void *handle = dlopen(paths[round % copies], RTLD_NOW | (round % 3 ? RTLD_LOCAL : RTLD_GLOBAL));
    struct copy copy = functions(handle);
    start(oldest, copy);
    if (round % 16 == 0) CHECK(copy.work((uint64_t)round) == 0);
    CHECK(dlclose(handle) == 0);
    if (round % 16 == 8) (void)peak_kib(round < rounds / 2 ? &early : &late);
    if (round == rounds / 2) mappings = count_mappings();
  }
  /* The others are there when the process ends. */
  for (int i = 0; i < ALIVE / 2; i++) end(&alive[(rounds + i) % ALIVE]);
  /* A library that leaked a slice of 64 KiB in each round would hold 160 MiB more in the second half of 5,000. */
  printf("RSS at most %zu KiB in the first half, %zu in the second; mappings %zu, then %zu\n", early, late, mappings, count_mappings());
  CHECK(late < early + (16 << 10));
  CHECK(count_mappings() < mappings + 64);
  puts("ok");
}
