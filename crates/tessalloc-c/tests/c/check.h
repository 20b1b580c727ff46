/* What every test program uses. A check that fails names itself and ends the program. */
#ifndef CHECK_H
#define CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tessalloc.h"
#ifndef __GLIBC__
#include "glibc_names.h"
#endif

#define CHECK(fact)                                                                         \
  do {                                                                                      \
    if (!(fact)) {                                                                          \
      fflush(stdout);                                                                       \
      fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #fact, errno);  \
      _exit(1);                                                                             \
    }                                                                                       \
  } while (0)

/* Under preload the program isn't linked with the library, so its names may be missing for the linker. */
#pragma weak tessalloc_is_ours
#pragma weak tessalloc_stats
#pragma weak tessalloc_purge
#pragma weak tessalloc_version
#pragma weak tessalloc_table_v1
#pragma weak tessalloc_good_size
#pragma weak tessalloc_malloc
#pragma weak tessalloc_calloc
#pragma weak tessalloc_realloc
#pragma weak tessalloc_aligned_alloc
#pragma weak tessalloc_free
#pragma weak tessalloc_usable_size

/* The program runs on tessalloc, not on something that happens to pass the same checks. */
static inline void check_live(void) {
  CHECK(tessalloc_is_ours != NULL);
  void *block = malloc(100);
  CHECK(block != NULL && tessalloc_is_ours(block) == 1);
  free(block);
}

/* Resident memory in bytes: "VmRSS:" now, "VmHWM:" at most so far. */
static inline size_t status_bytes(const char *row) {
  static char text[8192];
  FILE *file = fopen("/proc/self/status", "r");
  CHECK(file != NULL);
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  char *at = strstr(text, row);
  CHECK(at != NULL);
  return strtoull(at + strlen(row), NULL, 10) * 1024;
}

static inline size_t count_mappings(void) {
  FILE *file = fopen("/proc/self/maps", "r");
  CHECK(file != NULL);
  size_t lines = 0;
  for (int c; (c = fgetc(file)) != EOF;) lines += c == '\n';
  fclose(file);
  return lines;
}

/* A small random generator with its state by the caller. */
static inline uint64_t next_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

#endif
