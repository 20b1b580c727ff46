/* Operators new in a process without a C++ runtime: nothrow gives null, the throwing form says why it ends the process. */
#include "check.h"

extern void *_Znwm(size_t) __attribute__((weak));
extern void *_ZnwmRKSt9nothrow_t(size_t, const void *) __attribute__((weak));
extern void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t, size_t, const void *) __attribute__((weak));
extern void _ZdlPv(void *) __attribute__((weak));

int main(void) {
  check_live();
  volatile size_t huge = (size_t)1 << 62;
  char tag;
  CHECK(_Znwm && _ZnwmRKSt9nothrow_t && _ZnamSt11align_val_tRKSt9nothrow_t && _ZdlPv);
  _ZdlPv(_Znwm(100));
  _ZdlPv(_ZnwmRKSt9nothrow_t(100, &tag));
  CHECK(_ZnwmRKSt9nothrow_t(huge, &tag) == NULL);
  CHECK(_ZnamSt11align_val_tRKSt9nothrow_t(huge, 64, &tag) == NULL);
  puts("still here");
  fflush(stdout);
  _Znwm(huge);
  puts("new returned");
}
