/* Bugs, one by its name: what a tool that watches programs has to find in blocks of the library. */
#include "check.h"

int main(int argc, char **argv) {
    const char *bug = argc > 1 ? argv[1] : "nothing";
    volatile char *block = malloc(100);
    CHECK(block != NULL);
    if (strcmp(bug, "use-of-uninitialised-memory") == 0 && block[50] == 77) puts("by chance");
    block[0] = 1;
    free((void *)block);
    if (strcmp(bug, "use-after-free") == 0) block[50] = 1;
    tessalloc_heap_t *heap = tessalloc_heap_new();
    CHECK(heap != NULL);
    volatile char *of_heap = tessalloc_heap_malloc(heap, 200);
    CHECK(of_heap != NULL);
    tessalloc_heap_destroy(heap);
    if (strcmp(bug, "use-after-destroy") == 0) of_heap[100] = 1;
    puts("ok");
    return 0;
}
