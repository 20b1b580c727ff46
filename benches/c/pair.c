// malloc and free of 64 B, for whatever library is preloaded: `pair <operations> [empty]` prints the ns an operation.
// `empty` calls a function that only returns instead, twice and with the same arguments, so that the loop and the way
// into the library can be taken off.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char block[64];
void nothing(void *ignored);

// Keeps the compiler from knowing what happens to the block.
static inline void use(void *p) {
  __asm__ volatile("" : : "r"(p) : "memory");
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "Cannot run: expected <operations> [empty], received nothing\n");
    return 2;
  }
  const long operations = atol(argv[1]);
  const int empty = argc > 2 && strcmp(argv[2], "empty") == 0;
  // Whatever a library does once, it does here.
  use(malloc(64));
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  if (empty) {
    for (long i = 0; i < operations; i++) {
      nothing((void *)64);
      void *p = block;
      use(p);
      nothing(p);
    }
  } else {
    for (long i = 0; i < operations; i++) {
      void *p = malloc(64);
      use(p);
      free(p);
    }
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double ns = (end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec);
  printf("{\"ops\":%ld,\"ns\":%.4f}\n", operations, ns / operations);
  return 0;
}
