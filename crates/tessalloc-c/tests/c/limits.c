/* Ceilings of the process from C. */
#include "check.h"

#pragma weak tessalloc_set_limits
#pragma weak tessalloc_on_pressure

enum { MIB = 1 << 20 };

static volatile int told, told_beside, told_no_more;

static void on_pressure(void *argument, const tessalloc_pressure_t *pressure) {
  if (pressure->cause != TESSALLOC_PRESSURE_SOFT_LIMIT) return;
  CHECK(pressure->limit_bytes == 32u * MIB && pressure->held_bytes > pressure->limit_bytes);
  *(volatile int *)argument += 1;
}

int main(void) {
  check_live();
  CHECK(tessalloc_set_limits(UINT64_MAX, 0) == ERANGE);
  CHECK(tessalloc_set_limits(64u * MIB, UINT64_MAX) == ERANGE);

  CHECK(tessalloc_set_limits(0, 64u * MIB) == 0);
  static char *blocks[64];
  int count = 0;
  errno = 0;
  while (count < 64 && (blocks[count] = malloc(MIB)) != NULL) {
    memset(blocks[count], count + 1, MIB);
    count += 1;
  }
  CHECK(count >= 48 && count < 64 && errno == ENOMEM);
  errno = 0;
  CHECK(calloc(8, MIB) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(realloc(blocks[0], 32 * MIB) == NULL && errno == ENOMEM);
  void *aligned = &aligned;
  CHECK(posix_memalign(&aligned, 4096, 16 * MIB) == ENOMEM && aligned == &aligned);
  for (int i = 0; i < count; i++) CHECK(blocks[i][0] == (char)(i + 1) && blocks[i][MIB - 1] == (char)(i + 1));
  while (count > 0) free(blocks[--count]);
  void *whole = malloc(40 * MIB);
  CHECK(whole != NULL);
  free(whole);

  CHECK(tessalloc_set_limits(32u * MIB, 0) == 0);
  CHECK(tessalloc_on_pressure(on_pressure, (void *)&told) == 1);
  const tessalloc_table_t *table = tessalloc_table_v1();
  CHECK(table->listen(on_pressure, (void *)&told_no_more, 1) == 1);
  CHECK(table->listen(on_pressure, (void *)&told_beside, 1) == 1);
  CHECK(table->listen(on_pressure, (void *)&told_beside, 1) == 1);
  CHECK(table->listen(on_pressure, (void *)&told_no_more, 0) == 1);
  CHECK(table->listen(on_pressure, (void *)&told_no_more, 0) == 1);
  while (count < 48) CHECK((blocks[count++] = malloc(MIB)) != NULL);
  for (int i = 0; i < 500 && told == 0; i++) usleep(20000);
  for (int i = 0; i < 500 && told_beside == 0; i++) usleep(20000);
  CHECK(told == 1 && told_beside == 1 && told_no_more == 0);
  CHECK(table->listen(on_pressure, (void *)&told_beside, 0) == 1);
  static int many[16];
  for (int i = 0; i < 15; i++) CHECK(table->listen(on_pressure, &many[i], 1) == 1);
  CHECK(table->listen(on_pressure, &many[15], 1) == 0);
  for (int i = 0; i < 15; i++) CHECK(table->listen(on_pressure, &many[i], 0) == 1);
  while (count > 0) free(blocks[--count]);
  CHECK(tessalloc_on_pressure(NULL, NULL) == 1);
  puts("ok");
  return 0;
}
