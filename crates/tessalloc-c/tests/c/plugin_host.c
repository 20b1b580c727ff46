/* A C program, without libstdc++, that loads a C++ plug-in into a scope of its own. */
#include <dlfcn.h>
#include "check.h"

int main(int argc, char **argv) {
  check_live();
  CHECK(argc == 2 && dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv") == NULL);
  for (int round = 0; round < 3; round++) {
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!plugin) fprintf(stderr, "%s\n", dlerror());
    CHECK(plugin);
    int (*run)(void) = (int (*)(void))dlsym(plugin, "plugin_run");
    CHECK(run && run() == 999);
    dlclose(plugin);
  }
  puts("ok");
}
