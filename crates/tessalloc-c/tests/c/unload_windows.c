/* Libraries with a tessalloc each, loaded and freed many times on Windows, while a thread that allocated in them ends later.
 * Arguments: rounds, then the libraries. */
#include <windows.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(fact)                                                          \
  do {                                                                       \
    if (!(fact)) {                                                           \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #fact);              \
      exit(1);                                                               \
    }                                                                        \
  } while (0)

struct copy {
  int (*work)(uint64_t seed);
  void *(*keep)(size_t bytes);
  int (*release)(void *block, size_t bytes);
  void *mine;
  HANDLE has_allocated, may_end;
};

static DWORD WINAPI linger(void *argument) {
  struct copy *copy = argument;
  copy->mine = copy->keep(5000);
  SetEvent(copy->has_allocated);
  WaitForSingleObject(copy->may_end, INFINITE);
  CHECK(copy->release(copy->keep(300), 300) == 0);
  return 0;
}

int main(int argc, char **argv) {
  CHECK(argc > 2);
  for (int round = 0; round < atoi(argv[1]); round++) {
    HMODULE library = LoadLibraryA(argv[2 + round % (argc - 2)]);
    CHECK(library != NULL);
    struct copy copy = {(int (*)(uint64_t))GetProcAddress(library, "copy_work"), (void *(*)(size_t))GetProcAddress(library, "copy_keep"),
                        (int (*)(void *, size_t))GetProcAddress(library, "copy_release"), NULL, CreateEventA(NULL, FALSE, FALSE, NULL),
                        CreateEventA(NULL, FALSE, FALSE, NULL)};
    CHECK(copy.work && copy.keep && copy.release);
    HANDLE thread = CreateThread(NULL, 0, linger, &copy, 0, NULL);
    WaitForSingleObject(copy.has_allocated, INFINITE);
    CHECK(round % 16 != 0 || copy.work((uint64_t)round) == 0);
    CHECK(FreeLibrary(library));
    SetEvent(copy.may_end);
    WaitForSingleObject(thread, INFINITE); /* Its thread-local storage in the library ends, then its part of the allocator. */
    CHECK(copy.release(copy.mine, 5000) == 0);
    CloseHandle(thread);
    CloseHandle(copy.has_allocated);
    CloseHandle(copy.may_end);
  }
  puts("ok");
  return 0;
}
