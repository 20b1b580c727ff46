/* Heap profiles as a C program sees them. With an argument: allocates what its profile at exit should show. */
#include "check.h"

#pragma weak tessalloc_profile_start
#pragma weak tessalloc_profile_stop
#pragma weak tessalloc_profile_is_on
#pragma weak tessalloc_profile_visit
#pragma weak tessalloc_profile_totals
#pragma weak tessalloc_profile_write
#pragma weak tessalloc_profile_dump
#pragma weak tessalloc_profile_set_unwinder
#pragma weak tessalloc_thread_totals

struct seen {
  uint64_t stacks, frames, bytes, count;
  uintptr_t first;
};

static size_t two_frames(uintptr_t *frames, size_t max, void *arg) {
  CHECK(max >= 2);
  frames[0] = *(uintptr_t *)arg;
  frames[1] = 0x7777;
  return 2;
}

static int look(const tessalloc_profile_stack_t *stack, void *arg) {
  struct seen *seen = arg;
  CHECK(stack->struct_bytes == sizeof *stack);
  if (seen->first != 0 && (stack->depth == 0 || stack->frames[0] != seen->first)) return 1;
  seen->stacks++;
  seen->frames += stack->depth;
  seen->bytes += stack->in_use.bytes;
  seen->count += stack->in_use.count;
  CHECK(stack->allocated.samples >= stack->in_use.samples);
  return 1;
}

static void count_bytes(const char *text, size_t bytes, void *arg) {
  CHECK(strlen(text) == bytes);
  *(size_t *)arg += bytes;
}

/* What deep code allocates has the code's call stack, if there is a way to take it. */
__attribute__((noinline)) static void *deep(int depth, size_t size) {
  void *volatile block = depth == 0 ? malloc(size) : deep(depth - 1, size);
  return block;
}

int main(int argc, char **argv) {
  check_live();
  if (argc > 1) {
    static void *blocks[1000];
    for (int i = 0; i < 1000; i++) blocks[i] = deep(5, (size_t)atoi(argv[1]));
    for (int i = 0; i < 500; i++) free(blocks[i]);
    puts("ok");
    return 0;
  }
  CHECK(!tessalloc_profile_is_on());
  CHECK(tessalloc_profile_start(0) == ERANGE && tessalloc_profile_start(UINT64_MAX) == ERANGE);
  uintptr_t frame = 0x5555;
  tessalloc_profile_set_unwinder(two_frames, &frame);
  CHECK(tessalloc_profile_start(1) == 0 && tessalloc_profile_is_on());
  void *blocks[3] = {malloc(100), calloc(10, 20), aligned_alloc(4096, 300000)};
  CHECK((uintptr_t)blocks[2] % 4096 == 0 && ((char *)blocks[1])[199] == 0);
  struct seen own = {.first = 0x5555};
  tessalloc_profile_visit(look, &own);
  CHECK(own.stacks == 1 && own.frames == 2 && own.count == 3 && own.bytes == 100 + 200 + 300000);
  blocks[0] = realloc(blocks[0], 5000);
  struct seen all = {0};
  tessalloc_profile_totals(look, &all);
  CHECK(all.count == 3 && all.bytes == 5000 + 200 + 300000);
  /* Exact to the byte while all come to the slow path. What is no sample has the size of its class. */
  uint64_t before, after;
  CHECK(tessalloc_profile_start(UINT64_C(1) << 40) == 0);
  free(malloc(777));
  tessalloc_thread_totals(&before, NULL);
  void *one = malloc(777);
  tessalloc_thread_totals(&after, NULL);
  CHECK(after - before == tessalloc_usable_size(one));
  free(one);
  tessalloc_profile_stop();
  tessalloc_profile_set_unwinder(NULL, NULL);
  size_t bytes = 0;
  tessalloc_profile_write(TESSALLOC_PROFILE_IN_USE, count_bytes, &bytes);
  CHECK(bytes > 200);
  CHECK(tessalloc_profile_dump(TESSALLOC_PROFILE_AT_PEAK, NULL) == EIO);
  CHECK(tessalloc_profile_dump(TESSALLOC_PROFILE_AT_PEAK, "/no/such/folder/file") == EIO);
  for (int i = 0; i < 3; i++) free(blocks[i]);
  all = (struct seen){0};
  tessalloc_profile_totals(look, &all);
  CHECK(all.count == 0 && all.bytes == 0);
  puts("ok");
  return 0;
}
