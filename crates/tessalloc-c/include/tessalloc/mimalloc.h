/* mimalloc's API (version 3) on tessalloc: a program written for mimalloc compiles and links unchanged. MIT licence.
 *
 *   cc -I<prefix>/include/tessalloc program.c -ltessalloc      #include <mimalloc.h> finds this file
 *
 * Every function is a static inline one over `tessalloc_*`: it can be called, and its address taken. What differs from mimalloc:
 *
 *   mi_collect(false)                              does nothing: there is nothing that waits to be collected
 *   mi_heap_collect, mi_theap_collect              likewise without force; with it they purge the heap
 *   mi_heap_set_numa_affinity                      does nothing: there is no NUMA policy
 *   theaps                                         are the heaps themselves: any thread may use any of them
 *   mi_heap_visit_blocks                           each block is told as an area of its own; of the main heap, free blocks on other
 *                                                  threads' stacks may be told too
 *   mi_heap_visit_abandoned_blocks                 likewise; large blocks have no thread, and are told
 *   mi_reserve_os_memory, mi_manage_os_memory      large pages are not used; committed memory that is handed in is never purged
 *   mi_subproc_main, …_current, …_visit_heaps      there is one set of heaps: the process's
 *   mi_thread_init, mi_process_init and …_done     do nothing: threads begin with their first block and end by themselves
 *   mi_thread_set_in_threadpool                    does nothing: tessalloc_thread_idle says when such a thread waits
 *   alignment at an offset                         up to 4 MiB (mimalloc: 64 KiB)
 *   options                                        those that tessalloc has too steer it: show_stats, verbose, max_warnings,
 *                                                  purge_delay, arena_reserve and guarded_…; all others read 0 and take no value
 *   mi_heap_guarded_…, mi_theap_guarded_…          are in every build, and for the whole process
 *   mi_stats_…, mi_process_info_print              print tessalloc's own lines; mi_stats_reset and _merge do nothing
 *   mi_register_error                              double frees, corruption and bad pointers end the process after the call
 *   mi_new and its kin, from C, out of memory      abort; from C++ they ask the new-handler and throw std::bad_alloc
 *
 * What has no counterpart is listed in docs/c-api.md.
 */
#ifndef TESSALLOC_MIMALLOC_H
#define TESSALLOC_MIMALLOC_H
/* A program that tests for mimalloc's own guard finds it. */
#define MIMALLOC_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "../tessalloc.h"
#ifdef __cplusplus
#include "stl.hpp"
#endif

/* The version whose API this is: 3.4.3. */
#define MI_MALLOC_VERSION 30403
#define MI_SMALL_WSIZE_MAX (128)
#define MI_SMALL_SIZE_MAX (MI_SMALL_WSIZE_MAX * sizeof(void *))

#ifndef mi_cdecl
#define mi_cdecl
#endif

#ifdef __cplusplus
#define TESSALLOC_MI_NOEXCEPT noexcept
extern "C" {
#else
#define TESSALLOC_MI_NOEXCEPT
#endif
/* Every function of this file: in each unit its own, without a warning where it is not used. */
#if defined(__GNUC__) || defined(__clang__)
#define TESSALLOC_MI static inline __attribute__((unused))
#else
#define TESSALLOC_MI static inline
#endif

/* ---- Allocation ---- */

TESSALLOC_MI void *mi_malloc(size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_malloc(size); }
TESSALLOC_MI void *mi_zalloc(size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_zalloc(size); }
TESSALLOC_MI void *mi_calloc(size_t count, size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_zallocn(count, size); }
TESSALLOC_MI void *mi_mallocn(size_t count, size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_mallocn(count, size); }
TESSALLOC_MI void *mi_malloc_small(size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_malloc(size); }
TESSALLOC_MI void *mi_zalloc_small(size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_zalloc(size); }
TESSALLOC_MI void mi_free(void *p) TESSALLOC_MI_NOEXCEPT { tessalloc_free(p); }
TESSALLOC_MI void mi_free_small(void *p) TESSALLOC_MI_NOEXCEPT { tessalloc_free(p); }
TESSALLOC_MI void mi_free_size(void *p, size_t size) TESSALLOC_MI_NOEXCEPT { tessalloc_free_size(p, size); }
TESSALLOC_MI void mi_free_aligned(void *p, size_t alignment) TESSALLOC_MI_NOEXCEPT { tessalloc_free_aligned(p, alignment); }
TESSALLOC_MI void mi_free_size_aligned(void *p, size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  tessalloc_free_size_aligned(p, size, alignment);
}
TESSALLOC_MI void mi_cfree(void *p) TESSALLOC_MI_NOEXCEPT { tessalloc_cfree(p); }

/* Size 0 gives a block; it never frees. */
TESSALLOC_MI void *mi_realloc(void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT { return tessalloc_reallocn(p, 1, newsize); }
TESSALLOC_MI void *mi_reallocn(void *p, size_t count, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_reallocn(p, count, size);
}
TESSALLOC_MI void *mi_reallocf(void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT { return tessalloc_reallocf(p, newsize); }
TESSALLOC_MI void *mi_reallocarray(void *p, size_t count, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_reallocn(p, count, size);
}
TESSALLOC_MI int mi_reallocarr(void *p, size_t count, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_reallocarr(p, count, size);
}
TESSALLOC_MI void *mi_rezalloc(void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT { return tessalloc_rezalloc(p, newsize); }
TESSALLOC_MI void *mi_recalloc(void *p, size_t newcount, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_recalloc(p, newcount, size);
}
TESSALLOC_MI void *mi_expand(void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT { return tessalloc_expand(p, newsize); }
TESSALLOC_MI void *mi__expand(void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT { return tessalloc_expand(p, newsize); }

TESSALLOC_MI size_t mi_usable_size(const void *p) TESSALLOC_MI_NOEXCEPT { return tessalloc_usable_size(p); }
TESSALLOC_MI size_t mi_good_size(size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_good_size(size); }
TESSALLOC_MI size_t mi_malloc_size(const void *p) TESSALLOC_MI_NOEXCEPT { return tessalloc_usable_size(p); }
TESSALLOC_MI size_t mi_malloc_usable_size(const void *p) TESSALLOC_MI_NOEXCEPT { return tessalloc_usable_size(p); }
TESSALLOC_MI size_t mi_malloc_good_size(size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_good_size(size); }
TESSALLOC_MI bool mi_is_in_heap_region(const void *p) TESSALLOC_MI_NOEXCEPT { return tessalloc_is_ours(p) != 0; }
TESSALLOC_MI bool mi_check_owned(const void *p) TESSALLOC_MI_NOEXCEPT { return tessalloc_is_ours(p) != 0; }

/* ---- With the usable size ---- */

TESSALLOC_MI void *mi_umalloc(size_t size, size_t *block_size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_sized(size, block_size);
}
TESSALLOC_MI void *mi_umalloc_small(size_t size, size_t *block_size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_sized(size, block_size);
}
TESSALLOC_MI void *mi_uzalloc_small(size_t size, size_t *block_size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_zalloc_sized(size, block_size);
}
TESSALLOC_MI void *mi_ucalloc(size_t count, size_t size, size_t *block_size) TESSALLOC_MI_NOEXCEPT {
  void *p = tessalloc_zallocn(count, size);
  if (block_size != NULL) *block_size = tessalloc_usable_size(p);
  return p;
}
TESSALLOC_MI void *mi_umalloc_aligned(size_t size, size_t alignment, size_t *block_size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_aligned_sized(size, alignment, block_size);
}
TESSALLOC_MI void *mi_uzalloc_aligned(size_t size, size_t alignment, size_t *block_size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_zalloc_aligned_sized(size, alignment, block_size);
}
TESSALLOC_MI void *mi_urealloc(void *p, size_t newsize, size_t *pre, size_t *post) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_realloc_sized(p, newsize, pre, post);
}
TESSALLOC_MI void mi_ufree(void *p, size_t *block_size) TESSALLOC_MI_NOEXCEPT {
  if (block_size != NULL) *block_size = tessalloc_usable_size(p);
  tessalloc_free(p);
}

/* ---- Alignment ---- */

TESSALLOC_MI void *mi_malloc_aligned(size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_aligned(size, alignment);
}
TESSALLOC_MI void *mi_zalloc_aligned(size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_zalloc_aligned(size, alignment);
}
TESSALLOC_MI void *mi_calloc_aligned(size_t count, size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_calloc_aligned(count, size, alignment);
}
TESSALLOC_MI void *mi_realloc_aligned(void *p, size_t newsize, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_realloc_aligned(p, newsize, alignment);
}
TESSALLOC_MI void *mi_rezalloc_aligned(void *p, size_t newsize, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_rezalloc_aligned(p, newsize, alignment);
}
TESSALLOC_MI void *mi_recalloc_aligned(void *p, size_t newcount, size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_recalloc_aligned(p, newcount, size, alignment);
}
TESSALLOC_MI void *mi_aligned_recalloc(void *p, size_t newcount, size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_recalloc_aligned(p, newcount, size, alignment);
}
TESSALLOC_MI void *mi_malloc_aligned_at(size_t size, size_t alignment, size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_aligned_at(size, alignment, offset);
}
TESSALLOC_MI void *mi_zalloc_aligned_at(size_t size, size_t alignment, size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_zalloc_aligned_at(size, alignment, offset);
}
TESSALLOC_MI void *mi_calloc_aligned_at(size_t count, size_t size, size_t alignment,
                                        size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_calloc_aligned_at(count, size, alignment, offset);
}
TESSALLOC_MI void *mi_realloc_aligned_at(void *p, size_t newsize, size_t alignment,
                                         size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_realloc_aligned_at(p, newsize, alignment, offset);
}
TESSALLOC_MI void *mi_rezalloc_aligned_at(void *p, size_t newsize, size_t alignment,
                                          size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_rezalloc_aligned_at(p, newsize, alignment, offset);
}
TESSALLOC_MI void *mi_recalloc_aligned_at(void *p, size_t newcount, size_t size, size_t alignment,
                                          size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_recalloc_aligned_at(p, newcount, size, alignment, offset);
}
TESSALLOC_MI void *mi_aligned_offset_recalloc(void *p, size_t newcount, size_t size, size_t alignment,
                                              size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_recalloc_aligned_at(p, newcount, size, alignment, offset);
}

TESSALLOC_MI void *mi_memalign(size_t alignment, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_aligned(size, alignment);
}
TESSALLOC_MI void *mi_aligned_alloc(size_t alignment, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_aligned(size, alignment);
}
/* Keeps errno. */
TESSALLOC_MI int mi_posix_memalign(void **p, size_t alignment, size_t size) TESSALLOC_MI_NOEXCEPT {
  const int before = errno;
  if (p == NULL || alignment % sizeof(void *) != 0) return EINVAL;
  void *block = tessalloc_malloc_aligned(size, alignment);
  const int error = block == NULL ? errno : 0;
  errno = before;
  if (block != NULL) *p = block;
  return error;
}
TESSALLOC_MI void *mi_valloc(size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_aligned(size, (size_t)sysconf(_SC_PAGESIZE));
}
TESSALLOC_MI void *mi_pvalloc(size_t size) TESSALLOC_MI_NOEXCEPT {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  /* What would overflow is left too large to be had. */
  const size_t whole = size > SIZE_MAX - page ? size : (size + page - 1) / page * page;
  return tessalloc_malloc_aligned(whole, page);
}

/* ---- Texts ---- */

TESSALLOC_MI char *mi_strdup(const char *s) TESSALLOC_MI_NOEXCEPT { return tessalloc_strdup(s); }
TESSALLOC_MI char *mi_strndup(const char *s, size_t n) TESSALLOC_MI_NOEXCEPT { return tessalloc_strndup(s, n); }
TESSALLOC_MI char *mi_realpath(const char *fname, char *resolved_name) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_realpath(fname, resolved_name);
}
TESSALLOC_MI unsigned char *mi_mbsdup(const unsigned char *s) TESSALLOC_MI_NOEXCEPT {
  return (unsigned char *)tessalloc_strdup((const char *)s);
}
TESSALLOC_MI wchar_t *mi_wcsdup(const wchar_t *s) TESSALLOC_MI_NOEXCEPT {
  if (s == NULL) return NULL;
  const size_t count = wcslen(s) + 1;
  wchar_t *copy = (wchar_t *)tessalloc_mallocn(count, sizeof(wchar_t));
  if (copy != NULL) memcpy(copy, s, count * sizeof(wchar_t));
  return copy;
}
/* A variable's value, or null in *buf if there is none. Returns 0, EINVAL or ENOMEM. */
TESSALLOC_MI int mi_dupenv_s(char **buf, size_t *size, const char *name) TESSALLOC_MI_NOEXCEPT {
  if (buf == NULL || name == NULL) return EINVAL;
  const char *value = getenv(name);
  *buf = tessalloc_strdup(value);
  if (size != NULL) *size = *buf == NULL ? 0 : strlen(*buf);
  return value != NULL && *buf == NULL ? ENOMEM : 0;
}
/* Wide environments are Windows's. */
TESSALLOC_MI int mi_wdupenv_s(wchar_t **buf, size_t *size, const wchar_t *name) TESSALLOC_MI_NOEXCEPT {
  if (buf == NULL || name == NULL) return EINVAL;
  *buf = NULL;
  if (size != NULL) *size = 0;
  return EINVAL;
}

/* ---- Heaps ---- */

typedef tessalloc_heap_t mi_heap_t;

/* Null is the main heap for functions that allocate, as for mimalloc's. */
TESSALLOC_MI mi_heap_t *tessalloc_mi_heap(mi_heap_t *heap) { return heap == NULL ? tessalloc_heap_main() : heap; }

TESSALLOC_MI mi_heap_t *mi_heap_new(void) { return tessalloc_heap_new(); }
TESSALLOC_MI void mi_heap_delete(mi_heap_t *heap) { tessalloc_heap_delete(heap); }
TESSALLOC_MI void mi_heap_destroy(mi_heap_t *heap) { tessalloc_heap_destroy(heap); }
TESSALLOC_MI mi_heap_t *mi_heap_main(void) { return tessalloc_heap_main(); }
TESSALLOC_MI void mi_heap_collect(mi_heap_t *heap, bool force) {
  if (force) tessalloc_heap_purge(tessalloc_mi_heap(heap));
}
TESSALLOC_MI void mi_heap_set_numa_affinity(mi_heap_t *heap, int numa_node) {
  (void)heap;
  (void)numa_node;
}
TESSALLOC_MI mi_heap_t *mi_heap_of(const void *p) { return tessalloc_heap_of(p); }
TESSALLOC_MI bool mi_heap_contains(const mi_heap_t *heap, const void *p) {
  return tessalloc_heap_contains(heap == NULL ? tessalloc_heap_main() : heap, p) != 0;
}
TESSALLOC_MI bool mi_any_heap_contains(const void *p) { return tessalloc_heap_of(p) != NULL; }

TESSALLOC_MI void *mi_heap_malloc(mi_heap_t *heap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_malloc(tessalloc_mi_heap(heap), size);
}
TESSALLOC_MI void *mi_heap_zalloc(mi_heap_t *heap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_zalloc(tessalloc_mi_heap(heap), size);
}
TESSALLOC_MI void *mi_heap_calloc(mi_heap_t *heap, size_t count, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_calloc(tessalloc_mi_heap(heap), count, size);
}
TESSALLOC_MI void *mi_heap_mallocn(mi_heap_t *heap, size_t count, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_mallocn(tessalloc_mi_heap(heap), count, size);
}
TESSALLOC_MI void *mi_heap_malloc_small(mi_heap_t *heap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_malloc(tessalloc_mi_heap(heap), size);
}
TESSALLOC_MI void *mi_heap_zalloc_small(mi_heap_t *heap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_zalloc(tessalloc_mi_heap(heap), size);
}

/* Size 0 gives a block; it never frees. */
TESSALLOC_MI void *mi_heap_realloc(mi_heap_t *heap, void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_reallocn(tessalloc_mi_heap(heap), p, 1, newsize);
}
TESSALLOC_MI void *mi_heap_reallocn(mi_heap_t *heap, void *p, size_t count, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_reallocn(tessalloc_mi_heap(heap), p, count, size);
}
TESSALLOC_MI void *mi_heap_reallocf(mi_heap_t *heap, void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_reallocf(tessalloc_mi_heap(heap), p, newsize);
}
TESSALLOC_MI void *mi_heap_rezalloc(mi_heap_t *heap, void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_rezalloc(tessalloc_mi_heap(heap), p, newsize);
}
TESSALLOC_MI void *mi_heap_recalloc(mi_heap_t *heap, void *p, size_t newcount, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_recalloc(tessalloc_mi_heap(heap), p, newcount, size);
}

TESSALLOC_MI void *mi_heap_malloc_aligned(mi_heap_t *heap, size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_malloc_aligned(tessalloc_mi_heap(heap), size, alignment);
}
TESSALLOC_MI void *mi_heap_zalloc_aligned(mi_heap_t *heap, size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_zalloc_aligned(tessalloc_mi_heap(heap), size, alignment);
}
TESSALLOC_MI void *mi_heap_calloc_aligned(mi_heap_t *heap, size_t count, size_t size,
                                          size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_calloc_aligned(tessalloc_mi_heap(heap), count, size, alignment);
}
TESSALLOC_MI void *mi_heap_realloc_aligned(mi_heap_t *heap, void *p, size_t newsize,
                                           size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_realloc_aligned(tessalloc_mi_heap(heap), p, newsize, alignment);
}
TESSALLOC_MI void *mi_heap_rezalloc_aligned(mi_heap_t *heap, void *p, size_t newsize,
                                            size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_rezalloc_aligned(tessalloc_mi_heap(heap), p, newsize, alignment);
}
TESSALLOC_MI void *mi_heap_recalloc_aligned(mi_heap_t *heap, void *p, size_t newcount, size_t size,
                                            size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_recalloc_aligned(tessalloc_mi_heap(heap), p, newcount, size, alignment);
}
TESSALLOC_MI void *mi_heap_malloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment,
                                             size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_malloc_aligned_at(tessalloc_mi_heap(heap), size, alignment, offset);
}
TESSALLOC_MI void *mi_heap_zalloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment,
                                             size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_zalloc_aligned_at(tessalloc_mi_heap(heap), size, alignment, offset);
}
TESSALLOC_MI void *mi_heap_calloc_aligned_at(mi_heap_t *heap, size_t count, size_t size, size_t alignment,
                                             size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_calloc_aligned_at(tessalloc_mi_heap(heap), count, size, alignment, offset);
}
TESSALLOC_MI void *mi_heap_realloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment,
                                              size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_realloc_aligned_at(tessalloc_mi_heap(heap), p, newsize, alignment, offset);
}
TESSALLOC_MI void *mi_heap_rezalloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment,
                                               size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_rezalloc_aligned_at(tessalloc_mi_heap(heap), p, newsize, alignment, offset);
}
TESSALLOC_MI void *mi_heap_recalloc_aligned_at(mi_heap_t *heap, void *p, size_t newcount, size_t size, size_t alignment,
                                               size_t offset) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_recalloc_aligned_at(tessalloc_mi_heap(heap), p, newcount, size, alignment, offset);
}

TESSALLOC_MI char *mi_heap_strdup(mi_heap_t *heap, const char *s) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_strdup(tessalloc_mi_heap(heap), s);
}
TESSALLOC_MI char *mi_heap_strndup(mi_heap_t *heap, const char *s, size_t n) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_strndup(tessalloc_mi_heap(heap), s, n);
}
TESSALLOC_MI char *mi_heap_realpath(mi_heap_t *heap, const char *fname, char *resolved_name) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_realpath(tessalloc_mi_heap(heap), fname, resolved_name);
}

/* ---- Arenas ---- */

/* Null: none. */
typedef void *mi_arena_id_t;
/* Commits memory, and says whether it reads zero: true if it could. Or takes it back: true if it has to be committed again. */
typedef bool(mi_cdecl mi_commit_fun_t)(bool commit, void *start, size_t size, bool *is_zero, void *user_arg);

TESSALLOC_MI size_t mi_arena_min_alignment(void) { return tessalloc_arena_align(); }
TESSALLOC_MI size_t mi_arena_min_size(void) { return tessalloc_arena_bytes_min(); }
TESSALLOC_MI void *mi_arena_area(mi_arena_id_t arena_id, size_t *size) {
  if (arena_id != NULL) return tessalloc_arena_area((const tessalloc_arena_t *)arena_id, size);
  if (size != NULL) *size = 0;
  return NULL;
}
TESSALLOC_MI bool mi_arena_contains(mi_arena_id_t arena_id, const void *p) {
  return arena_id != NULL && tessalloc_arena_contains((const tessalloc_arena_t *)arena_id, p) != 0;
}

TESSALLOC_MI tessalloc_arena_options_t tessalloc_mi_arena_options(bool is_committed, bool is_pinned, bool is_zero,
                                                                  int numa_node, bool exclusive) {
  tessalloc_arena_options_t options;
  memset(&options, 0, sizeof options);
  options.struct_bytes = sizeof options;
  if (exclusive) options.flags |= TESSALLOC_ARENA_EXCLUSIVE;
  if (is_committed) options.flags |= TESSALLOC_ARENA_COMMITTED;
  if (is_pinned) options.flags |= TESSALLOC_ARENA_PINNED;
  if (is_zero) options.flags |= TESSALLOC_ARENA_ZEROED;
  if (numa_node >= 0) {
    options.flags |= TESSALLOC_ARENA_NUMA_NODE;
    options.numa_node = (uint32_t)numa_node;
  }
  return options;
}
TESSALLOC_MI bool tessalloc_mi_arena(tessalloc_arena_t *arena, mi_arena_id_t *arena_id) {
  if (arena_id != NULL) *arena_id = arena;
  return arena != NULL;
}

/* 0, or why not. Large pages are not used, allowed or not. */
TESSALLOC_MI int mi_reserve_os_memory_ex(size_t size, bool commit, bool allow_large, bool exclusive,
                                         mi_arena_id_t *arena_id) TESSALLOC_MI_NOEXCEPT {
  const tessalloc_arena_options_t options = tessalloc_mi_arena_options(commit, false, false, -1, exclusive);
  (void)allow_large;
  return tessalloc_mi_arena(tessalloc_arena_reserve(size, &options), arena_id) ? 0 : errno;
}
TESSALLOC_MI int mi_reserve_os_memory(size_t size, bool commit, bool allow_large) TESSALLOC_MI_NOEXCEPT {
  return mi_reserve_os_memory_ex(size, commit, allow_large, false, NULL);
}

/* Memory that is not committed is a private anonymous mapping; what is committed stays so, pinned or not. */
TESSALLOC_MI bool mi_manage_os_memory_ex(void *start, size_t size, bool is_committed, bool is_pinned, bool is_zero,
                                         int numa_node, bool exclusive, mi_arena_id_t *arena_id) TESSALLOC_MI_NOEXCEPT {
  tessalloc_arena_options_t options =
      tessalloc_mi_arena_options(is_committed, is_pinned, is_zero, numa_node, exclusive);
  if (!is_committed) options.flags |= TESSALLOC_ARENA_ANONYMOUS;
  return tessalloc_mi_arena(tessalloc_arena_manage(start, size, &options), arena_id);
}
TESSALLOC_MI bool mi_manage_os_memory(void *start, size_t size, bool is_committed, bool is_pinned, bool is_zero,
                                      int numa_node) TESSALLOC_MI_NOEXCEPT {
  return mi_manage_os_memory_ex(start, size, is_committed, is_pinned, is_zero, numa_node, false, NULL);
}

/* A commit function and its argument: kept as long as the arena, for ever. */
typedef struct tessalloc_mi_commit_s {
  mi_commit_fun_t *fun;
  void *arg;
} tessalloc_mi_commit_t;
TESSALLOC_MI int tessalloc_mi_commit(void *memory, size_t bytes, void *user) {
  const tessalloc_mi_commit_t *commit = (const tessalloc_mi_commit_t *)user;
  bool is_zero = false;
  if (!commit->fun(true, memory, bytes, &is_zero, commit->arg)) return TESSALLOC_COMMIT_REFUSED;
  return is_zero ? TESSALLOC_COMMIT_ZEROED : TESSALLOC_COMMIT_DONE;
}
TESSALLOC_MI int tessalloc_mi_purge(void *memory, size_t bytes, void *user) {
  const tessalloc_mi_commit_t *commit = (const tessalloc_mi_commit_t *)user;
  return commit->fun(false, memory, bytes, NULL, commit->arg) ? 1 : 0;
}
TESSALLOC_MI bool mi_manage_memory(void *start, size_t size, bool is_committed, bool is_pinned, bool is_zero, int numa_node,
                                   bool exclusive, mi_commit_fun_t *commit_fun, void *commit_fun_arg,
                                   mi_arena_id_t *arena_id) TESSALLOC_MI_NOEXCEPT {
  if (commit_fun == NULL) {
    return mi_manage_os_memory_ex(start, size, is_committed, is_pinned, is_zero, numa_node, exclusive, arena_id);
  }
  tessalloc_arena_options_t options =
      tessalloc_mi_arena_options(is_committed, is_pinned, is_zero, numa_node, exclusive);
  tessalloc_mi_commit_t *commit = (tessalloc_mi_commit_t *)tessalloc_malloc(sizeof *commit);
  if (commit == NULL) return tessalloc_mi_arena(NULL, arena_id);
  commit->fun = commit_fun;
  commit->arg = commit_fun_arg;
  options.commit = tessalloc_mi_commit;
  options.purge = tessalloc_mi_purge;
  options.user = commit;
  if (tessalloc_mi_arena(tessalloc_arena_manage(start, size, &options), arena_id)) return true;
  tessalloc_free(commit);
  return false;
}

TESSALLOC_MI mi_heap_t *mi_heap_new_in_arena(mi_arena_id_t arena_id) {
  tessalloc_heap_options_t options;
  memset(&options, 0, sizeof options);
  options.struct_bytes = sizeof options;
  options.arena = (tessalloc_arena_t *)arena_id;
  return tessalloc_heap_new_with(&options);
}

/* There are no pages of 1 GiB: ENOMEM, as where the system has none. */
TESSALLOC_MI int mi_reserve_huge_os_pages_at_ex(size_t pages, int numa_node, size_t timeout_msecs, bool exclusive,
                                                mi_arena_id_t *arena_id) TESSALLOC_MI_NOEXCEPT {
  (void)numa_node;
  (void)timeout_msecs;
  (void)exclusive;
  if (arena_id != NULL) *arena_id = NULL;
  return pages == 0 ? 0 : ENOMEM;
}
TESSALLOC_MI int mi_reserve_huge_os_pages_at(size_t pages, int numa_node, size_t timeout_msecs) TESSALLOC_MI_NOEXCEPT {
  return mi_reserve_huge_os_pages_at_ex(pages, numa_node, timeout_msecs, false, NULL);
}
TESSALLOC_MI int mi_reserve_huge_os_pages_interleave(size_t pages, size_t numa_nodes,
                                                     size_t timeout_msecs) TESSALLOC_MI_NOEXCEPT {
  (void)numa_nodes;
  return mi_reserve_huge_os_pages_at_ex(pages, -1, timeout_msecs, false, NULL);
}

TESSALLOC_MI int tessalloc_mi_print_arena(const tessalloc_arena_info_t *info, void *arg) {
  (void)arg;
  fprintf(stderr, "arena %llu %s: %p, %llu of %llu bytes used%s\n", (unsigned long long)info->id, info->name, info->start,
          (unsigned long long)info->used_bytes, (unsigned long long)info->bytes,
          (info->flags & TESSALLOC_ARENA_EXCLUSIVE) != 0 ? ", exclusive" : "");
  return 1;
}
/* The arenas that the program made, a line each, to standard error. */
TESSALLOC_MI void mi_arenas_print(void) TESSALLOC_MI_NOEXCEPT { tessalloc_arenas_visit(tessalloc_mi_print_arena, NULL); }
TESSALLOC_MI void mi_debug_show_arenas(void) TESSALLOC_MI_NOEXCEPT { mi_arenas_print(); }

/* ---- Walking ---- */

/* Blocks of one size. Here each block is an area of its own: what is added up over all areas is exact. */
typedef struct mi_heap_area_s {
  void *blocks;
  size_t reserved;  /* bytes */
  size_t committed; /* bytes */
  size_t used;      /* blocks in use */
  size_t block_size;
  size_t full_block_size;
  void *reserved1;
} mi_heap_area_t;

/* Called for an area with a null block, and then for each of its blocks. */
typedef bool(mi_cdecl mi_block_visit_fun)(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                                          size_t block_size, void *arg);
typedef bool(mi_cdecl mi_heap_visit_fun)(mi_heap_t *heap, void *arg);

struct tessalloc_mi_visit {
  mi_block_visit_fun *blocks;
  mi_heap_visit_fun *heaps;
  void *arg;
  bool visit_blocks;
};
TESSALLOC_MI int tessalloc_mi_visit_block(tessalloc_heap_t *heap, void *block, size_t bytes, void *argument) {
  const struct tessalloc_mi_visit *visit = (const struct tessalloc_mi_visit *)argument;
  const mi_heap_area_t area = {block, bytes, bytes, 1, bytes, bytes, NULL};
  return visit->blocks(heap, &area, NULL, bytes, visit->arg) &&
         (!visit->visit_blocks || visit->blocks(heap, &area, block, bytes, visit->arg));
}
TESSALLOC_MI int tessalloc_mi_visit_heap(tessalloc_heap_t *heap, void *argument) {
  const struct tessalloc_mi_visit *visit = (const struct tessalloc_mi_visit *)argument;
  return visit->heaps(heap, visit->arg);
}
struct tessalloc_mi_of_heap {
  struct tessalloc_mi_visit visit;
  mi_heap_t *heap;
};
TESSALLOC_MI int tessalloc_mi_visit_of_heap(const tessalloc_page_info_t *page, void *block, size_t bytes, void *argument) {
  struct tessalloc_mi_of_heap *of_heap = (struct tessalloc_mi_of_heap *)argument;
  return page->heap_id != tessalloc_heap_id(of_heap->heap) ||
         tessalloc_mi_visit_block(of_heap->heap, block, bytes, &of_heap->visit);
}
/* False if the visitor ended it. */
TESSALLOC_MI bool mi_heap_visit_blocks(mi_heap_t *heap, bool visit_blocks, mi_block_visit_fun *visitor, void *arg) {
  struct tessalloc_mi_of_heap of_heap = {{visitor, NULL, arg, visit_blocks}, tessalloc_mi_heap(heap)};
  if (visitor == NULL) return false;
  if (of_heap.heap == tessalloc_heap_main())
    return tessalloc_visit_blocks(TESSALLOC_WALK_HEAP, 0, tessalloc_mi_visit_of_heap, &of_heap, NULL) != 0;
  return tessalloc_heap_visit_blocks(of_heap.heap, tessalloc_mi_visit_block, &of_heap.visit) != 0;
}
/* What is in use of a heap in pages without a thread, and its large blocks. */
TESSALLOC_MI bool mi_heap_visit_abandoned_blocks(mi_heap_t *heap, bool visit_blocks, mi_block_visit_fun *visitor, void *arg) {
  struct tessalloc_mi_of_heap of_heap = {{visitor, NULL, arg, visit_blocks}, tessalloc_mi_heap(heap)};
  return visitor != NULL &&
         tessalloc_visit_blocks(TESSALLOC_WALK_WITHOUT_THREAD, 0, tessalloc_mi_visit_of_heap, &of_heap, NULL) != 0;
}

typedef struct {
  void *_mi_subproc_id;
} mi_subproc_id_t;
TESSALLOC_MI mi_subproc_id_t mi_subproc_main(void) {
  const mi_subproc_id_t id = {NULL};
  return id;
}
TESSALLOC_MI mi_subproc_id_t mi_subproc_current(void) { return mi_subproc_main(); }
/* The main heap first. Heaps are neither made nor ended meanwhile. */
TESSALLOC_MI bool mi_subproc_visit_heaps(mi_subproc_id_t subproc, mi_heap_visit_fun *visitor, void *arg) {
  struct tessalloc_mi_visit visit = {NULL, visitor, arg, false};
  (void)subproc;
  return visitor != NULL && visitor(tessalloc_heap_main(), arg) &&
         tessalloc_visit_heaps(tessalloc_mi_visit_heap, &visit) != 0;
}

/* ---- A heap's part of one thread ---- */

/* Here the heap itself, which finds the thread's part by a look into a table. */
typedef struct mi_theap_s mi_theap_t;
TESSALLOC_MI mi_heap_t *tessalloc_mi_heap_of(mi_theap_t *theap) { return tessalloc_mi_heap((mi_heap_t *)theap); }

TESSALLOC_MI mi_theap_t *mi_heap_theap(mi_heap_t *heap) { return (mi_theap_t *)tessalloc_mi_heap(heap); }
TESSALLOC_MI mi_theap_t *mi_theap_get_default(void) { return (mi_theap_t *)tessalloc_heap_main(); }
/* Guarded blocks, for the whole process, whatever theap or heap is named. A rate of 0 ends it. */
TESSALLOC_MI void tessalloc_mi_guard(size_t sample_rate, size_t seed) TESSALLOC_MI_NOEXCEPT {
  tessalloc_guarded_options_t options;
  options.struct_bytes = sizeof options;
  tessalloc_guarded_options(&options);
  options.rate = sample_rate;
  options.seed = seed;
  if (sample_rate == 0) {
    tessalloc_guarded_stop();
  } else {
    tessalloc_guarded_start(&options);
  }
}
TESSALLOC_MI void tessalloc_mi_guard_sizes(size_t min, size_t max) TESSALLOC_MI_NOEXCEPT {
  const int was_on = tessalloc_guarded_is_on();
  tessalloc_guarded_options_t options;
  options.struct_bytes = sizeof options;
  tessalloc_guarded_options(&options);
  options.min_bytes = min;
  options.max_bytes = min > max ? min : max;
  tessalloc_guarded_start(&options);
  if (!was_on) tessalloc_guarded_stop();
}
TESSALLOC_MI void mi_theap_guarded_set_sample_rate(mi_theap_t *theap, size_t sample_rate, size_t seed) {
  (void)theap;
  tessalloc_mi_guard(sample_rate, seed);
}
TESSALLOC_MI void mi_theap_guarded_set_size_bound(mi_theap_t *theap, size_t min, size_t max) {
  (void)theap;
  tessalloc_mi_guard_sizes(min, max);
}
TESSALLOC_MI void mi_heap_guarded_set_sample_rate(mi_heap_t *heap, size_t sample_rate, size_t seed) {
  (void)heap;
  tessalloc_mi_guard(sample_rate, seed);
}
TESSALLOC_MI void mi_heap_guarded_set_size_bound(mi_heap_t *heap, size_t min, size_t max) {
  (void)heap;
  tessalloc_mi_guard_sizes(min, max);
}

TESSALLOC_MI void mi_theap_collect(mi_theap_t *theap, bool force) TESSALLOC_MI_NOEXCEPT {
  mi_heap_collect(tessalloc_mi_heap_of(theap), force);
}
TESSALLOC_MI void *mi_theap_malloc(mi_theap_t *theap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_malloc(tessalloc_mi_heap_of(theap), size);
}
TESSALLOC_MI void *mi_theap_zalloc(mi_theap_t *theap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_zalloc(tessalloc_mi_heap_of(theap), size);
}
TESSALLOC_MI void *mi_theap_calloc(mi_theap_t *theap, size_t count, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_calloc(tessalloc_mi_heap_of(theap), count, size);
}
TESSALLOC_MI void *mi_theap_malloc_small(mi_theap_t *theap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_malloc(tessalloc_mi_heap_of(theap), size);
}
TESSALLOC_MI void *mi_theap_zalloc_small(mi_theap_t *theap, size_t size) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_zalloc(tessalloc_mi_heap_of(theap), size);
}
TESSALLOC_MI void *mi_theap_malloc_aligned(mi_theap_t *theap, size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_malloc_aligned(tessalloc_mi_heap_of(theap), size, alignment);
}
TESSALLOC_MI void *mi_theap_realloc(mi_theap_t *theap, void *p, size_t newsize) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_heap_reallocn(tessalloc_mi_heap_of(theap), p, 1, newsize);
}
TESSALLOC_MI bool mi_theap_visit_blocks(const mi_theap_t *theap, bool visit_blocks, mi_block_visit_fun *visitor, void *arg) {
  return mi_heap_visit_blocks((mi_heap_t *)(uintptr_t)theap, visit_blocks, visitor, arg);
}

/* ---- The process and its threads ---- */

TESSALLOC_MI int mi_version(void) TESSALLOC_MI_NOEXCEPT { return MI_MALLOC_VERSION; }
TESSALLOC_MI void mi_collect(bool force) TESSALLOC_MI_NOEXCEPT {
  if (force) tessalloc_purge();
}
/* Whether the program's own malloc is tessalloc's. */
TESSALLOC_MI bool mi_is_redirected(void) TESSALLOC_MI_NOEXCEPT {
  void *volatile block = malloc(1);
  const bool is_ours = tessalloc_is_ours(block) != 0;
  free(block);
  return is_ours;
}
TESSALLOC_MI void mi_process_init(void) TESSALLOC_MI_NOEXCEPT {}
TESSALLOC_MI void mi_process_done(void) TESSALLOC_MI_NOEXCEPT {}
TESSALLOC_MI void mi_thread_init(void) TESSALLOC_MI_NOEXCEPT {}
TESSALLOC_MI void mi_thread_done(void) TESSALLOC_MI_NOEXCEPT {}
TESSALLOC_MI void mi_thread_set_in_threadpool(void) TESSALLOC_MI_NOEXCEPT {}

typedef void(mi_cdecl mi_deferred_free_fun)(bool force, unsigned long long heartbeat, void *arg);
struct tessalloc_mi_deferred {
  mi_deferred_free_fun *fun;
  void *arg;
};
TESSALLOC_MI void tessalloc_mi_deferred_free(int force, uint64_t heartbeat, void *arg) {
  const struct tessalloc_mi_deferred *to = (const struct tessalloc_mi_deferred *)arg;
  to->fun(force != 0, heartbeat, to->arg);
}
/* Called from slow paths now and then; null: nobody is. Keeps as much as mi_register_output. */
TESSALLOC_MI void mi_register_deferred_free(mi_deferred_free_fun *deferred_free, void *arg) TESSALLOC_MI_NOEXCEPT {
  struct tessalloc_mi_deferred *to =
      deferred_free == NULL ? NULL : (struct tessalloc_mi_deferred *)tessalloc_malloc(sizeof(struct tessalloc_mi_deferred));
  if (to != NULL) {
    to->fun = deferred_free;
    to->arg = arg;
  }
  if (to != NULL || deferred_free == NULL) tessalloc_set_deferred_free(to == NULL ? NULL : tessalloc_mi_deferred_free, to);
}

/* ---- Figures, messages and errors (more in mimalloc-stats.h) ---- */

typedef void(mi_cdecl mi_output_fun)(const char *msg, void *arg);
typedef void(mi_cdecl mi_error_fun)(int err, void *arg);

struct tessalloc_mi_output {
  mi_output_fun *out;
  void *arg;
};
TESSALLOC_MI void tessalloc_mi_output(const char *text, size_t bytes, void *argument) {
  const struct tessalloc_mi_output *to = (const struct tessalloc_mi_output *)argument;
  (void)bytes;
  to->out(text, to->arg);
}
/* Messages go to a function; null: to standard error. Each call keeps 16 bytes: a thread may still be calling the function before. */
TESSALLOC_MI void mi_register_output(mi_output_fun *out, void *arg) TESSALLOC_MI_NOEXCEPT {
  struct tessalloc_mi_output *to =
      out == NULL ? NULL : (struct tessalloc_mi_output *)tessalloc_malloc(sizeof(struct tessalloc_mi_output));
  if (to != NULL) {
    to->out = out;
    to->arg = arg;
  }
  if (to != NULL || out == NULL) tessalloc_set_output(to == NULL ? NULL : tessalloc_mi_output, to);
}

struct tessalloc_mi_error {
  mi_error_fun *fun;
  void *arg;
};
TESSALLOC_MI void tessalloc_mi_on_error(const tessalloc_error_t *error, void *argument) {
  const struct tessalloc_mi_error *to = (const struct tessalloc_mi_error *)argument;
  to->fun(error->kind == TESSALLOC_ERROR_DOUBLE_FREE     ? EAGAIN
          : error->kind == TESSALLOC_ERROR_CORRUPTION    ? EFAULT
          : error->kind == TESSALLOC_ERROR_OUT_OF_MEMORY ? ENOMEM
          : error->kind == TESSALLOC_ERROR_OVERFLOW      ? EOVERFLOW
                                                         : EINVAL,
          to->arg);
}
/* Called at each error, with EAGAIN, EFAULT, EINVAL, ENOMEM or EOVERFLOW; null: nobody is. Keeps as much as mi_register_output. */
TESSALLOC_MI void mi_register_error(mi_error_fun *fun, void *arg) {
  struct tessalloc_mi_error *to =
      fun == NULL ? NULL : (struct tessalloc_mi_error *)tessalloc_malloc(sizeof(struct tessalloc_mi_error));
  if (to != NULL) {
    to->fun = fun;
    to->arg = arg;
  }
  if (to != NULL || fun == NULL) tessalloc_set_on_error(to == NULL ? NULL : tessalloc_mi_on_error, to);
}

/* 0 for what the system does not tell. */
TESSALLOC_MI size_t tessalloc_mi_told(uint64_t figure, uint64_t unit) {
  return figure == TESSALLOC_UNKNOWN ? 0 : (size_t)(figure / unit);
}
/* Any pointer may be null. What is committed is tessalloc's own; page faults are those that waited for a disk. */
TESSALLOC_MI void mi_process_info(size_t *elapsed_msecs, size_t *user_msecs, size_t *system_msecs, size_t *current_rss,
                                  size_t *peak_rss, size_t *current_commit, size_t *peak_commit,
                                  size_t *page_faults) TESSALLOC_MI_NOEXCEPT {
  tessalloc_process_info_t info;
  tessalloc_stats_t stats;
  info.struct_bytes = sizeof info;
  stats.struct_bytes = sizeof stats;
  tessalloc_process_info(&info);
  tessalloc_stats(&stats);
  if (elapsed_msecs != NULL) *elapsed_msecs = tessalloc_mi_told(info.elapsed_us, 1000);
  if (user_msecs != NULL) *user_msecs = tessalloc_mi_told(info.user_us, 1000);
  if (system_msecs != NULL) *system_msecs = tessalloc_mi_told(info.system_us, 1000);
  if (current_rss != NULL) *current_rss = tessalloc_mi_told(info.rss_bytes, 1);
  if (peak_rss != NULL) *peak_rss = tessalloc_mi_told(info.rss_peak_bytes, 1);
  if (current_commit != NULL) *current_commit = (size_t)stats.committed_bytes;
  if (peak_commit != NULL) *peak_commit = (size_t)stats.committed_peak_bytes;
  if (page_faults != NULL) *page_faults = tessalloc_mi_told(info.major_faults, 1);
}

/* The rest writes tessalloc's own lines, to where messages go if `out` is null. */
TESSALLOC_MI void mi_process_info_print_out(mi_output_fun *out, void *arg) TESSALLOC_MI_NOEXCEPT {
  struct tessalloc_mi_output to = {out, arg};
  tessalloc_process_print(out == NULL ? NULL : tessalloc_mi_output, &to);
}
TESSALLOC_MI void mi_process_info_print(void) TESSALLOC_MI_NOEXCEPT { mi_process_info_print_out(NULL, NULL); }
TESSALLOC_MI void mi_stats_print_out(mi_output_fun *out, void *arg) TESSALLOC_MI_NOEXCEPT {
  struct tessalloc_mi_output to = {out, arg};
  tessalloc_stats_print(out == NULL ? NULL : tessalloc_mi_output, &to);
}
/* `out` is of old and ignored. */
TESSALLOC_MI void mi_stats_print(void *out) TESSALLOC_MI_NOEXCEPT {
  (void)out;
  mi_stats_print_out(NULL, NULL);
}
/* What the calling thread allocated and freed. */
TESSALLOC_MI void mi_thread_stats_print_out(mi_output_fun *out, void *arg) TESSALLOC_MI_NOEXCEPT {
  uint64_t allocated, freed;
  char line[128];
  tessalloc_thread_totals(&allocated, &freed);
  snprintf(line, sizeof line, "thread.allocated_bytes %llu\nthread.freed_bytes %llu\n", (unsigned long long)allocated,
           (unsigned long long)freed);
  if (out == NULL) {
    fputs(line, stderr);
  } else {
    out(line, arg);
  }
}
/* Nothing is reset, and nothing waits to be merged: figures are the process's at all times. */
TESSALLOC_MI void mi_stats_reset(void) TESSALLOC_MI_NOEXCEPT {}
TESSALLOC_MI void mi_stats_merge(void) TESSALLOC_MI_NOEXCEPT {}

/* ---- Options ---- */

typedef enum mi_option_e {
  mi_option_show_errors,
  mi_option_show_stats,
  mi_option_verbose,
  mi_option_deprecated_eager_commit,
  mi_option_arena_eager_commit,
  mi_option_purge_decommits,
  mi_option_allow_large_os_pages,
  mi_option_reserve_huge_os_pages,
  mi_option_reserve_huge_os_pages_at,
  mi_option_reserve_os_memory,
  mi_option_deprecated_segment_cache,
  mi_option_deprecated_page_reset,
  mi_option_deprecated_abandoned_page_purge,
  mi_option_deprecated_segment_reset,
  mi_option_deprecated_eager_commit_delay,
  mi_option_purge_delay,
  mi_option_use_numa_nodes,
  mi_option_disallow_os_alloc,
  mi_option_os_tag,
  mi_option_max_errors,
  mi_option_max_warnings,
  mi_option_deprecated_max_segment_reclaim,
  mi_option_destroy_on_exit,
  mi_option_arena_reserve,
  mi_option_arena_purge_mult,
  mi_option_deprecated_purge_extend_delay,
  mi_option_disallow_arena_alloc,
  mi_option_retry_on_oom,
  mi_option_visit_abandoned,
  mi_option_guarded_min,
  mi_option_guarded_max,
  mi_option_guarded_precise,
  mi_option_guarded_sample_rate,
  mi_option_guarded_sample_seed,
  mi_option_generic_collect,
  mi_option_page_reclaim_on_free,
  mi_option_page_full_retain,
  mi_option_page_max_candidates,
  mi_option_max_vabits,
  mi_option_pagemap_commit,
  mi_option_page_commit_on_demand,
  mi_option_page_max_reclaim,
  mi_option_page_cross_thread_max_reclaim,
  mi_option_allow_thp,
  mi_option_minimal_purge_size,
  mi_option_arena_max_object_size,
  mi_option_arena_is_numa_local,
  _mi_option_last,
  mi_option_large_os_pages = mi_option_allow_large_os_pages,
  mi_option_eager_region_commit = mi_option_arena_eager_commit,
  mi_option_reset_decommits = mi_option_purge_decommits,
  mi_option_reset_delay = mi_option_purge_delay,
  mi_option_limit_os_alloc = mi_option_disallow_os_alloc
} mi_option_t;

/* tessalloc's option; -1 where there is none. */
TESSALLOC_MI int tessalloc_mi_option(mi_option_t option) {
  return option == mi_option_show_stats      ? (int)TESSALLOC_OPTION_STATS
         : option == mi_option_verbose       ? (int)TESSALLOC_OPTION_VERBOSE
         : option == mi_option_max_warnings  ? (int)TESSALLOC_OPTION_MAX_WARNINGS
         : option == mi_option_purge_delay   ? (int)TESSALLOC_OPTION_PURGE_DELAY
         : option == mi_option_arena_reserve ? (int)TESSALLOC_OPTION_RESERVE
         : option == mi_option_guarded_min ? (int)TESSALLOC_OPTION_GUARDED_MIN
         : option == mi_option_guarded_max ? (int)TESSALLOC_OPTION_GUARDED_MAX
         : option == mi_option_guarded_precise ? (int)TESSALLOC_OPTION_GUARDED_PRECISE
         : option == mi_option_guarded_sample_rate ? (int)TESSALLOC_OPTION_GUARDED_SAMPLE_RATE
         : option == mi_option_guarded_sample_seed ? (int)TESSALLOC_OPTION_GUARDED_SAMPLE_SEED
                                             : -1;
}
/* Sizes are set and got in KiB, except by mi_option_get_size. */
TESSALLOC_MI uint64_t tessalloc_mi_option_unit(mi_option_t option) {
  return option == mi_option_arena_reserve ? 1024 : 1;
}
TESSALLOC_MI long mi_option_get(mi_option_t option) {
  return (long)(tessalloc_option_get(tessalloc_mi_option(option)) / tessalloc_mi_option_unit(option));
}
TESSALLOC_MI long mi_option_get_clamp(mi_option_t option, long min, long max) {
  const long value = mi_option_get(option);
  return value < min ? min : value > max ? max : value;
}
TESSALLOC_MI size_t mi_option_get_size(mi_option_t option) {
  return (size_t)tessalloc_option_get(tessalloc_mi_option(option));
}
/* A value out of range becomes the nearest that is in it; below 0 means "never", and so the most. */
TESSALLOC_MI void mi_option_set(mi_option_t option, long value) {
  tessalloc_option_info_t info;
  info.struct_bytes = sizeof info;
  if (tessalloc_option_info(tessalloc_mi_option(option), &info) != 0) return;
  const uint64_t unit = tessalloc_mi_option_unit(option);
  uint64_t wanted = value < 0 || (uint64_t)value > info.most / unit ? info.most : (uint64_t)value * unit;
  if (wanted < info.least) wanted = info.least;
  tessalloc_option_set(tessalloc_mi_option(option), wanted);
}
/* As mi_option_set, unless somebody has given a value. */
TESSALLOC_MI void mi_option_set_default(mi_option_t option, long value) {
  tessalloc_option_info_t info;
  info.struct_bytes = sizeof info;
  if (tessalloc_option_info(tessalloc_mi_option(option), &info) == 0 && info.source == TESSALLOC_SOURCE_DEFAULT) {
    mi_option_set(option, value);
  }
}
TESSALLOC_MI bool mi_option_is_enabled(mi_option_t option) { return mi_option_get(option) != 0; }
TESSALLOC_MI void mi_option_set_enabled(mi_option_t option, bool enable) { mi_option_set(option, enable ? 1 : 0); }
TESSALLOC_MI void mi_option_set_enabled_default(mi_option_t option, bool enable) {
  mi_option_set_default(option, enable ? 1 : 0);
}
TESSALLOC_MI void mi_option_enable(mi_option_t option) { mi_option_set(option, 1); }
TESSALLOC_MI void mi_option_disable(mi_option_t option) { mi_option_set(option, 0); }

TESSALLOC_MI void mi_options_print(void) TESSALLOC_MI_NOEXCEPT { tessalloc_options_print(); }
/* tessalloc's options, a line each. */
TESSALLOC_MI void mi_options_print_out(mi_output_fun *out, void *arg) TESSALLOC_MI_NOEXCEPT {
  if (out == NULL) {
    tessalloc_options_print();
    return;
  }
  for (int option = 0; option < tessalloc_option_count(); option++) {
    char line[128];
    snprintf(line, sizeof line, "%s: %llu\n", tessalloc_option_name(option),
             (unsigned long long)tessalloc_option_get(option));
    out(line, arg);
  }
}

/* ---- Typed ---- */

#define mi_malloc_tp(tp) ((tp *)mi_malloc(sizeof(tp)))
#define mi_zalloc_tp(tp) ((tp *)mi_zalloc(sizeof(tp)))
#define mi_calloc_tp(tp, n) ((tp *)mi_calloc(n, sizeof(tp)))
#define mi_mallocn_tp(tp, n) ((tp *)mi_mallocn(n, sizeof(tp)))
#define mi_reallocn_tp(tp, p, n) ((tp *)mi_reallocn(p, n, sizeof(tp)))
#define mi_recalloc_tp(tp, p, n) ((tp *)mi_recalloc(p, n, sizeof(tp)))
#define mi_heap_malloc_tp(tp, hp) ((tp *)mi_heap_malloc(hp, sizeof(tp)))
#define mi_heap_zalloc_tp(tp, hp) ((tp *)mi_heap_zalloc(hp, sizeof(tp)))
#define mi_heap_calloc_tp(tp, hp, n) ((tp *)mi_heap_calloc(hp, n, sizeof(tp)))
#define mi_heap_mallocn_tp(tp, hp, n) ((tp *)mi_heap_mallocn(hp, n, sizeof(tp)))
#define mi_heap_reallocn_tp(tp, hp, p, n) ((tp *)mi_heap_reallocn(hp, p, n, sizeof(tp)))
#define mi_heap_recalloc_tp(tp, hp, p, n) ((tp *)mi_heap_recalloc(hp, p, n, sizeof(tp)))

/* ---- As operator new ---- */

TESSALLOC_MI void *mi_new_nothrow(size_t size) TESSALLOC_MI_NOEXCEPT { return tessalloc_malloc(size); }
TESSALLOC_MI void *mi_new_aligned_nothrow(size_t size, size_t alignment) TESSALLOC_MI_NOEXCEPT {
  return tessalloc_malloc_aligned(size, alignment);
}

/* The block that `expression` gives: C++ asks the new-handler and throws, C aborts. */
#ifdef __cplusplus
} /* extern "C": templates have C++ linkage */
#define TESSALLOC_MI_NEW(expression) ::tessalloc::detail::or_throw([=]() { return expression; })
extern "C" {
#else
TESSALLOC_MI void *tessalloc_mi_or_abort(void *block) {
  if (block == NULL) abort();
  return block;
}
#define TESSALLOC_MI_NEW(expression) tessalloc_mi_or_abort(expression)
#endif

TESSALLOC_MI void *mi_new(size_t size) { return TESSALLOC_MI_NEW(tessalloc_malloc(size)); }
TESSALLOC_MI void *mi_new_aligned(size_t size, size_t alignment) {
  return TESSALLOC_MI_NEW(tessalloc_malloc_aligned(size, alignment));
}
TESSALLOC_MI void *mi_new_n(size_t count, size_t size) { return TESSALLOC_MI_NEW(tessalloc_mallocn(count, size)); }
TESSALLOC_MI void *mi_new_realloc(void *p, size_t newsize) {
  return TESSALLOC_MI_NEW(tessalloc_reallocn(p, 1, newsize));
}
TESSALLOC_MI void *mi_new_reallocn(void *p, size_t newcount, size_t size) {
  return TESSALLOC_MI_NEW(tessalloc_reallocn(p, newcount, size));
}
TESSALLOC_MI void *mi_heap_alloc_new(mi_heap_t *heap, size_t size) {
  return TESSALLOC_MI_NEW(mi_heap_malloc(heap, size));
}
TESSALLOC_MI void *mi_heap_alloc_new_n(mi_heap_t *heap, size_t count, size_t size) {
  return TESSALLOC_MI_NEW(mi_heap_mallocn(heap, count, size));
}

#ifdef __cplusplus
} /* extern "C" */

#define MI_HAS_HEAP_STL_ALLOCATOR 1
template <class T> using mi_stl_allocator = ::tessalloc::allocator<T>;
/* With a heap of its own, which goes with the last copy, or in a given one. The second frees nothing before its heap goes. */
template <class T> using mi_heap_stl_allocator = ::tessalloc::heap_allocator<T>;
template <class T> using mi_heap_destroy_stl_allocator = ::tessalloc::heap_destroy_allocator<T>;
#endif

#endif
