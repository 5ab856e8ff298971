/* number.c - floating-point numbers as text. Whatever the locale has for a
   decimal point, JSON has a dot. */
#include "json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 17 };

struct decimal {
  char digits[MAX_DIGITS]; /* without zeros at the end */
  int count;
  int point; /* 0.digits times ten to the power of this */
};

/* Reads "1.5e+20" of snprintf into `decimal`, which is all zeros. */
static void parse(struct decimal *decimal, const char *text) {
  int zeros = 0;
  for (; *text != 'e'; text++) {
    if (*text < '0' || *text > '9')
      continue; /* the point */
    decimal->digits[decimal->count++] = *text;
    zeros = *text == '0' ? zeros + 1 : 0;
  }
  decimal->count -= zeros;
  decimal->point = (int)strtol(text + 1, NULL, 10) + 1;
}

/* Finds the shortest digits that read back as `value`. 15 digits tell any two
   short texts apart, 17 any two numbers; subnormal numbers may need fewer. */
static void shorten(struct decimal *decimal, double value) {
  char text[64];
  int digits = value < DBL_MIN ? 1 : DBL_DIG;
  do
    snprintf(text, sizeof text, "%.*e", digits - 1, value);
  while (strtod(text, NULL) != value && digits++ < MAX_DIGITS);
  parse(decimal, text);
}

static char *put(char *to, const char *from, int n) {
  memcpy(to, from, (size_t)n);
  return to + n;
}

static char *put_zeros(char *to, int n) {
  memset(to, '0', (size_t)n);
  return to + n;
}

static char *put_exponential(char *to, const struct decimal *decimal) {
  *to++ = decimal->digits[0];
  if (decimal->count > 1) {
    *to++ = '.';
    to = put(to, decimal->digits + 1, decimal->count - 1);
  }
  return to + sprintf(to, "e%+d", decimal->point - 1);
}

/* Writes the number as ECMA-262, Number::toString, does. */
static char *put_decimal(char *to, const struct decimal *decimal) {
  int count = decimal->count, point = decimal->point;
  if (point < -5 || point > 21)
    return put_exponential(to, decimal);
  if (point <= 0) {
    to = put(to, "0.", 2);
    to = put_zeros(to, -point);
    return put(to, decimal->digits, count);
  }
  if (count <= point) {
    to = put(to, decimal->digits, count);
    return put_zeros(to, point - count);
  }
  to = put(to, decimal->digits, point);
  *to++ = '.';
  return put(to, decimal->digits + point, count - point);
}

size_t orr_json_number(double value, char text[ORR_JSON_NUMBER]) {
  char *to = text;
  if (signbit(value))
    *to++ = '-';
  if (value == 0) {
    *to++ = '0';
  } else {
    struct decimal decimal = {0};
    shorten(&decimal, fabs(value));
    to = put_decimal(to, &decimal);
  }
  *to = '\0';
  return (size_t)(to - text);
}
