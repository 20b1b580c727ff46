/* A program that finds tessalloc in an installed tree. */
#include <stdio.h>
#include <stdlib.h>
#include <tessalloc.h>

int main(void) {
  void *volatile block = malloc(10);
  int is_ours = tessalloc_is_ours(block);
  free(block);
  if (!is_ours) return 1;
  puts("ok");
  return 0;
}
