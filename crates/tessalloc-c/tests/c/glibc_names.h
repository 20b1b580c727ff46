/* What glibc declares in malloc.h and musl does not. The library has the functions under any C library. */
#ifndef GLIBC_NAMES_H
#define GLIBC_NAMES_H
#include <stddef.h>
#include <stdio.h>

enum { M_MXFAST = 1, M_TRIM_THRESHOLD = -1, M_MMAP_THRESHOLD = -3, M_ARENA_MAX = -8 };

struct mallinfo {
  int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct mallinfo2 {
  size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mallinfo mallinfo(void);
struct mallinfo2 mallinfo2(void);
int mallopt(int parameter, int value);
int malloc_info(int options, FILE *file);
int malloc_trim(size_t pad);
void malloc_stats(void);
void *pvalloc(size_t size);

#endif
