/* The options as a C program sees them. Started with TESSALLOC_PURGE_DELAY=3s, TESSALLOC_MAX_WARNINGS=30, TESSALLOC_KEEP=many and
 * TESSALLOC_PURGE_DELY=1s. */
#include "check.h"
#include <strings.h>

#pragma weak tessalloc_option_count
#pragma weak tessalloc_option_name
#pragma weak tessalloc_option_find
#pragma weak tessalloc_option_get
#pragma weak tessalloc_option_set
#pragma weak tessalloc_option_set_text
#pragma weak tessalloc_option_info
#pragma weak tessalloc_options_print

/* The numbers of the header and what they stand for. */
static const struct {
  int option;
  const char *name;
  uint32_t unit;
} rows[] = {
    {TESSALLOC_OPTION_RESERVE, "TESSALLOC_RESERVE", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_PURGE_DELAY, "TESSALLOC_PURGE_DELAY", TESSALLOC_UNIT_MILLISECONDS},
    {TESSALLOC_OPTION_SCAVENGER, "TESSALLOC_SCAVENGER", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_MOVE_LARGE, "TESSALLOC_MOVE_LARGE", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_STATS, "TESSALLOC_STATS", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_VERBOSE, "TESSALLOC_VERBOSE", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_IDLE_DELAY, "TESSALLOC_IDLE_DELAY", TESSALLOC_UNIT_MILLISECONDS},
    {TESSALLOC_OPTION_KEEP, "TESSALLOC_KEEP", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_PURGE_HOLES, "TESSALLOC_PURGE_HOLES", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_THREAD_CACHE, "TESSALLOC_THREAD_CACHE", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_MAX_WARNINGS, "TESSALLOC_MAX_WARNINGS", TESSALLOC_UNIT_COUNT},
    {TESSALLOC_OPTION_SOFT_LIMIT, "TESSALLOC_SOFT_LIMIT", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_HARD_LIMIT, "TESSALLOC_HARD_LIMIT", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_PROFILE, "TESSALLOC_PROFILE", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_PROFILE_RATE, "TESSALLOC_PROFILE_RATE", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_PROFILE_PEAK, "TESSALLOC_PROFILE_PEAK", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_GUARDED_SAMPLE_RATE, "TESSALLOC_GUARDED_SAMPLE_RATE", TESSALLOC_UNIT_COUNT},
    {TESSALLOC_OPTION_GUARDED_MIN, "TESSALLOC_GUARDED_MIN", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_GUARDED_MAX, "TESSALLOC_GUARDED_MAX", TESSALLOC_UNIT_BYTES},
    {TESSALLOC_OPTION_GUARDED_PRECISE, "TESSALLOC_GUARDED_PRECISE", TESSALLOC_UNIT_SWITCH},
    {TESSALLOC_OPTION_GUARDED_SAMPLE_SEED, "TESSALLOC_GUARDED_SAMPLE_SEED", TESSALLOC_UNIT_COUNT},
};

static tessalloc_option_info_t info_of(int option) {
  tessalloc_option_info_t info;
  memset(&info, 0xff, sizeof info);
  info.struct_bytes = sizeof info;
  CHECK(tessalloc_option_info(option, &info) == 0);
  CHECK(info.struct_bytes == sizeof info && info.padding == 0);
  return info;
}

static void check_table(void) {
  CHECK(tessalloc_option_count() == (int)(sizeof rows / sizeof *rows));
  for (int i = 0; i < tessalloc_option_count(); i++) {
    CHECK(rows[i].option == i);
    CHECK(strcmp(tessalloc_option_name(i), rows[i].name) == 0);
    CHECK(tessalloc_option_find(rows[i].name) == i);
    CHECK(tessalloc_option_find(rows[i].name + strlen("TESSALLOC_")) == i);
    char lower[64];
    for (size_t at = 0; at <= strlen(rows[i].name); at++) lower[at] = (char)(rows[i].name[at] | (rows[i].name[at] >= 'A' && rows[i].name[at] <= 'Z' ? 32 : 0));
    CHECK(tessalloc_option_find(lower) == i);
    tessalloc_option_info_t info = info_of(i);
    CHECK(info.unit == rows[i].unit);
    CHECK(strcmp(info.name, rows[i].name) == 0 && strlen(info.doc) > 20);
    CHECK(info.least <= info.default_value && info.default_value <= info.most);
    CHECK(info.value == tessalloc_option_get(i));
  }
}

static void check_what_is_not_there(void) {
  const int numbers[] = {-1, tessalloc_option_count(), 1 << 30};
  for (int i = 0; i < 3; i++) {
    tessalloc_option_info_t info = {.struct_bytes = sizeof info};
    CHECK(tessalloc_option_name(numbers[i]) == NULL);
    CHECK(tessalloc_option_get(numbers[i]) == 0);
    CHECK(tessalloc_option_set(numbers[i], 0) == EINVAL);
    CHECK(tessalloc_option_set_text(numbers[i], "0") == EINVAL);
    CHECK(tessalloc_option_info(numbers[i], &info) == EINVAL);
  }
  CHECK(tessalloc_option_find(NULL) == -1 && tessalloc_option_find("") == -1 && tessalloc_option_find("TESSALLOC_NO") == -1);
}

static void check_setting(void) {
  const int idle = TESSALLOC_OPTION_IDLE_DELAY, keep = TESSALLOC_OPTION_KEEP;
  CHECK(info_of(idle).source == TESSALLOC_SOURCE_DEFAULT && tessalloc_option_get(idle) == 1000);
  errno = 77;
  CHECK(tessalloc_option_set(idle, 249) == ERANGE && tessalloc_option_get(idle) == 1000);
  CHECK(tessalloc_option_set(idle, 250) == 0 && tessalloc_option_get(idle) == 250);
  CHECK(tessalloc_option_set(idle, 3600000) == 0 && tessalloc_option_get(idle) == 3600000);
  CHECK(tessalloc_option_set(idle, 3600001) == ERANGE && tessalloc_option_get(idle) == 3600000);
  CHECK(tessalloc_option_set(idle, UINT64_MAX) == ERANGE && tessalloc_option_get(idle) == 3600000);
  CHECK(info_of(idle).source == TESSALLOC_SOURCE_SET);
  CHECK(tessalloc_option_set_text(keep, "64M") == 0 && tessalloc_option_get(keep) == 64u << 20);
  CHECK(tessalloc_option_set_text(keep, " 2gib ") == 0 && tessalloc_option_get(keep) == 2ull << 30);
  CHECK(tessalloc_option_set_text(keep, "2s") == ERANGE && tessalloc_option_set_text(keep, "") == ERANGE);
  CHECK(tessalloc_option_set_text(keep, NULL) == ERANGE && tessalloc_option_set_text(keep, "\xff") == ERANGE);
  CHECK(tessalloc_option_set_text(keep, "2T") == ERANGE && tessalloc_option_get(keep) == 2ull << 30);
  CHECK(tessalloc_option_set_text(TESSALLOC_OPTION_STATS, "yes") == 0 && tessalloc_option_get(TESSALLOC_OPTION_STATS) == 1);
  CHECK(errno == 77);
}

/* Before any constructor: maybe before the environment can be read, which then comes too late. */
static void set_early(void) {
  CHECK(tessalloc_option_set(TESSALLOC_OPTION_MAX_WARNINGS, 31) == 0);
}
__attribute__((section(".preinit_array"), used)) static void (*const early)(void) = set_early;

static void check_environment(void) {
  CHECK(tessalloc_option_get(TESSALLOC_OPTION_MAX_WARNINGS) == 31);
  CHECK(info_of(TESSALLOC_OPTION_MAX_WARNINGS).source == TESSALLOC_SOURCE_SET);
  const int delay = TESSALLOC_OPTION_PURGE_DELAY;
  CHECK(tessalloc_option_get(delay) == 3000 && info_of(delay).source == TESSALLOC_SOURCE_ENVIRONMENT);
  CHECK(info_of(delay).default_value == 10000);
  CHECK(tessalloc_option_get(TESSALLOC_OPTION_KEEP) == 1u << 20);
  CHECK(tessalloc_option_set(delay, 4000) == 0 && tessalloc_option_get(delay) == 4000);
}

/* A program of an older version has a shorter struct: nothing behind it is written. */
static void check_short_struct(void) {
  union {
    tessalloc_option_info_t info;
    unsigned char bytes[sizeof(tessalloc_option_info_t)];
  } out;
  memset(&out, 0xee, sizeof out);
  out.info.struct_bytes = 24;
  CHECK(tessalloc_option_info(TESSALLOC_OPTION_KEEP, &out.info) == 0);
  CHECK(out.info.struct_bytes == 24 && out.info.value == tessalloc_option_get(TESSALLOC_OPTION_KEEP));
  for (size_t i = 24; i < sizeof out; i++) CHECK(out.bytes[i] == 0xee);
}

int main(void) {
  check_live();
  check_environment();
  check_table();
  check_what_is_not_there();
  check_setting();
  check_short_struct();
  tessalloc_options_print();
  puts("ok");
}
