// What a process costs that calls malloc once: prints its resident memory in KiB. Reads without allocating.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
  char *volatile p = malloc(100);
  if (p == NULL) return 1;
  memset(p, 1, 100);
  char text[8192];
  const int file = open("/proc/self/smaps_rollup", O_RDONLY);
  if (file < 0) return 1;
  const ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  if (length <= 0) return 1;
  text[length] = 0;
  const char *rss = strstr(text, "Rss:");
  if (rss == NULL) return 1;
  const int used = snprintf(text, sizeof text, "{\"rss_kib\":%ld}\n", strtol(rss + 4, NULL, 10));
  return write(1, text, (size_t)used) == used ? 0 : 1;
}
