/* Under mlockall everything accessible is in memory: that must stay near to what the program uses. */
#include <sys/mman.h>
#include <sys/resource.h>
#include "workload.h"

int main(int argc, char **argv) {
  int late = argc > 1 && !strcmp(argv[1], "late");
  if (late) run_threads(2, 3000, 9);
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    printf("not allowed to lock memory (errno %d)\n", errno);
    return 77;
  }
  check_live();
  run_threads(4, 8000, 3);
  empty_shared();
  for (int round = 0; round < 3; round++) {
    void *blocks[100];
    for (int i = 0; i < 100; i++) CHECK(memset(blocks[i] = malloc(300000), 1, 300000));
    for (int i = 0; i < 100; i++) free(blocks[i]);
    tessalloc_purge();
  }
  printf("resident at most %zu MiB\n", status_bytes("VmHWM:") >> 20);
  CHECK(status_bytes("VmHWM:") < (600u << 20));
  puts("ok");
}
