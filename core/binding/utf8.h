/* utf8.h - what is UTF-8 (RFC 3629, section 4): for both codecs. */
#ifndef ORR_UTF8_H
#define ORR_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Skips characters other than ASCII. Returns the first byte from `at` on that
   is ASCII or begins no character, or `end`. */
const uint8_t *orr_utf8_skip(const uint8_t *at, const uint8_t *end);

/* Returns whether all of it is UTF-8. An empty text is. */
bool orr_is_utf8(const uint8_t *text, size_t length);

#endif
