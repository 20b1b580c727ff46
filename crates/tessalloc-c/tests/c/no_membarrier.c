/* A seccomp filter that refuses membarrier (argument "errno") or also madvise and mremap ("more"), then the workload, a purge
 * of all threads' memory, and time for a background thread to meet the filter. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <stddef.h>
#include "workload.h"

static void refuse(int count, const long *calls) {
  struct sock_filter code[32];
  int length = 0;
  code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int i = 0; i < count; i++) {
    code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
  }
  code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {.len = (unsigned short)length, .filter = code};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  const long calls[] = {SYS_membarrier, SYS_madvise, SYS_mremap, SYS_mincore};
  refuse(strcmp(argv[1], "more") == 0 ? 4 : 1, calls);
  errno = 0;
  CHECK(syscall(SYS_membarrier, 0, 0, 0) == -1 && errno == EPERM);
  check_live();
  run_threads(6, 8000, 5);
  empty_shared();
  tessalloc_purge();
  void *blocks[400];
  for (int i = 0; i < 400; i++) CHECK(memset(blocks[i] = malloc(200000), 1, 200000));
  for (int i = 0; i < 400; i++) free(blocks[i]);
  usleep(1500000);
  run_threads(4, 5000, 50);
  empty_shared();
  puts("ok");
}
