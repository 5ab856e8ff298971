/* fuzz.h - what the fuzz targets share: reading the input, and failing.

   An input is a program for the target, whose bytes say what to do next. At its
   end it is all zeros. */
#ifndef ORR_FUZZ_H
#define ORR_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
      abort();                                                                 \
    }                                                                          \
  } while (0)

struct input {
  const uint8_t *at;
  size_t left;
};

static inline unsigned next_byte(struct input *input) {
  if (input->left == 0)
    return 0;
  input->left--;
  return *input->at++;
}

/* Takes up to `most` bytes, at *bytes; returns how many. */
static inline size_t next_bytes(struct input *input, size_t most,
                                const uint8_t **bytes) {
  size_t n = most < input->left ? most : input->left;
  *bytes = input->at;
  input->at += n;
  input->left -= n;
  return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
