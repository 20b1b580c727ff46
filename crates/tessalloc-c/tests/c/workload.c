/* The workload: threads, steps a thread. */
#include "workload.h"

int main(int argc, char **argv) {
  check_live();
  int threads = argc > 1 ? atoi(argv[1]) : 4, steps = argc > 2 ? atoi(argv[2]) : 20000;
  work(99, steps);
  for (int round = 0; round < 3; round++) run_threads(threads, steps, 1000u * (unsigned)(round + 1));
  empty_shared();
  puts("ok");
}
