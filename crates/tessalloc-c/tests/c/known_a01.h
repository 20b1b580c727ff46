/* What must work before the allocator has been initialised by anything. `free` first: it must not be the second call. */
#ifndef KNOWN_A01_H
#define KNOWN_A01_H
#include <malloc.h>
#include <stdlib.h>
static volatile int early_failures, early_runs;
static inline __attribute__((always_inline)) void early(int first) {
  if (first == 0) free((void *)0);
  if (malloc_usable_size((void *)0) != 0) early_failures++;
  if (first == 1) free((void *)0);
  char *block = first == 2 ? (char *)malloc(100) : (char *)realloc((void *)0, 100);
  if (!block || malloc_usable_size(block) < 100) early_failures++;
  else {
    for (int i = 0; i < 100; i++) block[i] = (char)i;
    block = (char *)realloc(block, 100000);
    for (int i = 0; i < 100; i++) if (!block || block[i] != (char)i) early_failures++;
  }
  free((void *)0);
  free(block);
  char *zero = (char *)calloc(10, 10);
  for (int i = 0; i < 100; i++) if (!zero || zero[i]) early_failures++;
  free(zero);
  early_runs++;
}
#endif
