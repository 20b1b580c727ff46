/* tessalloc: a memory allocator. MIT licence.
 *
 * Three ways to use it:
 *   preload   LD_PRELOAD=/path/to/libtessalloc.so program      nothing is compiled anew
 *   shared    cc program.c -ltessalloc                         before other libraries that bring a malloc
 *   static    cc -static program.c libtessalloc.a              also -static-pie, or the archive in a dynamic program
 * In all three the program's malloc, calloc, realloc, free, aligned_alloc, posix_memalign, operator new, … are tessalloc's.
 * Nothing of this header is needed for that: it declares what goes beyond the standards.
 *
 * All functions may be called from any thread, and before main. None takes a lock of the caller's. Those that give memory
 * return null and set errno to ENOMEM when there is none.
 */
#ifndef TESSALLOC_H
#define TESSALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Statistics of this copy of tessalloc: the whole process, all threads. They are read without stopping anybody. */
typedef struct tessalloc_stats_s {
  uint32_t version;              /* written: 1 */
  uint32_t struct_bytes;         /* set it to sizeof(tessalloc_stats_t) before the call; written: the bytes filled */
  uint64_t reserved_bytes;       /* address space set aside; costs no memory */
  uint64_t committed_bytes;      /* what may be in memory now */
  uint64_t committed_peak_bytes; /* the most that committed_bytes has been */
  uint64_t allocated_bytes;      /* in blocks handed out, including those that threads keep ready */
  uint64_t retained_bytes;       /* committed_bytes - allocated_bytes: freed and held */
  uint64_t metadata_bytes;       /* tessalloc's own tables */
  uint64_t purged_bytes;         /* given back to the system since the start */
  uint64_t threads;              /* threads that have allocated and still run */
  uint64_t threads_total;        /* threads that have ever allocated */
  uint64_t pages;                /* runs of equal small blocks */
  uint64_t large_blocks;         /* blocks that have a run of their own */
  uint64_t os_calls;             /* system calls for memory since the start */
  uint64_t purge_calls;          /* those of them that gave memory back */
  uint64_t malloc_slow_count;    /* allocations that did not take the fast path */
  uint64_t remote_batches;       /* batches of blocks freed by a thread that does not own their page */
} tessalloc_stats_t;

/* The version as text, "1.2.3". Never null. */
const char *tessalloc_version(void);

/* Fills *out; out->struct_bytes says how much of it there is:
 *   tessalloc_stats_t stats;
 *   stats.struct_bytes = sizeof stats;
 *   tessalloc_stats(&stats);
 */
void tessalloc_stats(tessalloc_stats_t *out);

/* Gives the unused memory of all threads back to the system, at once; returns the bytes. May take milliseconds. */
size_t tessalloc_purge(void);

/* 1 if the address lies in memory that tessalloc manages, whether in use or not; else 0. */
int tessalloc_is_ours(const void *address);

/* The usable size that a block of `size` bytes would have: a growing buffer that asks for this wastes nothing. */
size_t tessalloc_good_size(size_t size);

/* malloc, calloc, realloc, aligned_alloc, free and malloc_usable_size under names that nothing else defines: for a program
 * that keeps another malloc. Blocks may go from one set of names to the other if both are tessalloc's. */
void *tessalloc_malloc(size_t size);
void *tessalloc_calloc(size_t count, size_t size);
void *tessalloc_realloc(void *block, size_t size);           /* (block, 0) frees and returns null */
void *tessalloc_aligned_alloc(size_t align, size_t size);    /* align: a power of two, else null and EINVAL */
void tessalloc_free(void *block);                            /* null is fine; keeps errno */
size_t tessalloc_usable_size(const void *block);             /* 0 for null */

/* What another copy of tessalloc in the process (a Node add-on, a plug-in) needs to speak to this one. It is found by
 *   dlsym(RTLD_DEFAULT, "tessalloc_table_v1")
 * Later versions only append fields: check `bytes` before using one that is not here. */
typedef struct tessalloc_table_s {
  uint32_t version; /* 1 */
  uint32_t bytes;   /* of this table */
  const char *(*version_text)(void);
  void (*stats)(tessalloc_stats_t *out);
  size_t (*purge)(void);
  void *(*malloc)(size_t size);
  void (*free)(void *block);
  size_t (*usable_size)(const void *block);
  int (*is_ours)(const void *address);
} tessalloc_table_t;

const tessalloc_table_t *tessalloc_table_v1(void);

#ifdef __cplusplus
}
#endif
#endif
