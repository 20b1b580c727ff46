/* mimalloc's statistics (version 5 of its structure) on tessalloc's, beside mimalloc.h. MIT licence.
 *
 *   malloc_normal, malloc_huge      bytes of small blocks, and of large ones in use; large ones that were freed are in the total of
 *                                   malloc_normal
 *   malloc_bins, page_bins          tessalloc's size classes, each in the smallest bin that holds its blocks, as they are now
 *   peak and total                  the current figure where tessalloc counts none
 *   chunk_bins, and what tessalloc has not (reset, segments, searches, …)      0
 *   of a heap                       bytes, bins, pages; what only a process has is 0
 *   mi_heap_stats_merge_to_subproc  does nothing: the process's figures have those of the heaps in them
 *
 * What each figure counts, and how exact it is: docs/statistics.md.
 */
#ifndef TESSALLOC_MIMALLOC_STATS_H
#define TESSALLOC_MIMALLOC_STATS_H
#define MIMALLOC_STATS_H

#include "mimalloc.h"

#define MI_STAT_VERSION 5
#define MI_BIN_HUGE (73U)

typedef struct mi_stat_count_s {
  int64_t total;
  int64_t peak;
  int64_t current;
} mi_stat_count_t;

typedef struct mi_stat_counter_s {
  int64_t total;
} mi_stat_counter_t;

typedef enum mi_chunkbin_e {
  MI_CBIN_SMALL,
  MI_CBIN_OTHER,
  MI_CBIN_MEDIUM,
  MI_CBIN_LARGE,
  MI_CBIN_HUGE,
  MI_CBIN_NONE,
  MI_CBIN_COUNT
} mi_chunkbin_t;

/* The figures by name, in their order. */
#define TESSALLOC_MI_STATS(COUNT, COUNTER)                                                                     \
  COUNT(pages) COUNT(reserved) COUNT(committed)                                                                \
  COUNTER(reset) COUNTER(purged)                                                                               \
  COUNT(page_committed) COUNT(pages_abandoned) COUNT(threads)                                                  \
  COUNT(malloc_normal) COUNT(malloc_huge) COUNT(malloc_requested)                                              \
  COUNTER(mmap_calls) COUNTER(commit_calls) COUNTER(reset_calls) COUNTER(purge_calls) COUNTER(arena_count)     \
  COUNTER(malloc_normal_count) COUNTER(malloc_huge_count) COUNTER(malloc_guarded_count)                        \
  COUNTER(arena_rollback_count) COUNTER(arena_purges)                                                          \
  COUNTER(pages_extended) COUNTER(pages_retire) COUNTER(page_searches) COUNTER(page_searches_count)            \
  COUNT(segments) COUNT(segments_abandoned) COUNT(segments_cache) COUNT(_segments_reserved)                    \
  COUNT(heaps) COUNT(theaps)                                                                                   \
  COUNTER(pages_reclaim_on_alloc) COUNTER(pages_reclaim_on_free) COUNTER(pages_reabandon_full)                 \
  COUNTER(pages_unabandon_busy_wait) COUNTER(heaps_delete_wait)

#define TESSALLOC_MI_COUNT(name) mi_stat_count_t name;
#define TESSALLOC_MI_COUNTER(name) mi_stat_counter_t name;
typedef struct mi_stats_s {
  size_t size;
  size_t version;
  TESSALLOC_MI_STATS(TESSALLOC_MI_COUNT, TESSALLOC_MI_COUNTER)
  mi_stat_count_t malloc_bins[MI_BIN_HUGE + 1];
  mi_stat_count_t page_bins[MI_BIN_HUGE + 1];
  mi_stat_count_t chunk_bins[MI_CBIN_COUNT];
} mi_stats_t;
#undef TESSALLOC_MI_COUNT
#undef TESSALLOC_MI_COUNTER

#ifdef __cplusplus
extern "C" {
#endif

/* A structure is filled only if it says that it is of this header. */
TESSALLOC_MI void mi_stats_header_init(mi_stats_t *stats) {
  stats->size = sizeof *stats;
  stats->version = MI_STAT_VERSION;
}
TESSALLOC_MI void mi_stats_init(mi_stats_t *stats) {
  memset(stats, 0, sizeof *stats);
  mi_stats_header_init(stats);
}
#define mi_stats_t_decl(name) \
  mi_stats_t name;            \
  mi_stats_init(&name);

/* The largest block of a bin: eighths of 64 bytes, then four to a doubling. The last bin has what is larger. */
TESSALLOC_MI size_t mi_stats_get_bin_size(size_t bin) TESSALLOC_MI_NOEXCEPT {
  if (bin > MI_BIN_HUGE) return 0;
  return bin <= 8 ? (bin == 0 ? 1 : bin) * 8 : (size_t)((bin - 9) % 4 + 5) << ((bin - 9) / 4 + 4);
}

TESSALLOC_MI void tessalloc_mi_add(mi_stat_count_t *to, uint64_t total, uint64_t peak, uint64_t current) {
  to->total += (int64_t)(total > current ? total : current);
  to->peak += (int64_t)(peak > current ? peak : current);
  to->current += (int64_t)current;
}
TESSALLOC_MI void tessalloc_mi_add_current(mi_stat_count_t *to, uint64_t current) {
  tessalloc_mi_add(to, current, current, current);
}
TESSALLOC_MI int tessalloc_mi_add_class(const tessalloc_class_stats_t *figures, void *argument) {
  mi_stats_t *stats = (mi_stats_t *)argument;
  size_t bin = 1;
  while (bin < MI_BIN_HUGE && mi_stats_get_bin_size(bin) < figures->block_bytes) bin++;
  tessalloc_mi_add_current(&stats->malloc_bins[bin], figures->blocks_used);
  tessalloc_mi_add_current(&stats->page_bins[bin], figures->pages);
  tessalloc_mi_add_current(&stats->pages_abandoned, figures->ownerless_pages);
  return 1;
}

/* Bytes and blocks, of a heap or (null) of the process; returns the pages. */
TESSALLOC_MI uint64_t tessalloc_mi_add_blocks(mi_stats_t *stats, const mi_heap_t *heap, uint64_t allocated, uint64_t peak,
                                              uint64_t total) {
  tessalloc_page_stats_t pages;
  pages.struct_bytes = sizeof pages;
  if (heap == NULL) {
    tessalloc_page_stats(&pages, tessalloc_mi_add_class, stats);
  } else {
    tessalloc_heap_page_stats(heap, &pages, tessalloc_mi_add_class, stats);
  }
  const uint64_t large = pages.large_bytes + pages.warm_bytes;
  const uint64_t small = allocated > large ? allocated - large : 0;
  tessalloc_mi_add(&stats->malloc_normal, total > large ? total - large : 0, peak > large ? peak - large : 0, small);
  tessalloc_mi_add_current(&stats->malloc_huge, pages.large_bytes);
  stats->malloc_huge_count.total += (int64_t)pages.large_blocks;
  tessalloc_mi_add_current(&stats->malloc_bins[MI_BIN_HUGE], pages.large_blocks);
  uint64_t count = pages.mixed_pages;
  for (size_t bin = 0; bin < MI_BIN_HUGE; bin++) count += (uint64_t)stats->page_bins[bin].current;
  return count;
}

TESSALLOC_MI bool tessalloc_mi_begin(mi_stats_t *stats) {
  if (stats == NULL || stats->size != sizeof *stats || stats->version != MI_STAT_VERSION) return false;
  mi_stats_init(stats);
  return true;
}

/* The process without its blocks. */
TESSALLOC_MI bool mi_subproc_stats_get_exclusive(mi_subproc_id_t subproc, mi_stats_t *stats) TESSALLOC_MI_NOEXCEPT {
  (void)subproc;
  if (!tessalloc_mi_begin(stats)) return false;
  tessalloc_stats_t all;
  all.struct_bytes = sizeof all;
  tessalloc_stats(&all);
  tessalloc_mi_add(&stats->pages, all.pages_total, all.pages_peak, all.pages);
  tessalloc_mi_add_current(&stats->reserved, all.reserved_bytes);
  tessalloc_mi_add(&stats->committed, all.committed_bytes + all.purged_bytes, all.committed_peak_bytes, all.committed_bytes);
  tessalloc_mi_add(&stats->threads, all.threads_total, all.threads_peak, all.threads);
  tessalloc_mi_add(&stats->heaps, all.heaps_total + 1, all.heaps_peak + 1, all.heaps + 1);
  stats->theaps = stats->threads;
  stats->purged.total = (int64_t)all.purged_bytes;
  stats->mmap_calls.total = (int64_t)all.reserve_calls;
  stats->commit_calls.total = (int64_t)all.commit_calls;
  stats->purge_calls.total = (int64_t)all.purge_calls;
  stats->arena_count.total = (int64_t)all.regions;
  stats->pages_reclaim_on_alloc.total = (int64_t)all.reclaims;
  return true;
}
TESSALLOC_MI bool mi_subproc_stats_get(mi_subproc_id_t subproc, mi_stats_t *stats) TESSALLOC_MI_NOEXCEPT {
  if (!mi_subproc_stats_get_exclusive(subproc, stats)) return false;
  tessalloc_stats_t all;
  all.struct_bytes = sizeof all;
  tessalloc_stats(&all);
  tessalloc_mi_add_blocks(stats, NULL, all.allocated_bytes, all.allocated_peak_bytes, all.allocated_total_bytes);
  stats->malloc_huge_count.total = (int64_t)all.large_blocks_total;
  return true;
}
TESSALLOC_MI bool mi_stats_get(mi_stats_t *stats) TESSALLOC_MI_NOEXCEPT {
  return mi_subproc_stats_get(mi_subproc_current(), stats);
}
TESSALLOC_MI bool mi_heap_stats_get(mi_heap_t *heap, mi_stats_t *stats) TESSALLOC_MI_NOEXCEPT {
  if (!tessalloc_mi_begin(stats)) return false;
  heap = tessalloc_mi_heap(heap);
  tessalloc_heap_stats_t all;
  all.struct_bytes = sizeof all;
  tessalloc_heap_stats(heap, &all);
  const uint64_t pages =
      tessalloc_mi_add_blocks(stats, heap, all.allocated_bytes, all.allocated_peak_bytes, all.allocated_total_bytes);
  tessalloc_mi_add_current(&stats->pages, pages);
  tessalloc_mi_add_current(&stats->theaps, all.threads);
  return true;
}
TESSALLOC_MI void mi_heap_stats_merge_to_subproc(mi_heap_t *heap) { (void)heap; }

/* ---- JSON ---- */

/* A text in the caller's buffer, or in a block that grows. */
struct tessalloc_mi_text {
  char *text;
  size_t bytes;
  size_t used;
  bool grows;
};
TESSALLOC_MI void tessalloc_mi_put(struct tessalloc_mi_text *to, const char *piece) {
  const size_t bytes = strlen(piece);
  if (to->grows && to->used + bytes >= to->bytes) {
    char *more = (char *)tessalloc_reallocf(to->text, to->bytes * 2 + bytes + 4096);
    to->text = more;
    to->bytes = more == NULL ? 0 : tessalloc_usable_size(more);
    to->grows = more != NULL;
  }
  if (to->used + bytes < to->bytes) memcpy(to->text + to->used, piece, bytes + 1);
  to->used += bytes;
}
TESSALLOC_MI void tessalloc_mi_put_number(struct tessalloc_mi_text *to, const char *before, const char *name, int64_t number) {
  char digits[32];
  snprintf(digits, sizeof digits, "\": %lld", (long long)number);
  tessalloc_mi_put(to, before);
  tessalloc_mi_put(to, "\"");
  tessalloc_mi_put(to, name);
  tessalloc_mi_put(to, digits);
}
TESSALLOC_MI void tessalloc_mi_put_counts(struct tessalloc_mi_text *to, const mi_stat_count_t *count) {
  tessalloc_mi_put_number(to, "{ ", "total", count->total);
  tessalloc_mi_put_number(to, ", ", "peak", count->peak);
  tessalloc_mi_put_number(to, ", ", "current", count->current);
}
TESSALLOC_MI void tessalloc_mi_put_count(struct tessalloc_mi_text *to, const char *name, const mi_stat_count_t *count) {
  tessalloc_mi_put(to, ",\n  \"");
  tessalloc_mi_put(to, name);
  tessalloc_mi_put(to, "\": ");
  tessalloc_mi_put_counts(to, count);
  tessalloc_mi_put(to, " }");
}
TESSALLOC_MI void tessalloc_mi_put_bins(struct tessalloc_mi_text *to, const char *before, const mi_stat_count_t *bins,
                                        size_t count, bool have_sizes) {
  tessalloc_mi_put(to, before);
  for (size_t bin = 0; bin < count; bin++) {
    tessalloc_mi_put(to, bin == 0 ? "\n    " : ",\n    ");
    tessalloc_mi_put_counts(to, &bins[bin]);
    if (have_sizes) tessalloc_mi_put_number(to, ", ", "block_size", (int64_t)mi_stats_get_bin_size(bin));
    tessalloc_mi_put(to, " }");
  }
  tessalloc_mi_put(to, "\n  ]");
}

/* In `buf`, or in a block for mi_free if that is null; null if it does not fit, or for a structure that is not of this header. */
TESSALLOC_MI char *mi_stats_as_json(mi_stats_t *stats, size_t buf_size, char *buf) TESSALLOC_MI_NOEXCEPT {
  if (stats == NULL || stats->size != sizeof *stats || stats->version != MI_STAT_VERSION) return NULL;
  const bool is_given = buf != NULL && buf_size > 0;
  struct tessalloc_mi_text text = {is_given ? buf : NULL, is_given ? buf_size : 0, 0, !is_given};
  size_t elapsed, user, system, rss, rss_peak, commit, commit_peak, faults;
  mi_process_info(&elapsed, &user, &system, &rss, &rss_peak, &commit, &commit_peak, &faults);
  tessalloc_mi_put_number(&text, "{\n  ", "stat_version", MI_STAT_VERSION);
  tessalloc_mi_put_number(&text, ",\n  ", "mimalloc_version", MI_MALLOC_VERSION);
  tessalloc_mi_put_number(&text, ",\n  \"process\": {\n    ", "elapsed_msecs", (int64_t)elapsed);
  tessalloc_mi_put_number(&text, ",\n    ", "user_msecs", (int64_t)user);
  tessalloc_mi_put_number(&text, ",\n    ", "system_msecs", (int64_t)system);
  tessalloc_mi_put_number(&text, ",\n    ", "page_faults", (int64_t)faults);
  tessalloc_mi_put_number(&text, ",\n    ", "rss_current", (int64_t)rss);
  tessalloc_mi_put_number(&text, ",\n    ", "rss_peak", (int64_t)rss_peak);
  tessalloc_mi_put_number(&text, ",\n    ", "commit_current", (int64_t)commit);
  tessalloc_mi_put_number(&text, ",\n    ", "commit_peak", (int64_t)commit_peak);
  tessalloc_mi_put(&text, "\n  }");
#define TESSALLOC_MI_COUNT(name) tessalloc_mi_put_count(&text, #name, &stats->name);
#define TESSALLOC_MI_COUNTER(name) tessalloc_mi_put_number(&text, ",\n  ", #name, stats->name.total);
  TESSALLOC_MI_STATS(TESSALLOC_MI_COUNT, TESSALLOC_MI_COUNTER)
#undef TESSALLOC_MI_COUNT
#undef TESSALLOC_MI_COUNTER
  tessalloc_mi_put_bins(&text, ",\n  \"malloc_bins\": [", stats->malloc_bins, MI_BIN_HUGE + 1, true);
  tessalloc_mi_put_bins(&text, ",\n  \"page_bins\": [", stats->page_bins, MI_BIN_HUGE + 1, true);
  tessalloc_mi_put_bins(&text, ",\n  \"chunk_bins\": [", stats->chunk_bins, MI_CBIN_COUNT, false);
  tessalloc_mi_put(&text, "\n}\n");
  if (text.used < text.bytes) return text.text;
  if (is_given) {
    buf[0] = 0;
  } else {
    tessalloc_free(text.text);
  }
  return NULL;
}
TESSALLOC_MI char *mi_subproc_stats_get_json(mi_subproc_id_t subproc, size_t buf_size, char *buf) TESSALLOC_MI_NOEXCEPT {
  mi_stats_t stats;
  mi_stats_init(&stats);
  return mi_subproc_stats_get(subproc, &stats) ? mi_stats_as_json(&stats, buf_size, buf) : NULL;
}
TESSALLOC_MI char *mi_stats_get_json(size_t buf_size, char *buf) TESSALLOC_MI_NOEXCEPT {
  return mi_subproc_stats_get_json(mi_subproc_current(), buf_size, buf);
}
TESSALLOC_MI char *mi_heap_stats_get_json(mi_heap_t *heap, size_t buf_size, char *buf) TESSALLOC_MI_NOEXCEPT {
  mi_stats_t stats;
  mi_stats_init(&stats);
  return mi_heap_stats_get(heap, &stats) ? mi_stats_as_json(&stats, buf_size, buf) : NULL;
}

/* ---- To be read: tessalloc's lines ---- */

TESSALLOC_MI void mi_heap_stats_print_out(mi_heap_t *heap, mi_output_fun *out, void *arg) TESSALLOC_MI_NOEXCEPT {
  struct tessalloc_mi_output pair = {out, arg};
  tessalloc_heap_stats_print(tessalloc_mi_heap(heap), out == NULL ? NULL : tessalloc_mi_output, &pair);
}
TESSALLOC_MI void mi_subproc_stats_print_out(mi_subproc_id_t subproc, mi_output_fun *out, void *arg) TESSALLOC_MI_NOEXCEPT {
  (void)subproc;
  mi_stats_print_out(out, arg);
}
TESSALLOC_MI int tessalloc_mi_print_heap(tessalloc_heap_t *heap, void *argument) {
  const struct tessalloc_mi_output *to = (const struct tessalloc_mi_output *)argument;
  char line[128];
  snprintf(line, sizeof line, "heap %llu %s: allocated_bytes %llu\n", (unsigned long long)tessalloc_heap_id(heap),
           tessalloc_heap_name(heap), (unsigned long long)tessalloc_heap_allocated_bytes(heap));
  if (to->out == NULL) {
    fputs(line, stderr);
  } else {
    to->out(line, to->arg);
  }
  return 1;
}
/* A line for each heap, which neither starts nor ends meanwhile; then the process's. */
TESSALLOC_MI void mi_subproc_heap_stats_print_out(mi_subproc_id_t subproc, mi_output_fun *out,
                                                  void *arg) TESSALLOC_MI_NOEXCEPT {
  struct tessalloc_mi_output to = {out, arg};
  tessalloc_visit_heaps(tessalloc_mi_print_heap, &to);
  mi_subproc_stats_print_out(subproc, out, arg);
}

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif
