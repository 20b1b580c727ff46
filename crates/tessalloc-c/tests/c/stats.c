/* Statistics, queries by name, messages and errors. */
#include <stddef.h>
#include "check.h"

#pragma weak tessalloc_process_info
#pragma weak tessalloc_page_stats
#pragma weak tessalloc_thread_totals
#pragma weak tessalloc_ctl
#pragma weak tessalloc_stats_json
#pragma weak tessalloc_stats_print
#pragma weak tessalloc_process_print
#pragma weak tessalloc_set_output
#pragma weak tessalloc_set_on_error
#pragma weak tessalloc_heap_main
#pragma weak tessalloc_heap_new
#pragma weak tessalloc_heap_malloc
#pragma weak tessalloc_heap_clear
#pragma weak tessalloc_heap_delete
#pragma weak tessalloc_heap_destroy
#pragma weak tessalloc_heap_allocated_bytes
#pragma weak tessalloc_heap_stats
#pragma weak tessalloc_heap_page_stats
#pragma weak tessalloc_heap_stats_json
#pragma weak tessalloc_heap_stats_print

/* The structure as the first header had it: a program that was compiled with that one. */
typedef struct {
  uint32_t version, struct_bytes;
  uint64_t figures[15];
} first_stats_t;

static void an_older_structure_is_filled_as_far_as_it_goes(void) {
  struct {
    first_stats_t stats;
    uint64_t behind;
  } old = {.stats = {.struct_bytes = sizeof(first_stats_t)}, .behind = 0x5a5a5a5a5a5a5a5a};
  void *block = malloc(100000);
  tessalloc_stats((tessalloc_stats_t *)&old.stats);
  CHECK(old.stats.version == 2 && old.stats.struct_bytes == sizeof(first_stats_t));
  CHECK(old.behind == 0x5a5a5a5a5a5a5a5a);
  CHECK(offsetof(tessalloc_stats_t, allocated_peak_bytes) == sizeof(first_stats_t));
  tessalloc_stats_t stats = {.struct_bytes = sizeof stats};
  tessalloc_stats(&stats);
  CHECK(stats.struct_bytes == sizeof stats && stats.version == 2);
  CHECK(old.stats.figures[0] == stats.reserved_bytes && stats.reserved_bytes > 0);
  CHECK(old.stats.figures[10] == stats.large_blocks && stats.large_blocks >= 1);

  /* A program of a later header: what this library does not know stays untouched. */
  struct {
    tessalloc_stats_t stats;
    uint64_t later;
  } new = {.stats = {.struct_bytes = sizeof new}, .later = 0x5a5a5a5a5a5a5a5a};
  tessalloc_stats(&new.stats);
  CHECK(new.stats.struct_bytes == sizeof(tessalloc_stats_t) && new.later == 0x5a5a5a5a5a5a5a5a);

  /* No room for the head: nothing is written. */
  uint32_t head[2] = {77, 4};
  tessalloc_stats((tessalloc_stats_t *)head);
  CHECK(head[0] == 77 && head[1] == 4);
  free(block);
}

static void calls_of_the_system_add_up(void) {
  tessalloc_stats_t stats = {.struct_bytes = sizeof stats};
  tessalloc_stats(&stats);
  uint64_t sum = stats.purge_calls + stats.reserve_calls + stats.commit_calls + stats.release_calls + stats.remap_calls +
                 stats.renew_calls + stats.advise_calls;
  CHECK(sum == stats.os_calls && stats.reserve_calls >= 2 && stats.commit_calls >= 1);
}

struct seen {
  uint64_t classes, pages, last_bytes, used_of_4000;
};

static int see(const tessalloc_class_stats_t *class, void *arg) {
  struct seen *seen = arg;
  CHECK(class->struct_bytes >= sizeof *class && class->pages > 0 && class->block_bytes > seen->last_bytes);
  CHECK(class->blocks_used <= class->blocks_made && class->blocks_made <= class->blocks_fit);
  seen->last_bytes = class->block_bytes;
  seen->pages += class->pages;
  seen->classes++;
  if (class->block_bytes == tessalloc_good_size(4000)) seen->used_of_4000 = class->blocks_used;
  return 1;
}

static int stop(const tessalloc_class_stats_t *class, void *arg) {
  (void)class;
  ++*(int *)arg;
  return 0;
}

static void classes_are_shown(void) {
  void *blocks[100];
  for (int i = 0; i < 100; i++) blocks[i] = malloc(4000);
  tessalloc_page_stats_t pages = {.struct_bytes = sizeof pages};
  struct seen seen = {0};
  tessalloc_page_stats(&pages, see, &seen);
  tessalloc_stats_t stats = {.struct_bytes = sizeof stats};
  tessalloc_stats(&stats);
  CHECK(pages.version == 1 && seen.pages + pages.mixed_pages == stats.pages);
  /* The first few may lie in the slice that all sizes share. */
  CHECK(seen.used_of_4000 >= 90 && seen.used_of_4000 <= 120);
  int calls = 0;
  tessalloc_page_stats(NULL, stop, &calls);
  CHECK(calls == 1);
  for (int i = 0; i < 100; i++) free(blocks[i]);
}

static void heaps_have_figures_of_their_own(void) {
  tessalloc_heap_stats_t before = {.struct_bytes = sizeof before}, stats = {.struct_bytes = sizeof stats};
  tessalloc_heap_stats(tessalloc_heap_main(), &before);
  CHECK(before.version == 1 && before.struct_bytes == sizeof before && before.allocated_bytes > 0);
  tessalloc_heap_t *heap = tessalloc_heap_new();
  for (int i = 0; i < 100; i++) CHECK(tessalloc_heap_malloc(heap, 4000));
  CHECK(tessalloc_heap_malloc(heap, 1 << 20));
  tessalloc_heap_stats(heap, &stats);
  CHECK(stats.allocated_bytes == tessalloc_heap_allocated_bytes(heap) && stats.allocated_bytes >= (1 << 20) + 400000);
  CHECK(stats.allocated_peak_bytes >= stats.allocated_bytes && stats.threads == 1 && stats.malloc_slow_count > 0);
  CHECK(stats.allocated_total_bytes - stats.freed_total_bytes == stats.allocated_bytes);
  struct seen seen = {0};
  tessalloc_page_stats_t pages = {.struct_bytes = sizeof pages};
  tessalloc_heap_page_stats(heap, &pages, see, &seen);
  CHECK(seen.classes == 1 && seen.used_of_4000 >= 100 && pages.large_blocks == 1 && pages.large_bytes == 1 << 20);
  const uint64_t peak = stats.allocated_peak_bytes;
  tessalloc_heap_clear(heap);
  tessalloc_heap_stats(heap, &stats);
  CHECK(stats.allocated_bytes == 0 && stats.freed_total_bytes >= peak && stats.allocated_peak_bytes == peak);
  /* All of it was the heap's, nothing the default heap's. */
  tessalloc_heap_stats(tessalloc_heap_main(), &stats);
  CHECK(stats.allocated_bytes < before.allocated_bytes + (1 << 20));
  pages.struct_bytes = sizeof pages;
  tessalloc_heap_page_stats(tessalloc_heap_main(), &pages, NULL, NULL);
  CHECK(pages.mixed_pages >= 1);
  tessalloc_heap_destroy(heap);
}

static void the_process_is_known(void) {
  tessalloc_process_info_t info = {.struct_bytes = sizeof info};
  tessalloc_process_info(&info);
  CHECK(info.version == 1 && info.struct_bytes == sizeof info);
  size_t now = status_bytes("VmRSS:");
  CHECK(info.rss_bytes != TESSALLOC_UNKNOWN && info.rss_bytes < now + (8 << 20) && now < info.rss_bytes + (8 << 20));
  CHECK(info.rss_peak_bytes >= info.rss_bytes && info.commit_bytes > 0 && info.minor_faults > 0);
  CHECK(info.elapsed_us < 100 * 1000000ull && info.user_us < 100 * 1000000ull);
}

static void queries_have_errors(void) {
  uint64_t figure = 7, before;
  size_t bytes = sizeof figure;
  CHECK(tessalloc_ctl("reserved_bytes", &figure, &bytes, NULL, 0) == 0 && figure > 7);
  CHECK(tessalloc_ctl("process.rss_bytes", &figure, &bytes, NULL, 0) == 0 && figure > 4096);
  CHECK(tessalloc_ctl("class.64.block_bytes", &figure, &bytes, NULL, 0) == 0 && figure == 64);
  CHECK(tessalloc_ctl("class.65.block_bytes", &figure, &bytes, NULL, 0) == ENOENT);
  CHECK(tessalloc_ctl("reserved", &figure, &bytes, NULL, 0) == ENOENT);
  CHECK(tessalloc_ctl("\xff", &figure, &bytes, NULL, 0) == ENOENT);
  CHECK(tessalloc_ctl(NULL, &figure, &bytes, NULL, 0) == EINVAL);
  CHECK(tessalloc_ctl("reserved_bytes", &figure, NULL, NULL, 0) == EINVAL);
  bytes = 4;
  CHECK(tessalloc_ctl("reserved_bytes", &figure, &bytes, NULL, 0) == EINVAL);
  bytes = sizeof figure;
  CHECK(tessalloc_ctl("reserved_bytes", NULL, NULL, &figure, sizeof figure) == EPERM);
  CHECK(tessalloc_ctl("purge", NULL, NULL, &figure, sizeof figure) == EPERM);
  const char *option = "option.TESSALLOC_PURGE_DELAY";
  CHECK(tessalloc_ctl(option, &before, &bytes, NULL, 0) == 0);
  figure = 1234;
  CHECK(tessalloc_ctl(option, NULL, NULL, &figure, 4) == EINVAL);
  uint64_t swapped = 0;
  CHECK(tessalloc_ctl(option, &swapped, &bytes, &figure, sizeof figure) == 0 && swapped == before);
  CHECK(tessalloc_ctl(option, &swapped, &bytes, NULL, 0) == 0 && swapped == 1234);
  figure = UINT64_MAX;
  CHECK(tessalloc_ctl(option, NULL, NULL, &figure, sizeof figure) == ERANGE);
  CHECK(tessalloc_ctl(option, NULL, NULL, &before, sizeof before) == 0);
  free(malloc(20 << 20));
  CHECK(tessalloc_ctl("purge", &figure, &bytes, NULL, 0) == 0);
  CHECK(tessalloc_ctl("purge", NULL, NULL, NULL, 0) == 0);
}

static void *counts(void *arg) {
  (void)arg;
  uint64_t allocated, freed;
  tessalloc_thread_totals(&allocated, &freed);
  uint64_t begin = allocated;
  void *block = malloc(5 << 20);
  tessalloc_thread_totals(&allocated, NULL);
  CHECK(allocated - begin >= 5 << 20);
  free(block);
  tessalloc_thread_totals(NULL, &freed);
  CHECK(freed >= 5 << 20);
  return NULL;
}

static char text[1 << 16];
static size_t text_length;

static void collect(const char *piece, size_t bytes, void *arg) {
  CHECK(arg == text && strlen(piece) == bytes && text_length + bytes < sizeof text);
  free(malloc(bytes * 100));
  memcpy(text + text_length, piece, bytes + 1);
  text_length += bytes;
}

static void texts_come_by_the_function(void) {
  text_length = 0;
  tessalloc_stats_json(collect, text);
  CHECK(text[0] == '{' && text[text_length - 1] == '}' && strstr(text, "\"purged_bytes\":"));
  text_length = 0;
  tessalloc_stats_print(collect, text);
  CHECK(strstr(text, "committed_peak_bytes ") && text[text_length - 1] == '\n');
  text_length = 0;
  tessalloc_process_print(collect, text);
  CHECK(strncmp(text, "elapsed_us ", 11) == 0);
  text_length = 0;
  tessalloc_heap_t *heap = tessalloc_heap_new();
  tessalloc_heap_stats_json(heap, collect, text);
  CHECK(strncmp(text, "{\"name\":\"\",\"id\":", 16) == 0 && text[text_length - 1] == '}');
  text_length = 0;
  tessalloc_heap_stats_json(tessalloc_heap_main(), collect, text);
  CHECK(strncmp(text, "{\"name\":\"default\",\"id\":0,", 25) == 0);
  text_length = 0;
  tessalloc_heap_stats_print(heap, collect, text);
  CHECK(strncmp(text, "heap ", 5) == 0 && strstr(text, "freed_total_bytes "));
  tessalloc_heap_delete(heap);
  text_length = 0;
  tessalloc_set_output(collect, text);
  text_length = 0;
  tessalloc_process_print(NULL, NULL);
  tessalloc_set_output(NULL, NULL);
  CHECK(strstr(text, "rss_peak_bytes "));
}

/* Volatile: the C library declares malloc so that the compiler expects no call back from it. */
static volatile int errors, last_kind;
static volatile size_t last_bytes;

static void note(const tessalloc_error_t *error, void *arg) {
  CHECK(arg == &errors && error->struct_bytes >= sizeof *error && strstr(error->text, "tessalloc: "));
  for (size_t size = 1; size < 5000; size += 7) free(malloc(size));
  /* What it causes itself is not told. */
  CHECK(malloc(SIZE_MAX) == NULL);
  errors++;
  last_kind = error->kind;
  last_bytes = error->bytes;
}

static void refusals_are_told(void) {
  static volatile size_t huge = (size_t)PTRDIFF_MAX + 1;
  tessalloc_set_on_error(note, (void *)&errors);
  CHECK(malloc(huge) == NULL && errors == 1 && last_kind == TESSALLOC_ERROR_OVERFLOW && last_bytes == huge);
  CHECK(calloc(huge, 4) == NULL && errors == 2 && last_kind == TESSALLOC_ERROR_OVERFLOW && last_bytes == SIZE_MAX);
  CHECK(malloc((size_t)1 << 60) == NULL && errors == 3 && last_kind == TESSALLOC_ERROR_OUT_OF_MEMORY);
  CHECK(errno == ENOMEM);
  tessalloc_set_on_error(NULL, NULL);
  CHECK(malloc(huge) == NULL && errors == 3);
}

static void leave(const tessalloc_error_t *error, void *arg) {
  (void)arg;
  char *copy = malloc(strlen(error->text) + 1);
  strcpy(copy, error->text);
  printf("told: %d %s", error->kind, copy);
  fflush(stdout);
  _exit(7);
}

static void to_stdout(const char *piece, size_t bytes, void *arg) { fwrite(piece, 1, bytes, arg); }

int main(int count, char **arguments) {
  check_live();
  if (count > 1 && strcmp(arguments[1], "json") == 0) {
    for (int i = 0; i < 100; i++) CHECK(malloc(4000));
    tessalloc_stats_json(to_stdout, stdout);
    return 0;
  }
  if (count > 1) {
    tessalloc_set_on_error(leave, NULL);
    char *block = malloc(300000);
    if (strcmp(arguments[1], "foreign") == 0) free((void *)0x12345670);
    free(block);
    free(block);
  }
  an_older_structure_is_filled_as_far_as_it_goes();
  calls_of_the_system_add_up();
  classes_are_shown();
  heaps_have_figures_of_their_own();
  the_process_is_known();
  queries_have_errors();
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, counts, NULL) == 0 && pthread_join(thread, NULL) == 0);
  texts_come_by_the_function();
  refusals_are_told();
  puts("ok");
}
