/* Frees a pointer that is not the allocator's: `kind` says which. */
#include <sys/mman.h>
#include "check.h"

static char global[4096];

int main(int argc, char **argv) {
  check_live();
  CHECK(argc == 2);
  char local[256];
  char *mapped = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void *kept = malloc(100);
  void *pointer = NULL;
  if (!strcmp(argv[1], "stack")) pointer = local + 16;
  if (!strcmp(argv[1], "global")) pointer = global + 64;
  if (!strcmp(argv[1], "mapped")) pointer = mapped + 4096;
  if (!strcmp(argv[1], "low")) pointer = (void *)16;
  if (!strcmp(argv[1], "high")) pointer = (void *)(UINTPTR_MAX - 4095);
  if (!strcmp(argv[1], "code")) pointer = (void *)&main;
  if (!strcmp(argv[1], "unused")) pointer = (char *)kept + ((size_t)16 << 30); /* of the region, never handed out */
  if (!strcmp(argv[1], "realloc")) pointer = realloc(global + 64, 10);
  if (!strcmp(argv[1], "large twice")) {
    pointer = malloc(10 << 20);
    free(pointer);
  }
  CHECK(pointer);
  printf("before\n");
  fflush(stdout);
  free(pointer);
  printf("after\n");
}
