/* Arenas: reserved and handed in, with heaps in them, and functions of the program's own. */
#include "check.h"
#include <sys/mman.h>

#define MIB ((size_t)1 << 20)
#define SLICE ((size_t)65536)

static _Alignas(65536) char memory[4 * MIB];

static tessalloc_arena_options_t options_of(uint32_t flags) {
  tessalloc_arena_options_t options;
  memset(&options, 0, sizeof options);
  options.struct_bytes = sizeof options;
  options.flags = flags;
  return options;
}

static tessalloc_heap_t *heap_in(tessalloc_arena_t *arena) {
  tessalloc_heap_options_t options;
  memset(&options, 0, sizeof options);
  options.struct_bytes = sizeof options;
  options.arena = arena;
  tessalloc_heap_t *heap = tessalloc_heap_new_with(&options);
  CHECK(heap != NULL);
  return heap;
}

static tessalloc_arena_info_t info_of(tessalloc_arena_t *arena) {
  tessalloc_arena_info_t info;
  info.struct_bytes = sizeof info;
  tessalloc_arena_info(arena, &info);
  CHECK(info.struct_bytes == sizeof info);
  return info;
}

static int count(const tessalloc_arena_info_t *info, void *argument) {
  CHECK(info->struct_bytes == sizeof *info && info->bytes >= SLICE);
  ++*(int *)argument;
  return 1;
}

static int stop(const tessalloc_arena_info_t *info, void *argument) {
  *(uint64_t *)argument = info->id;
  return 0;
}

static void test_reserve(void) {
  int before = 0;
  CHECK(tessalloc_arenas_visit(count, &before) == 1);
  tessalloc_arena_options_t options = options_of(TESSALLOC_ARENA_EXCLUSIVE | TESSALLOC_ARENA_NUMA_NODE);
  options.name = "textures";
  tessalloc_arena_t *arena = tessalloc_arena_reserve(16 * MIB, &options);
  CHECK(arena != NULL);
  size_t bytes = 0;
  char *start = (char *)tessalloc_arena_area(arena, &bytes);
  CHECK(bytes == 16 * MIB && (uintptr_t)start % tessalloc_arena_align() == 0 && tessalloc_arena_area(arena, NULL) == start);
  CHECK(tessalloc_arena_contains(arena, start) && tessalloc_arena_contains(arena, start + bytes - 1));
  CHECK(!tessalloc_arena_contains(arena, start - 1) && !tessalloc_arena_contains(arena, start + bytes));

  void *other = malloc(MIB);
  CHECK(other != NULL && !tessalloc_arena_contains(arena, other));
  tessalloc_heap_t *heap = heap_in(arena);
  void *block = tessalloc_heap_malloc(heap, MIB);
  CHECK(block != NULL && tessalloc_arena_contains(arena, block) && tessalloc_heap_of(block) == heap);
  memset(block, 1, MIB);
  CHECK((errno = 0, tessalloc_heap_malloc(heap, 17 * MIB) == NULL && errno == ENOMEM));

  tessalloc_arena_info_t info = info_of(arena);
  CHECK(info.flags == (TESSALLOC_ARENA_EXCLUSIVE | TESSALLOC_ARENA_NUMA_NODE) && info.numa_node == 0);
  CHECK(info.start == start && info.bytes == bytes && info.used_bytes == MIB && info.heaps == 1);
  CHECK(strcmp(info.name, "textures") == 0);
  uint64_t id = 0;
  int after = 0;
  CHECK(tessalloc_arenas_visit(count, &after) == 1 && after == before + 1);
  CHECK(tessalloc_arenas_visit(stop, &id) == 0 && id != 0);

  CHECK(tessalloc_arena_release(arena) == EBUSY);
  tessalloc_heap_delete(heap);
  CHECK(tessalloc_arena_release(arena) == EBUSY && info_of(arena).heaps == 0);
  free(block);
  CHECK(tessalloc_arena_release(arena) == 0 && tessalloc_is_ours(start) == 0);
  CHECK(tessalloc_arena_release(NULL) == 0);
  free(other);

  /* Without options: for everyone. */
  arena = tessalloc_arena_reserve(MIB + 1, NULL);
  CHECK(arena != NULL && info_of(arena).bytes == MIB + SLICE && info_of(arena).flags == 0);
  block = malloc(MIB / 2);
  CHECK(tessalloc_arena_contains(arena, block));
  CHECK(tessalloc_arena_release(arena) == EBUSY);
  free(block);
  CHECK(tessalloc_arena_release(arena) == 0);
}

/* What the arena's functions were asked for. */
static struct {
  size_t committed, purged, budget;
} asked;

static int commit(void *at, size_t bytes, void *user) {
  CHECK(user == &asked && (char *)at >= memory && (char *)at + bytes <= memory + sizeof memory && bytes % SLICE == 0);
  if (asked.committed - asked.purged + bytes > asked.budget) return TESSALLOC_COMMIT_REFUSED;
  asked.committed += bytes;
  memset(at, 0, bytes);
  return TESSALLOC_COMMIT_ZEROED;
}

static int purge(void *at, size_t bytes, void *user) {
  CHECK(user == &asked);
  asked.purged += bytes;
  memset(at, 0xdd, bytes);
  return 1;
}

static void test_functions(void) {
  tessalloc_arena_options_t options = options_of(TESSALLOC_ARENA_EXCLUSIVE);
  options.commit = commit;
  options.purge = purge;
  options.user = &asked;
  tessalloc_arena_t *arena = tessalloc_arena_manage(memory, sizeof memory, &options);
  CHECK(arena != NULL && tessalloc_arena_area(arena, NULL) == memory && asked.committed == 0);
  tessalloc_heap_t *heap = heap_in(arena);
  CHECK((errno = 0, tessalloc_heap_malloc(heap, MIB) == NULL && errno == ENOMEM));
  asked.budget = MIB;
  char *block = (char *)tessalloc_heap_calloc(heap, MIB, 1);
  CHECK(block != NULL && block[0] == 0 && block[MIB - 1] == 0 && asked.committed == MIB);
  CHECK(tessalloc_heap_malloc(heap, 1) == NULL);
  void *other = malloc(1); /* the default heap goes on */
  CHECK(other != NULL);
  free(other);
  tessalloc_heap_free(heap, block);
  tessalloc_purge();
  CHECK(asked.purged == MIB);
  CHECK(tessalloc_heap_malloc(heap, 1) != NULL && asked.committed == MIB + SLICE);
  tessalloc_heap_destroy(heap);
  CHECK(tessalloc_arena_release(arena) == 0);
  /* The memory is the program's: nobody touches it any more. */
  memset(memory, 0x5a, sizeof memory);
  free(malloc(8 * MIB));
  tessalloc_purge();
  for (size_t i = 0; i < sizeof memory; i++) CHECK(memory[i] == 0x5a);
}

/* Memory of which there are two mappings: what a block holds is seen in the other one. */
static void test_shared_memory(void) {
  int file = memfd_create("arena", 0);
  CHECK(file >= 0 && ftruncate(file, 4 * MIB) == 0);
  char *here = (char *)mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const char *there = (const char *)mmap(NULL, 4 * MIB, PROT_READ, MAP_SHARED, file, 0);
  CHECK(here != MAP_FAILED && there != MAP_FAILED);
  tessalloc_arena_options_t options =
      options_of(TESSALLOC_ARENA_EXCLUSIVE | TESSALLOC_ARENA_COMMITTED | TESSALLOC_ARENA_ZEROED);
  tessalloc_arena_t *arena = tessalloc_arena_manage(here, 4 * MIB, &options);
  CHECK(arena != NULL);
  tessalloc_heap_t *heap = heap_in(arena);
  char *text = tessalloc_heap_strdup(heap, "seen from both sides");
  CHECK(text != NULL && tessalloc_arena_contains(arena, text));
  CHECK(strcmp(there + (text - here), "seen from both sides") == 0);
  tessalloc_heap_destroy(heap);
  CHECK(tessalloc_arena_release(arena) == 0);
  munmap(here, 4 * MIB);
}

static void test_errors(void) {
  tessalloc_arena_options_t options = options_of(TESSALLOC_ARENA_COMMITTED | TESSALLOC_ARENA_EXCLUSIVE);
  CHECK((errno = 0, tessalloc_arena_reserve(0, NULL) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_arena_reserve(tessalloc_arena_bytes_max() + 1, NULL) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_arena_manage(NULL, MIB, &options) == NULL && errno == EINVAL));
  CHECK((errno = 0, tessalloc_arena_manage(memory, MIB, NULL) == NULL && errno == EINVAL)); /* neither committed nor anonymous */
  CHECK((errno = 0, tessalloc_arena_manage(memory + 1, tessalloc_arena_bytes_min(), &options) == NULL && errno == EINVAL));
  tessalloc_arena_t *arena = tessalloc_arena_manage(memory, MIB, &options);
  CHECK(arena != NULL);
  CHECK((errno = 0, tessalloc_arena_manage(memory, MIB, &options) == NULL && errno == EEXIST));
  CHECK(tessalloc_arena_release(arena) == 0);
  options.purge = purge; /* without a commit */
  CHECK((errno = 0, tessalloc_arena_manage(memory, MIB, &options) == NULL && errno == EINVAL));
  options.commit = commit;
  CHECK((errno = 0, tessalloc_arena_reserve(MIB, &options) == NULL && errno == EINVAL));
  options = options_of(1u << 20);
  CHECK((errno = 0, tessalloc_arena_reserve(MIB, &options) == NULL && errno == EINVAL));
  options = options_of(0);
  options.struct_bytes = 3;
  CHECK((errno = 0, tessalloc_arena_reserve(MIB, &options) == NULL && errno == EINVAL));
  options = options_of(TESSALLOC_ARENA_EXCLUSIVE);
  options.name = "\xff";
  CHECK((errno = 0, tessalloc_arena_reserve(MIB, &options) == NULL && errno == EINVAL));

  options = options_of(TESSALLOC_ARENA_EXCLUSIVE);
  tessalloc_arena_t *arenas[200];
  int made = 0;
  while ((errno = 0, arenas[made] = tessalloc_arena_reserve(MIB, &options)) != NULL) CHECK(++made < 200);
  CHECK(errno == EAGAIN && made == 128);
  while (made > 0) CHECK(tessalloc_arena_release(arenas[--made]) == 0);
}

int main(void) {
  check_live();
  test_reserve();
  test_functions();
  test_shared_memory();
  test_errors();
  puts("ok");
  return 0;
}
