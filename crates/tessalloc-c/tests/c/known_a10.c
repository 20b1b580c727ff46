/* Threads that free each other's blocks while others load and unload libraries. Arguments: the libraries. */
#include <dlfcn.h>
#include "workload.h"

static char **libraries;
static volatile int stop;

static void *load_and_unload(void *argument) {
  (void)argument;
  for (int i = 0; !stop || i < 20; i++) {
    for (char **name = libraries; *name; name++) {
      void *handle = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
      if (!handle) fprintf(stderr, "%s\n", dlerror());
      CHECK(handle);
      dlclose(handle);
      free(strdup(*name));
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  (void)argc;
  check_live();
  libraries = argv + 1;
  CHECK(*libraries);
  pthread_t loaders[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&loaders[i], NULL, load_and_unload, NULL) == 0);
  for (int round = 0; round < 5; round++) run_threads(6, 8000, 7000u + (unsigned)round * 100);
  stop = 1;
  for (int i = 0; i < 2; i++) pthread_join(loaders[i], NULL);
  empty_shared();
  puts("ok");
}
