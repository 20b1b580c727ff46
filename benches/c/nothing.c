// A function of another library that only returns: what a call costs before the library does anything.
void nothing(void *ignored) {
  (void)ignored;
}
