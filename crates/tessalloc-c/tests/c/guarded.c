/* Guarded blocks as a C program sees them. */
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

#pragma weak tessalloc_guarded_start
#pragma weak tessalloc_guarded_stop
#pragma weak tessalloc_guarded_is_on
#pragma weak tessalloc_guarded_options

/* The signal that ends a child which writes here; 0 if none does. */
static int signal_of_write(volatile char *at) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    *at = 1;
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int main(void) {
  check_live();
  tessalloc_guarded_options_t options = {.struct_bytes = sizeof options, .rate = 99};
  tessalloc_guarded_options(&options);
  CHECK(options.rate == 4000 && options.min_bytes == 0 && options.max_bytes == 1 << 30 && !options.precise);
  options = (tessalloc_guarded_options_t){.struct_bytes = 4};
  CHECK(tessalloc_guarded_start(&options) == EINVAL && !tessalloc_guarded_is_on());
  options = (tessalloc_guarded_options_t){.struct_bytes = sizeof options, .precise = 1, .rate = 1, .max_bytes = 5000};
  CHECK(tessalloc_guarded_start(&options) == 0 && tessalloc_guarded_is_on());

  char *block = malloc(24), *other = malloc(1000), *rough = calloc(1, 20), *large = malloc(5001);
  CHECK(tessalloc_usable_size(block) == 24 && tessalloc_usable_size(large) > 5001);
  CHECK((uintptr_t)block % 8 == 0 && (uintptr_t)rough % 16 == 0 && rough[19] == 0);
  CHECK(signal_of_write(block + 23) == 0 && signal_of_write(block + 24) == SIGSEGV);
  CHECK(signal_of_write(other + 999) == 0 && signal_of_write(other + 1000) == SIGSEGV);
  CHECK(signal_of_write(rough + 32) == SIGSEGV);
  block = realloc(block, 30);
  CHECK(tessalloc_usable_size(block) == 30);
  free(block);
  CHECK(signal_of_write(block) == SIGSEGV);

  tessalloc_guarded_options_t found = {.struct_bytes = sizeof found};
  tessalloc_guarded_options(&found);
  CHECK(memcmp(&found, &options, sizeof found) == 0);
  tessalloc_guarded_stop();
  block = malloc(1001);
  CHECK(tessalloc_usable_size(block) > 1001 && tessalloc_usable_size(other) == 1000);
  CHECK(tessalloc_guarded_start(NULL) == 0 && tessalloc_guarded_is_on());
  tessalloc_guarded_stop();
  free(block);
  free(other);
  free(rough);
  free(large);
  puts("ok");
  return 0;
}
