// A C++ plug-in of a C program.
#include <new>
#include <string>
#include <vector>

extern "C" int plugin_run() {
  std::vector<std::string> words;
  for (int i = 0; i < 1000; i++) words.push_back(std::string(static_cast<std::size_t>(i), 'x'));
  volatile std::size_t huge = std::size_t{1} << 62;
  try {
    void *volatile block = operator new(huge);
    (void)block;
  } catch (const std::bad_alloc &) {
    return static_cast<int>(words.back().size());
  }
  return -1;
}
