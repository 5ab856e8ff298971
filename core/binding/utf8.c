/* utf8.c - validates UTF-8. Both codecs are built with it; it knows no Lua. */
#include "utf8.h"

#include <string.h>

/* Returns whether `second` may follow `first`. After some first bytes fewer are
   allowed: the rest would be longer forms than needed, surrogates, or numbers
   beyond U+10FFFF. */
static bool may_follow(uint8_t first, uint8_t second) {
  switch (first) {
  case 0xe0:
    return second >= 0xa0;
  case 0xed:
    return second <= 0x9f;
  case 0xf0:
    return second >= 0x90;
  case 0xf4:
    return second <= 0x8f;
  default:
    return true;
  }
}

/* Returns how many bytes the character other than ASCII at `at` has; 0 if the
   bytes from there to `end` begin with none. */
static size_t measure(const uint8_t *at, const uint8_t *end) {
  uint8_t first = at[0];
  size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < size)
    return 0;
  for (size_t i = 1; i < size; i++)
    if ((at[i] & 0xc0) != 0x80)
      return 0;
  return may_follow(first, at[1]) ? size : 0;
}

const uint8_t *orr_utf8_skip(const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    size_t size = measure(at, end);
    if (size == 0)
      break;
    at += size;
  }
  return at;
}

enum { BLOCK = 128 }; /* bytes; compilers make a few wide ORs of one */

/* Returns the first byte that is not ASCII, or `end`. Most text is ASCII, so it
   looks at blocks, words and bytes, in this order. */
static const uint8_t *skip_ascii(const uint8_t *at, const uint8_t *end) {
  const uint64_t high = UINT64_C(0x8080808080808080);
  for (; end - at >= BLOCK; at += BLOCK) {
    uint8_t all = 0;
    for (size_t i = 0; i < BLOCK; i++)
      all |= at[i];
    if (all & 0x80)
      break;
  }
  for (; (size_t)(end - at) >= sizeof high; at += sizeof high) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    if (word & high)
      break;
  }
  while (at < end && *at < 0x80)
    at++;
  return at;
}

bool orr_is_utf8(const uint8_t *text, size_t length) {
  const uint8_t *at = text, *end = text + length, *next;
  while ((at = skip_ascii(at, end)) < end) {
    next = orr_utf8_skip(at, end);
    if (next == at)
      return false;
    at = next;
  }
  return true;
}
