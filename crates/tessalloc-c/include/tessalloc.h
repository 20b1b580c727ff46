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
  uint32_t version;              /* written: the library's, 2 with this header; later ones only append fields */
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
  /* Since version 2. */
  uint64_t allocated_peak_bytes;  /* the most that allocated_bytes has been, as threads report it in steps of 256 KiB */
  uint64_t allocated_total_bytes; /* in blocks that ever left their pages; reuse on a thread's own stack does not count */
  uint64_t freed_total_bytes;     /* in blocks that ever came home, by the thread that freed them */
  uint64_t hole_bytes;            /* given back inside pages that are in use */
  uint64_t threads_peak;
  uint64_t pages_peak;
  uint64_t pages_total;
  uint64_t large_blocks_peak;
  uint64_t large_blocks_total;
  uint64_t heaps;                 /* first-class ones: the default heap is not among them */
  uint64_t heaps_peak;
  uint64_t heaps_total;
  uint64_t reclaims;              /* pages without an owner that a thread took over */
  uint64_t regions;               /* reservations of address space for blocks */
  uint64_t chunks;                /* of 4 MiB in them, that were ever used */
  uint64_t reserve_calls;         /* calls of the system: for address space, */
  uint64_t commit_calls;          /* to make it usable, */
  uint64_t release_calls;         /* to give it back, */
  uint64_t remap_calls;           /* to move a large block by the page table, */
  uint64_t renew_calls;           /* to map a range anew, */
  uint64_t advise_calls;          /* with advice on huge pages and nodes */
  uint64_t untouched_bytes;       /* of committed_bytes: in pages of small blocks, not written since the system gave it */
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

/* --- Allocation beyond the malloc family ---
 *
 * Every block of these functions is freed by tessalloc_free, or by free where that is tessalloc's. They return null and set
 * errno to ENOMEM when memory is out or `count * size` overflows, to EINVAL when `align` is no power of two. Unlike
 * tessalloc_realloc none of them frees at size 0: that gives a block of its own. When a realloc form fails, the old block stays.
 */
void *tessalloc_mallocn(size_t count, size_t size);               /* count * size bytes */
void *tessalloc_reallocn(void *block, size_t count, size_t size); /* to count * size bytes */
void *tessalloc_reallocf(void *block, size_t size);               /* frees the block if it fails */
/* *(void **)place becomes the new block. Returns 0, EOVERFLOW or ENOMEM, and keeps errno. Size 0 frees and sets null. */
int tessalloc_reallocarr(void *place, size_t count, size_t size);
/* The block itself if it holds `size` bytes where it lies, or can be made to (large blocks); else null. Never shrinks. */
void *tessalloc_expand(void *block, size_t size);

/* Zeroing. All usable bytes of the block read zero, those beyond the request too (calloc clears only what was asked for). */
void *tessalloc_zalloc(size_t size);
void *tessalloc_zallocn(size_t count, size_t size);
/* The grown part reads zero: all from the old *usable* size on. What lies between the old request and the old usable size is
 * as it was: zero if the block came from the zeroing functions of this section and nothing was written there. */
void *tessalloc_rezalloc(void *block, size_t size);
void *tessalloc_recalloc(void *block, size_t count, size_t size);

/* Alignment to any power of two. The realloc forms keep it, or give it to a block that did not have it. */
void *tessalloc_malloc_aligned(size_t size, size_t align);
void *tessalloc_zalloc_aligned(size_t size, size_t align);
void *tessalloc_calloc_aligned(size_t count, size_t size, size_t align);  /* clears as zalloc */
void *tessalloc_realloc_aligned(void *block, size_t size, size_t align);
void *tessalloc_rezalloc_aligned(void *block, size_t size, size_t align);
void *tessalloc_recalloc_aligned(void *block, size_t count, size_t size, size_t align);

/* Alignment at an offset: `block + offset` is a multiple of `align`. Above 4 MiB `offset` has to be a multiple of `align`,
 * else EINVAL. Where it is no multiple of it, the block costs a lock and up to `align` bytes. */
void *tessalloc_malloc_aligned_at(size_t size, size_t align, size_t offset);
void *tessalloc_zalloc_aligned_at(size_t size, size_t align, size_t offset);
void *tessalloc_calloc_aligned_at(size_t count, size_t size, size_t align, size_t offset);
void *tessalloc_realloc_aligned_at(void *block, size_t size, size_t align, size_t offset);
void *tessalloc_rezalloc_aligned_at(void *block, size_t size, size_t align, size_t offset);
void *tessalloc_recalloc_aligned_at(void *block, size_t count, size_t size, size_t align, size_t offset);

/* With the block comes its usable size; the pointers may be null. 0 when there is no block. */
void *tessalloc_malloc_sized(size_t size, size_t *usable_bytes);
void *tessalloc_zalloc_sized(size_t size, size_t *usable_bytes);
void *tessalloc_malloc_aligned_sized(size_t size, size_t align, size_t *usable_bytes);
void *tessalloc_zalloc_aligned_sized(size_t size, size_t align, size_t *usable_bytes);
void *tessalloc_realloc_sized(void *block, size_t size, size_t *usable_bytes_before, size_t *usable_bytes);

/* free for a caller who knows what was asked for, which saves a look-up. Wrong numbers do no harm. */
void tessalloc_free_size(void *block, size_t size);
void tessalloc_free_aligned(void *block, size_t align);
void tessalloc_free_size_aligned(void *block, size_t size, size_t align);
/* free if the address lies in tessalloc's memory: 1. Else nothing happens: 0. */
int tessalloc_cfree(void *block);

/* Fills `blocks` with `count` blocks of `size` bytes and returns how many there are: fewer only if memory is out. Those that lie
 * ready are taken together. Each may be freed by itself; null in tessalloc_free_batch is nothing. */
size_t tessalloc_malloc_batch(size_t size, void **blocks, size_t count);
void tessalloc_free_batch(void *const *blocks, size_t count);

/* As strdup, strndup and realpath, in blocks of tessalloc whatever malloc the program has. Null gives null. */
char *tessalloc_strdup(const char *text);
char *tessalloc_strndup(const char *text, size_t bytes_max);
char *tessalloc_realpath(const char *path, char *resolved);

/* --- Arenas ---
 *
 * Parts of the address space that a program sets apart: reserved here, or memory that it has and hands in: a file mapping, shared memory, a
 * static buffer. A shared arena (the default) serves every allocation first; an exclusive one only the heaps that are made in it, by
 * `arena` in tessalloc_heap_options_t. docs/arenas.md says what fits, and what is given back when.
 *
 *   tessalloc_arena_options_t options = {0};
 *   options.struct_bytes = sizeof options;
 *   options.flags = TESSALLOC_ARENA_EXCLUSIVE | TESSALLOC_ARENA_COMMITTED;
 *   tessalloc_arena_t *arena = tessalloc_arena_manage(mapping, bytes, &options);
 *
 * Those that return null, or a code, say why in the error: EINVAL for sizes, options or memory that can't be used, EEXIST for memory of
 * another arena or of tessalloc itself, EAGAIN for one arena too many (128), ENOMEM where the system has none, EBUSY for a release
 * with blocks or heaps in it. With TESSALLOC_VERBOSE on, a line on standard error says it in words.
 */
typedef struct tessalloc_arena_s tessalloc_arena_t;

enum {
  TESSALLOC_ARENA_EXCLUSIVE = 1,  /* only heaps that are made in it take from it */
  TESSALLOC_ARENA_COMMITTED = 2,  /* reserved: all is made usable at once; handed in: it is usable as it is */
  TESSALLOC_ARENA_PINNED = 4,     /* free memory is never given back */
  TESSALLOC_ARENA_ZEROED = 8,     /* handed in: it reads zero, so that zeroed blocks need not be cleared */
  TESSALLOC_ARENA_ANONYMOUS = 16, /* handed in: a private anonymous mapping, which tessalloc may commit and purge as its own */
  TESSALLOC_ARENA_HUGE_PAGES = 32, /* reserved: resident at once, in huge pages as far as the system can (Linux); committed and pinned */
  TESSALLOC_ARENA_NUMA_NODE = 64  /* numa_node counts */
};

/* What an arena's own functions answer. */
enum {
  TESSALLOC_COMMIT_REFUSED = 0, /* no memory: the allocation is tried elsewhere, or fails */
  TESSALLOC_COMMIT_DONE = 1,    /* usable; it may hold anything */
  TESSALLOC_COMMIT_ZEROED = 2   /* usable, and reads zero */
};

/* For memory that is handed in: they make whole slices of tessalloc_arena_align() bytes usable, and take free ones back. From any
 * thread, several at a time for different slices. They run inside the allocator: they must not allocate, free, throw or wait for a
 * thread that does. A purge that answers 0 has left the memory as it was; else it is committed again before it is used. */
typedef int tessalloc_arena_commit_t(void *memory, size_t bytes, void *user);
typedef int tessalloc_arena_purge_t(void *memory, size_t bytes, void *user);

/* What is zero is as if it were not there. Later versions append fields. */
typedef struct tessalloc_arena_options_s {
  uint32_t struct_bytes;             /* sizeof(tessalloc_arena_options_t) */
  uint32_t flags;                    /* TESSALLOC_ARENA_… */
  const char *name;                  /* for reports, in UTF-8; the first 32 bytes are copied, up to a whole character */
  uint32_t numa_node;                /* where memory should come from (Linux), or lies; with TESSALLOC_ARENA_NUMA_NODE */
  uint32_t padding;                  /* 0 */
  tessalloc_arena_commit_t *commit;  /* handed in, and neither committed nor anonymous: needed */
  tessalloc_arena_purge_t *purge;    /* null: never asked; only beside commit */
  void *user;                        /* handed to both */
} tessalloc_arena_options_t;

typedef struct tessalloc_arena_info_s {
  uint32_t struct_bytes; /* set it to sizeof(tessalloc_arena_info_t) before tessalloc_arena_info; written: the bytes filled */
  uint32_t flags;        /* TESSALLOC_ARENA_EXCLUSIVE, TESSALLOC_ARENA_NUMA_NODE */
  uint64_t id;           /* no other arena of the process has or had it */
  void *start;
  uint64_t bytes;
  uint64_t used_bytes;   /* in blocks, and in what pages and threads keep ready */
  uint32_t heaps;        /* made in it */
  uint32_t numa_node;
  char name[40];
} tessalloc_arena_info_t;

/* An arena of address space reserved for it, `bytes` rounded up to a multiple of tessalloc_arena_align(); null and errno. Null as
 * options is {0}. */
tessalloc_arena_t *tessalloc_arena_reserve(size_t bytes, const tessalloc_arena_options_t *options);
/* An arena of the program's memory: of it what lies between multiples of tessalloc_arena_align(). Nobody else uses that, and it stays
 * mapped, until tessalloc_arena_release has returned 0. Memory that two processes share is used by one of them alone. */
tessalloc_arena_t *tessalloc_arena_manage(void *memory, size_t bytes, const tessalloc_arena_options_t *options);
/* Ends the arena: 0. Memory that was handed in is the program's again, with any contents. EBUSY, and the arena stays, while a block
 * of it is in use or a heap is made in it. Null is nothing. errno is left alone. */
int tessalloc_arena_release(tessalloc_arena_t *arena);

/* The first byte, and how many there are; `bytes` may be null. */
void *tessalloc_arena_area(const tessalloc_arena_t *arena, size_t *bytes);
/* 1 if the address lies in the arena, in use or not; else 0. */
int tessalloc_arena_contains(const tessalloc_arena_t *arena, const void *address);
/* Fills *out as far as out->struct_bytes goes. */
void tessalloc_arena_info(const tessalloc_arena_t *arena, tessalloc_arena_info_t *out);
/* Shows all arenas, until `visit` returns 0; 1 if all were shown. No lock is held meanwhile. */
int tessalloc_arenas_visit(int (*visit)(const tessalloc_arena_info_t *info, void *argument), void *argument);

/* Bounds: an arena starts at a multiple of the first, and has a multiple of it as size. */
size_t tessalloc_arena_align(void);
size_t tessalloc_arena_bytes_min(void);
size_t tessalloc_arena_bytes_max(void);

/* --- Heaps ---
 *
 * A heap holds blocks that belong together and can go at once. Any thread may allocate from any heap. Every block, whatever heap it is
 * of, is freed by free, tessalloc_free or its heap, on any thread; realloc, usable_size and tessalloc_expand take it as any other.
 *
 *   tessalloc_heap_t *heap = tessalloc_heap_new();
 *   char *text = tessalloc_heap_strdup(heap, "gone with the heap");
 *   tessalloc_heap_destroy(heap);
 *
 * Cost: a heap is made, used once and destroyed in less than a microsecond. It holds 4 KiB for each thread that uses it and 64 KiB of
 * address space for each size class in use, of which what was used is resident. A thread's later allocations cost what those of the
 * default heap cost, and a look into a table; a free that is not by the heap costs up to three times that.
 *
 * Bad handles: null, a heap that has ended and what is no heap are reported on standard error with the function's name and end the
 * process, as far as they can be told: not when another heap has taken the place of the ended one.
 */
typedef struct tessalloc_heap_s tessalloc_heap_t;

/* Which limit was reached. */
enum {
  TESSALLOC_LIMIT_SOFT = 1, /* the heap is above it; told again only after it has been below */
  TESSALLOC_LIMIT_HARD = 2  /* the request does not fit below it; it is tried once more after the call, and then fails */
};

/* Called at a limit, on the thread that allocates and outside all locks: it may allocate and free, from this heap too, but not
 * end it. */
typedef void tessalloc_on_limit_t(tessalloc_heap_t *heap, uint32_t limit, uint64_t wanted_bytes, void *argument);

/* What a heap is made with; what is zero is as if it were not there. Later versions append fields.
 *   tessalloc_heap_options_t options = {0};
 *   options.struct_bytes = sizeof options;
 */
typedef struct tessalloc_heap_options_s {
  uint32_t struct_bytes;          /* sizeof(tessalloc_heap_options_t) */
  uint32_t zeroed;                /* not 0: all its blocks read zero, by whatever function */
  const char *name;               /* for reports, in UTF-8; the first 32 bytes are copied, up to a whole character */
  uint64_t tag;                   /* a number of the caller's choice */
  uint64_t soft_limit_bytes;      /* above so many handed out, on_limit is told */
  uint64_t hard_limit_bytes;      /* allocations fail that would take it above so many; see tessalloc_heap_allocated_bytes */
  tessalloc_on_limit_t *on_limit;
  void *on_limit_argument;
  tessalloc_arena_t *arena;       /* where all its blocks lie: when it is full the heap is out of memory; it is released last */
} tessalloc_heap_options_t;

/* A new heap; null and ENOMEM if memory is out. */
tessalloc_heap_t *tessalloc_heap_new(void);
/* As told by *options; null there is as tessalloc_heap_new. Null and EINVAL for a struct_bytes below 4, for fields that are set and
 * that this version does not know, and for a name that is no UTF-8. */
tessalloc_heap_t *tessalloc_heap_new_with(const tessalloc_heap_options_t *options);
/* The default heap, which malloc allocates from: for every function here. It can't be ended, cleared or visited. */
tessalloc_heap_t *tessalloc_heap_main(void);

/* Ends the heap: its blocks in use stay, as the default heap's. Nobody may use the heap meanwhile or after; its blocks may be used and
 * freed all the time. Null and the default heap: nothing happens, here and in the next two. */
void tessalloc_heap_delete(tessalloc_heap_t *heap);
/* Ends the heap with all its blocks: nobody may use, or be freeing, any of them. Cost: a step for each page, not for each block. */
void tessalloc_heap_destroy(tessalloc_heap_t *heap);
/* Frees all blocks as tessalloc_heap_destroy; the heap stays and keeps its pages for the next ones. Nobody may use it meanwhile. */
void tessalloc_heap_clear(tessalloc_heap_t *heap);
/* Gives back what the heap holds and nobody uses, as far as its threads are not inside the allocator at the moment; returns the
 * bytes. Of the default heap as tessalloc_purge. */
size_t tessalloc_heap_purge(tessalloc_heap_t *heap);

/* The functions above without _heap, in a heap: the same results and errors; ENOMEM also at the hard limit. A block that is resized may
 * be of any heap; where it moves it becomes this heap's. tessalloc_heap_calloc clears all usable bytes. */
void *tessalloc_heap_malloc(tessalloc_heap_t *heap, size_t size);
void *tessalloc_heap_zalloc(tessalloc_heap_t *heap, size_t size);
void *tessalloc_heap_calloc(tessalloc_heap_t *heap, size_t count, size_t size);
void *tessalloc_heap_mallocn(tessalloc_heap_t *heap, size_t count, size_t size);
void *tessalloc_heap_malloc_aligned(tessalloc_heap_t *heap, size_t size, size_t align);
void *tessalloc_heap_zalloc_aligned(tessalloc_heap_t *heap, size_t size, size_t align);
void *tessalloc_heap_calloc_aligned(tessalloc_heap_t *heap, size_t count, size_t size, size_t align);
void *tessalloc_heap_malloc_aligned_at(tessalloc_heap_t *heap, size_t size, size_t align, size_t offset);
void *tessalloc_heap_zalloc_aligned_at(tessalloc_heap_t *heap, size_t size, size_t align, size_t offset);
void *tessalloc_heap_calloc_aligned_at(tessalloc_heap_t *heap, size_t count, size_t size, size_t align, size_t offset);
void *tessalloc_heap_realloc(tessalloc_heap_t *heap, void *block, size_t size); /* (heap, block, 0) frees and returns null */
void *tessalloc_heap_reallocn(tessalloc_heap_t *heap, void *block, size_t count, size_t size);
void *tessalloc_heap_reallocf(tessalloc_heap_t *heap, void *block, size_t size);
void *tessalloc_heap_rezalloc(tessalloc_heap_t *heap, void *block, size_t size);
void *tessalloc_heap_recalloc(tessalloc_heap_t *heap, void *block, size_t count, size_t size);
void *tessalloc_heap_realloc_aligned(tessalloc_heap_t *heap, void *block, size_t size, size_t align);
void *tessalloc_heap_rezalloc_aligned(tessalloc_heap_t *heap, void *block, size_t size, size_t align);
void *tessalloc_heap_recalloc_aligned(tessalloc_heap_t *heap, void *block, size_t count, size_t size, size_t align);
void *tessalloc_heap_realloc_aligned_at(tessalloc_heap_t *heap, void *block, size_t size, size_t align, size_t offset);
void *tessalloc_heap_rezalloc_aligned_at(tessalloc_heap_t *heap, void *block, size_t size, size_t align, size_t offset);
void *tessalloc_heap_recalloc_aligned_at(tessalloc_heap_t *heap, void *block, size_t count, size_t size, size_t align,
                                         size_t offset);
size_t tessalloc_heap_malloc_batch(tessalloc_heap_t *heap, size_t size, void **blocks, size_t count);
char *tessalloc_heap_strdup(tessalloc_heap_t *heap, const char *text);
char *tessalloc_heap_strndup(tessalloc_heap_t *heap, const char *text, size_t bytes_max);
char *tessalloc_heap_realpath(tessalloc_heap_t *heap, const char *path, char *resolved);

/* free for a block of this heap, at the cost of the default heap's free and a look into a table. Null is fine. A block that is not of
 * this heap is reported and ends the process; the default heap takes any. */
void tessalloc_heap_free(tessalloc_heap_t *heap, void *block);

/* The heap that a block in use is of, found by any address in it; null for addresses in no block of tessalloc's. */
tessalloc_heap_t *tessalloc_heap_of(const void *address);
/* 1 if a block in use is of this heap, else 0. */
int tessalloc_heap_contains(const tessalloc_heap_t *heap, const void *address);
/* Bytes handed out: in use, on threads' stacks (at most 512 KiB a thread) or on their way home. This is what limits look at; threads
 * that allocate at the same moment may pass the hard one by 8 KiB each. Not for the default heap inside of tessalloc_visit_heaps. */
uint64_t tessalloc_heap_allocated_bytes(const tessalloc_heap_t *heap);
/* What it was made with: "" and 0 if with none. The text lives as long as the heap; the default heap's is "default". */
const char *tessalloc_heap_name(const tessalloc_heap_t *heap);
uint64_t tessalloc_heap_tag(const tessalloc_heap_t *heap);
/* A number that no other heap of the process has or gets; 0 for the default heap. */
uint64_t tessalloc_heap_id(const tessalloc_heap_t *heap);
/* How many heaps there are, without the default one. */
uint64_t tessalloc_heap_count(void);

/* Visits all blocks in use of a heap, page by page, with their usable bytes: 1 if all were visited, 0 if the visitor ended it by
 * returning 0. EINVAL and 0 for a null visitor, and for the default heap. Nobody may allocate from the heap or free a block of it
 * meanwhile, the visitor neither: so the blocks are exactly those in use. Of one that was aligned at an offset, the place is told that
 * it lies in. Cost: some ns for each block that was ever made. */
typedef int tessalloc_block_visitor_t(tessalloc_heap_t *heap, void *block, size_t bytes, void *argument);
int tessalloc_heap_visit_blocks(tessalloc_heap_t *heap, tessalloc_block_visitor_t *visitor, void *argument);

/* Visits all heaps but the default one, newest first, in the same way. Any thread may allocate meanwhile; none makes or ends a heap:
 * it waits. The visitor must not either; it may ask for names, tags, ids and bytes, and allocate from the default heap. */
typedef int tessalloc_heap_visitor_t(tessalloc_heap_t *heap, void *argument);
int tessalloc_visit_heaps(tessalloc_heap_visitor_t *visitor, void *argument);

/* --- Walking pages and blocks, and threads (the guide: docs/walking.md) ---
 *
 * A visitor returns 0 to end the walk. It may allocate, free, make and end heaps; it must not walk, which is reported and ends the
 * process. All three return 1 if the visitor always returned other than 0, else 0; EINVAL and 0 for a null visitor and an unknown
 * `which`. From any thread; another thread's walk waits. `skipped_pages`, unless null, is told how many pages were left out because
 * their threads were inside of the allocator each time they were asked, or the system has no way to keep a thread out for a moment. */
enum {
  TESSALLOC_WALK_ALL = 0,           /* the whole process: the default heap and all others; `id` means nothing */
  TESSALLOC_WALK_HEAP = 1,          /* one heap, by tessalloc_heap_id: 0 is the default one */
  TESSALLOC_WALK_THREAD = 2,        /* the pages that a thread owns, of any heap, by tessalloc_thread_id */
  TESSALLOC_WALK_WITHOUT_THREAD = 3 /* what threads have left, and large blocks; `id` means nothing */
};
enum {
  TESSALLOC_OWNER_THREAD = 0,
  TESSALLOC_OWNER_ABANDONED = 1, /* none: the page has room, and the next thread that comes takes it */
  TESSALLOC_OWNER_NONE = 2       /* none: a page that was full when it was left, until enough has been freed; a large block */
};

/* A run of equal blocks, a thread's first blocks, or one large block. Later versions only append fields. */
typedef struct tessalloc_page_info_s {
  uint32_t struct_bytes; /* of this structure */
  int owner;             /* TESSALLOC_OWNER_... */
  void *start;
  size_t bytes;          /* of address space */
  size_t block_bytes;    /* 0: small blocks of mixed sizes */
  size_t used;           /* blocks handed out: in use, on threads' stacks, or gathered to be sent home */
  size_t capacity;       /* blocks made so far */
  size_t reserved;       /* blocks that fit */
  uint64_t heap_id;
  uint64_t thread_id;    /* of the owner, or 0 */
} tessalloc_page_info_t;

/* Visits pages, while other threads allocate and free: each as it is when it is looked at. */
typedef int tessalloc_page_visitor_t(const tessalloc_page_info_t *page, void *argument);
int tessalloc_visit_pages(int which, uint64_t id, tessalloc_page_visitor_t *visitor, void *argument, size_t *skipped_pages);

/* Visits blocks with their usable bytes, while other threads allocate and free: a snapshot of each page. Each block in use from the
 * walk's start to its end is told once; told may be, too, what lies free on other threads' stacks or came and went meanwhile. */
typedef int tessalloc_page_block_visitor_t(const tessalloc_page_info_t *page, void *block, size_t bytes, void *argument);
int tessalloc_visit_blocks(int which, uint64_t id, tessalloc_page_block_visitor_t *visitor, void *argument,
                           size_t *skipped_pages);

/* The same of a process that stands still: exactly the blocks in use. From the call to the return no other thread may allocate, free
 * or resize a block, begin or end, by an ordering of the program's own (locks, joins, a barrier). */
int tessalloc_visit_blocks_exactly(int which, uint64_t id, tessalloc_page_block_visitor_t *visitor, void *argument,
                                   size_t *skipped_pages);

/* The calling thread's id, never used twice in a process; 0 at the thread's end, or if memory is out. */
uint64_t tessalloc_thread_id(void);
/* 1 if a thread has not ended yet, else 0. */
int tessalloc_thread_is_alive(uint64_t id);
/* Says that the calling thread will wait, as one of a pool does: what it holds goes back at once, pages with room to other threads.
 * For a wait of milliseconds or more. */
void tessalloc_thread_idle(void);
/* Gives back what a thread holds and nobody uses: the bytes of OS pages that went back to the system, besides what became free memory
 * of the process; -1 if the thread has ended, or was inside of the allocator at each of some attempts. From any thread. */
int64_t tessalloc_thread_purge(uint64_t id);

/* Has a function called now and then from the slow path of allocations, for frees that the program put off; null: none. It is called on the
 * thread that allocates, at every eighth time that it has no block ready, with a count of the calls on that thread; `force` is 1 if
 * memory is out: all that can be freed should be, before the request is tried once more. It may allocate and free, and is not called
 * inside of itself. Another thread may be in the last function still. */
typedef void tessalloc_deferred_free_t(int force, uint64_t heartbeat, void *argument);
void tessalloc_set_deferred_free(tessalloc_deferred_free_t *free, void *argument);

/* --- An allocator in one given buffer ---
 *
 * Apart from everything else here: it hands out blocks of the memory it is given and makes no system call (threads that meet in
 * one buffer wait in the kernel). docs/buffer.md says what fits. All functions may be called from any thread; blocks are aligned
 * to 16. To end it, stop using the memory. A free of what is no block in use is reported and ends the process.
 *
 *   static char memory[1 << 20];
 *   tessalloc_buffer_t *buffer = tessalloc_buffer_over(memory, sizeof memory);
 *   char *text = tessalloc_buffer_malloc(buffer, 100);
 *   tessalloc_buffer_free(buffer, text);
 */
typedef struct tessalloc_buffer_s tessalloc_buffer_t;

typedef struct tessalloc_buffer_stats_s {
  uint32_t version;              /* written: 1 */
  uint32_t struct_bytes;         /* set it to sizeof(tessalloc_buffer_stats_t) before the call; written: the bytes filled */
  uint64_t capacity_bytes;       /* what blocks can be made of: the buffer without its tables, in whole units of 512 */
  uint64_t allocated_bytes;      /* usable bytes of the blocks in use */
  uint64_t allocated_peak_bytes; /* the most that allocated_bytes has been */
  uint64_t free_bytes;           /* in units that are wholly free */
  uint64_t largest_free_bytes;   /* the longest run of them: the largest block that can be had */
  uint64_t blocks;               /* in use */
} tessalloc_buffer_stats_t;

/* The first bytes of the memory, up to 1.5 KiB and 1.8 % of it, hold the allocator itself. Null and EINVAL if no block fits
 * beside that; from 3 KiB on one does. Any alignment will do. */
tessalloc_buffer_t *tessalloc_buffer_over(void *start, size_t bytes);

/* As the malloc family's: null and ENOMEM if no place fits. */
void *tessalloc_buffer_malloc(tessalloc_buffer_t *buffer, size_t size);
void *tessalloc_buffer_calloc(tessalloc_buffer_t *buffer, size_t count, size_t size);
void *tessalloc_buffer_aligned_alloc(tessalloc_buffer_t *buffer, size_t align, size_t size); /* align: a power of two, else EINVAL */
void *tessalloc_buffer_realloc(tessalloc_buffer_t *buffer, void *block, size_t size);        /* (block, 0) frees and returns null */
void tessalloc_buffer_free(tessalloc_buffer_t *buffer, void *block);                         /* null is fine */
size_t tessalloc_buffer_usable_size(tessalloc_buffer_t *buffer, const void *block);          /* 0 for what is no block in use */
void tessalloc_buffer_stats(tessalloc_buffer_t *buffer, tessalloc_buffer_stats_t *out);

/* --- Options ---
 *
 * Who gives an option its value, the stronger below:
 *   the default        the library's own, or what it was compiled with (TESSALLOC_DEFAULT_PURGE_DELAY=0 cargo build …)
 *   the program        what a Rust program's allocator is made with
 *   the environment    TESSALLOC_PURGE_DELAY=2s; read at the first allocation
 *   tessalloc_option_set
 * A value counts from the next time that the option is looked at. What each one does, its unit and its range: docs/options.md,
 * tessalloc_option_info, or `tessalloc env --list`. Numbers of options stay as they are; later versions append.
 */
enum {
  TESSALLOC_OPTION_RESERVE = 0,       /* bytes */
  TESSALLOC_OPTION_PURGE_DELAY = 1,   /* milliseconds */
  TESSALLOC_OPTION_SCAVENGER = 2,     /* switch */
  TESSALLOC_OPTION_MOVE_LARGE = 3,    /* switch */
  TESSALLOC_OPTION_STATS = 4,         /* switch */
  TESSALLOC_OPTION_VERBOSE = 5,       /* switch */
  TESSALLOC_OPTION_IDLE_DELAY = 6,    /* milliseconds */
  TESSALLOC_OPTION_KEEP = 7,          /* bytes */
  TESSALLOC_OPTION_PURGE_HOLES = 8,   /* switch */
  TESSALLOC_OPTION_THREAD_CACHE = 9,  /* bytes */
  TESSALLOC_OPTION_MAX_WARNINGS = 10, /* count */
  TESSALLOC_OPTION_SOFT_LIMIT = 11,   /* bytes */
  TESSALLOC_OPTION_HARD_LIMIT = 12,   /* bytes */
  TESSALLOC_OPTION_PROFILE = 13,      /* switch */
  TESSALLOC_OPTION_PROFILE_RATE = 14, /* bytes */
  TESSALLOC_OPTION_PROFILE_PEAK = 15, /* switch */
  TESSALLOC_OPTION_GUARDED_SAMPLE_RATE = 16, /* count */
  TESSALLOC_OPTION_GUARDED_MIN = 17,         /* bytes */
  TESSALLOC_OPTION_GUARDED_MAX = 18,         /* bytes */
  TESSALLOC_OPTION_GUARDED_PRECISE = 19,     /* switch */
  TESSALLOC_OPTION_GUARDED_SAMPLE_SEED = 20  /* count */
};

/* What a value counts. As text a switch is on or off, a time 250ms, 2s, 1m or 1h, a size 64K, 64M, 2GiB or 1T. */
enum {
  TESSALLOC_UNIT_SWITCH = 0, /* 0 or 1 */
  TESSALLOC_UNIT_MILLISECONDS = 1,
  TESSALLOC_UNIT_BYTES = 2,
  TESSALLOC_UNIT_COUNT = 3
};

/* Who gave the value in force. */
enum {
  TESSALLOC_SOURCE_DEFAULT = 0,
  TESSALLOC_SOURCE_PROGRAM = 1,
  TESSALLOC_SOURCE_ENVIRONMENT = 2,
  TESSALLOC_SOURCE_SET = 3
};

typedef struct tessalloc_option_info_s {
  uint32_t struct_bytes;  /* set it to sizeof(tessalloc_option_info_t) before the call; written: the bytes filled */
  uint32_t unit;          /* TESSALLOC_UNIT_… */
  uint32_t source;        /* TESSALLOC_SOURCE_… */
  uint32_t padding;       /* 0 */
  uint64_t value;         /* in force now */
  uint64_t default_value; /* where nobody gave another one */
  uint64_t least;         /* the ends of its range, both taken */
  uint64_t most;
  const char *name;       /* in the environment; lives for ever, as the next */
  const char *doc;        /* what it does, in English */
} tessalloc_option_info_t;

/* How many options there are: their numbers begin at 0. */
int tessalloc_option_count(void);

/* The option's name in the environment, such as "TESSALLOC_PURGE_DELAY"; null if there is no such option. Lives for ever. */
const char *tessalloc_option_name(int option);

/* The number of a name, with or without TESSALLOC_, in either case; -1 if there is none. */
int tessalloc_option_find(const char *name);

/* The value in force, in the option's unit; 0 if there is no such option. */
uint64_t tessalloc_option_get(int option);

/* Sets a value for the whole process: 0; EINVAL if there is no such option; ERANGE if it does not take the value, and the old one
 * stays. errno is left alone. */
int tessalloc_option_set(int option, uint64_t value);

/* The same for a text as in the environment, "250ms" or "64M"; ERANGE also for a text that is no value. */
int tessalloc_option_set_text(int option, const char *text);

/* Fills *out as far as out->struct_bytes goes: 0; EINVAL if there is no such option. */
int tessalloc_option_info(int option, tessalloc_option_info_t *out);

/* Writes every option with its value, and who gave it, to standard error. */
void tessalloc_options_print(void);

/* --- Ceilings of the process ---
 *
 * What counts is memory that may be resident, of all blocks together: docs/limits.md.
 */

/* Sets the soft limit, above which unused memory goes back at once and the program is told, and the hard one, beyond which
 * allocations fail; 0: none. 0, or ERANGE above 64 TiB, and neither is set. A hard limit below what is in use takes nothing away:
 * allocations fail until enough is freed. From any thread. */
int tessalloc_set_limits(uint64_t soft_bytes, uint64_t hard_bytes);

enum {
  TESSALLOC_PRESSURE_SOFT_LIMIT = 0, /* what tessalloc holds is above the soft limit */
  TESSALLOC_PRESSURE_CONTAINER = 1,  /* the process holds nine tenths of what its container may have */
  TESSALLOC_PRESSURE_SYSTEM = 2      /* tasks wait for memory */
};

typedef struct tessalloc_pressure_s {
  uint32_t cause;       /* TESSALLOC_PRESSURE_…; later versions may know more */
  uint8_t is_severe;    /* the limit is all but reached, or all tasks wait */
  uint64_t held_bytes;  /* by tessalloc; for a container by the process */
  uint64_t limit_bytes; /* what it should stay below; 0 for the system */
} tessalloc_pressure_t;

typedef void (*tessalloc_on_pressure_t)(void *argument, const tessalloc_pressure_t *pressure);

/* Has a function called when memory should be given up, in place of the one before; null: none. 1; 0 if there can be no background
 * thread (TESSALLOC_SCAVENGER=off, or the system refuses it), which is the one that looks, once a second, and calls. Called when a
 * cause begins to last, or becomes severe, after what was unused has gone back. The function may allocate; while it runs nothing else
 * goes back. Another thread's call may still be running when this returns. From any thread. */
int tessalloc_on_pressure(tessalloc_on_pressure_t call, void *argument);

/* --- Statistics, queries by name, messages and errors ---
 *
 * Nothing here allocates, takes a lock of the caller's or stops a thread; docs/statistics.md says what each figure means and how
 * exact it is.
 */

/* What the system says of the process. Set struct_bytes as for tessalloc_stats; what it does not tell is TESSALLOC_UNKNOWN. */
#define TESSALLOC_UNKNOWN UINT64_MAX
typedef struct tessalloc_process_info_s {
  uint32_t version;        /* written: 1 */
  uint32_t struct_bytes;   /* set before the call; written: the bytes filled */
  uint64_t elapsed_us;     /* since the process began */
  uint64_t user_us;        /* processor time in the program, all threads */
  uint64_t system_us;      /* processor time in the system, all threads */
  uint64_t rss_bytes;      /* resident now */
  uint64_t rss_peak_bytes; /* the most that was resident, of this program alone */
  uint64_t commit_bytes;   /* private writable memory that is mapped */
  uint64_t minor_faults;   /* page faults that needed no disk */
  uint64_t major_faults;   /* page faults that waited for a disk */
} tessalloc_process_info_t;
void tessalloc_process_info(tessalloc_process_info_t *out);

/* Figures of one size class. The library makes it: a field is there if struct_bytes says so. */
typedef struct tessalloc_class_stats_s {
  uint64_t struct_bytes;
  uint64_t block_bytes;
  uint64_t pages;
  uint64_t ownerless_pages; /* those of them that no thread owns */
  uint64_t blocks_used;     /* with those that threads keep ready or that are on their way home */
  uint64_t blocks_made;     /* so far */
  uint64_t blocks_fit;      /* into the pages */
} tessalloc_class_stats_t;

/* Figures of pages that have no one class. Set struct_bytes as for tessalloc_stats. */
typedef struct tessalloc_page_stats_s {
  uint32_t version;           /* written: 1 */
  uint32_t struct_bytes;      /* set before the call; written: the bytes filled */
  uint64_t mixed_pages;       /* of threads' first blocks, of all small sizes */
  uint64_t mixed_blocks_used;
  uint64_t large_blocks;      /* in use */
  uint64_t large_bytes;
  uint64_t warm_blocks;       /* large ones that threads keep for their next request */
  uint64_t warm_bytes;
} tessalloc_page_stats_t;

/* Fills *out, unless null, and shows each size class that has pages to `visit`, unless null, until it returns 0. */
void tessalloc_page_stats(tessalloc_page_stats_t *out, int (*visit)(const tessalloc_class_stats_t *, void *arg), void *arg);

/* Figures of one heap. Set struct_bytes as for tessalloc_stats. Of the default heap: the process's less those of the heaps that stand,
 * and the process's peak. Not inside of tessalloc_visit_heaps. */
typedef struct tessalloc_heap_stats_s {
  uint32_t version;               /* written: 1 */
  uint32_t struct_bytes;          /* set before the call; written: the bytes filled */
  uint64_t allocated_bytes;       /* as tessalloc_heap_allocated_bytes */
  uint64_t allocated_peak_bytes;  /* the most that it has been */
  uint64_t allocated_total_bytes; /* in blocks that ever left the heap's pages */
  uint64_t freed_total_bytes;     /* in those that came home, or that the heap was cleared of */
  uint64_t threads;               /* that have a part of the heap */
  uint64_t malloc_slow_count;     /* allocations that did not take the fast path */
} tessalloc_heap_stats_t;
void tessalloc_heap_stats(const tessalloc_heap_t *heap, tessalloc_heap_stats_t *out);
void tessalloc_heap_page_stats(const tessalloc_heap_t *heap, tessalloc_page_stats_t *out,
                               int (*visit)(const tessalloc_class_stats_t *, void *arg), void *arg);

/* What the calling thread allocated and freed since its start, as far as slow paths know: the difference is exact but for blocks
 * that lie ready; reuse of those does not count. The pointers may be null. */
void tessalloc_thread_totals(uint64_t *allocated_bytes, uint64_t *freed_bytes);

/* What has a name: reads it into *out, then sets it to *new; either may be null. All are of type uint64_t; *out_bytes and
 * new_bytes say so. Returns 0, ENOENT (no such name), EINVAL (a wrong size or pointer), EPERM (cannot be set), ERANGE (a value
 * that the option does not take) or ENOTSUP (this system does not tell it).
 *   "purged_bytes", …                 a field of tessalloc_stats_t
 *   "process.rss_bytes", …            a field of tessalloc_process_info_t
 *   "pages.large_bytes", …            a field of tessalloc_page_stats_t
 *   "class.64.blocks_used", …         a field of tessalloc_class_stats_t, of blocks of 64 bytes
 *   "thread.allocated_bytes", "thread.freed_bytes"
 *   "option.TESSALLOC_PURGE_DELAY", … the value of an option, which can be set
 *   "purge"                           as tessalloc_purge */
int tessalloc_ctl(const char *name, void *out, size_t *out_bytes, const void *new_value, size_t new_bytes);

/* Gets a text piece by piece. Each piece ends with a null byte behind its `bytes`; pieces end at line breaks where there are any. */
typedef void (*tessalloc_output_fn)(const char *text, size_t bytes, void *arg);

/* All figures as one JSON object, or as lines to be read by people; the process's alone. Null: to where messages go. */
void tessalloc_stats_json(tessalloc_output_fn write, void *arg);
void tessalloc_stats_print(tessalloc_output_fn write, void *arg);
void tessalloc_process_print(tessalloc_output_fn write, void *arg);
void tessalloc_heap_stats_json(const tessalloc_heap_t *heap, tessalloc_output_fn write, void *arg);
void tessalloc_heap_stats_print(const tessalloc_heap_t *heap, tessalloc_output_fn write, void *arg);

/* Sends messages to a function; null: to standard error. The first 4 KiB of messages from before go to it at once. It is called
 * from any thread, and may be for a moment after another one was set. It may allocate; what it causes itself goes to standard
 * error. */
void tessalloc_set_output(tessalloc_output_fn output, void *arg);

/* Calls a function at each error; null: none. Called on the thread that met it. It may allocate; errors that it causes itself are
 * not told to it. When it returns, the process ends after the kinds 1 to 3 and 7; after the others the request gets null. */
enum {
  TESSALLOC_ERROR_DOUBLE_FREE = 1,
  TESSALLOC_ERROR_CORRUPTION = 2,
  TESSALLOC_ERROR_FOREIGN_POINTER = 3,
  TESSALLOC_ERROR_OUT_OF_MEMORY = 4,
  TESSALLOC_ERROR_OVERFLOW = 5,
  TESSALLOC_ERROR_INVALID_ARGUMENT = 6,
  TESSALLOC_ERROR_MISUSE = 7
};
typedef struct tessalloc_error_s {
  int kind;              /* TESSALLOC_ERROR_… */
  uint32_t struct_bytes; /* of this structure; later versions only append fields */
  const void *address;   /* the address in question, or null */
  size_t bytes;          /* asked for, or 0; SIZE_MAX for a product that no number holds */
  const char *text;      /* the message */
} tessalloc_error_t;
typedef void (*tessalloc_error_fn)(const tessalloc_error_t *error, void *arg);
void tessalloc_set_on_error(tessalloc_error_fn on_error, void *arg);

/* --- Heap profiles ---
 *
 * Which call stacks allocated what is in use, what was allocated so far, and what was in use at the peak; docs/profiles.md is the
 * guide. Off, it costs nothing. Nothing here allocates.
 */

/* Samples allocations from now on, mean_bytes apart on average, 1 to 1 TiB; 524288 will do, and 1 takes all of them. Returns 0, ERANGE,
 * or ENOMEM for the table of call stacks. While it is on, each malloc and each free costs tens of nanoseconds more. */
int tessalloc_profile_start(uint64_t mean_bytes);
/* Takes no more samples; those in use stay in the profile until they are freed. */
void tessalloc_profile_stop(void);
int tessalloc_profile_is_on(void);

/* Samples, and an estimate, without bias, of what they stand for. */
typedef struct tessalloc_profile_amount_s {
  uint64_t samples;
  uint64_t sample_bytes; /* asked for by them */
  uint64_t count;        /* allocations */
  uint64_t bytes;        /* asked for by those */
} tessalloc_profile_amount_t;

/* What is known of a call stack, or of all together. The library makes it: a field is there if struct_bytes says so. */
typedef struct tessalloc_profile_stack_s {
  uint64_t struct_bytes;
  const uintptr_t *frames; /* return addresses, the innermost first; valid during the call */
  uint64_t depth;          /* 0: no stack could be taken, there was no room for it, or all together */
  tessalloc_profile_amount_t in_use;
  tessalloc_profile_amount_t allocated; /* since the first start */
  tessalloc_profile_amount_t peak;      /* in use when all stacks together had the most in use, to within 1/64 */
  uint64_t mean_lifetime_us;            /* of the samples that were freed; TESSALLOC_UNKNOWN: none was */
} tessalloc_profile_stack_t;

/* Shows all call stacks together, or each, until `visit` returns 0. It may allocate. */
typedef int (*tessalloc_profile_fn)(const tessalloc_profile_stack_t *stack, void *arg);
void tessalloc_profile_totals(tessalloc_profile_fn visit, void *arg);
void tessalloc_profile_visit(tessalloc_profile_fn visit, void *arg);

/* Writes a profile as text that pprof reads: to a function, or without one to where messages go; or to a file, in whose name %p
 * stands for the number of the process: 0, or EIO. */
enum {
  TESSALLOC_PROFILE_IN_USE = 0,
  TESSALLOC_PROFILE_AT_PEAK = 1
};
void tessalloc_profile_write(int kind, tessalloc_output_fn write, void *arg);
int tessalloc_profile_dump(int kind, const char *file);

/* Has call stacks taken by a function: it fills `frames` with up to `max` return addresses, the innermost first, and returns how
 * many there are. It runs on the allocating thread; what it allocates itself is no sample. Null, and at first: by
 * _Unwind_Backtrace if the program holds it, as all of C++ do, else by frame pointers. */
typedef size_t (*tessalloc_unwinder_fn)(uintptr_t *frames, size_t max, void *arg);
void tessalloc_profile_set_unwinder(tessalloc_unwinder_fn unwinder, void *arg);

/* --- Guarded blocks ---
 *
 * One of so many allocations ends at a page that nobody may touch, and is untouchable for a while once freed: writing past the end, or
 * using what was freed, ends the process there and then; docs/guarded.md is the guide. Off, it costs nothing.
 */
typedef struct tessalloc_guarded_options_s {
  uint32_t struct_bytes; /* set it to sizeof(tessalloc_guarded_options_t) before each call */
  uint32_t precise;      /* not 0: blocks of malloc end at the page whatever their size, and are aligned only as that is */
  uint64_t rate;         /* one of so many; 1: all; 0: 4,000 */
  uint64_t min_bytes;    /* the sizes in question, both ends included */
  uint64_t max_bytes;    /* 0: 1 GiB */
  uint64_t seed;         /* makes the choice the same in each run; 0: differently each time */
} tessalloc_guarded_options_t;

/* Guards allocations from now on, on all threads; null: as the last start did. Returns 0, or EINVAL for struct_bytes below 8. While it
 * is on, each malloc and each free costs tens of nanoseconds more. At most 4,096 blocks are guarded at once. */
int tessalloc_guarded_start(const tessalloc_guarded_options_t *options);
/* Guards no more; blocks in use stay guarded. */
void tessalloc_guarded_stop(void);
int tessalloc_guarded_is_on(void);
/* Fills *out, as far as out->struct_bytes goes, with what the last start was given. */
void tessalloc_guarded_options(tessalloc_guarded_options_t *out);

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
  void (*page_stats)(tessalloc_page_stats_t *out, int (*visit)(const tessalloc_class_stats_t *, void *arg), void *arg);
  int (*option_info)(int option, tessalloc_option_info_t *out);
  int (*option_set)(int option, uint64_t value);
  int (*option_set_text)(int option, const char *text);
  /* As tessalloc_on_pressure, but beside all other functions; `on` 0: no more. 0 if there can be none, or no further one (15). */
  int (*listen)(tessalloc_on_pressure_t call, void *argument, int on);
  /* Shows each range of blocks' memory that may be resident, until `visit` answers 0. */
  void (*ranges)(int (*visit)(void *at, size_t bytes, void *arg), void *arg);
} tessalloc_table_t;

const tessalloc_table_t *tessalloc_table_v1(void);
/* The library also exports tessalloc_view_v1: where the figures lie in this process's memory, for tools that read it from outside
 * as a debugger does (tessalloc top). It is not for programs. */

#ifdef __cplusplus
}
#endif
#endif
