/* mend.c - mends texts that Node sends and jansson refuses. It is called with
   what did not parse, mostly garbage: it may change what is wrong anyway, and
   makes nothing wrong right. It tells strings from what is between them, and no
   more. */
#include "json.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* U+FDD0 to U+FDEF are characters that no text should contain: one of them
   stands for NUL. ESCAPE: bytes of "\uXXXX". */
enum { STAND_INS = 32, FIRST_STAND_IN = 0xfdd0, ESCAPE = 6 };

struct mender {
  const char *at, *end;
  char *to;
  char nul[ESCAPE + 1]; /* the escape that \u0000 becomes; "": none is free */
  bool changed;
};

static int hex(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns the code of the "\uXXXX" at `at`; -1 if there is none. */
static int escaped(const char *at, const char *end) {
  if (end - at < ESCAPE || at[0] != '\\' || at[1] != 'u')
    return -1;
  int code = 0;
  for (int i = 2; i < ESCAPE; i++) {
    int digit = hex(at[i]);
    if (digit < 0)
      return -1;
    code = code * 16 + digit;
  }
  return code;
}

/* Returns the code of the UTF-8 of a stand-in at `at`, or of a neighbour of
   those; -1 if there is none. */
static int stand_in(const char *at, const char *end) {
  if (end - at < 3 || memcmp(at, "\xef\xb7", 2) != 0)
    return -1;
  return 0xfdc0 + ((unsigned char)at[2] & 0x3f);
}

/* Returns the number, from 0, of a stand-in that the text does not contain; -1:
   it contains all. */
static int free_stand_in(const char *at, const char *end) {
  uint32_t used = 0;
  for (; at < end; at++) {
    int code = *at == '\\' ? escaped(at, end) : stand_in(at, end);
    if (code >= FIRST_STAND_IN && code < FIRST_STAND_IN + STAND_INS)
      used |= UINT32_C(1) << (code - FIRST_STAND_IN);
  }
  for (int i = 0; i < STAND_INS; i++)
    if ((used >> i & 1) == 0)
      return i;
  return -1;
}

/* Copies n bytes. */
static void copy(struct mender *mender, size_t n) {
  memcpy(mender->to, mender->at, n);
  mender->to += n;
  mender->at += n;
}

/* Puts `escape` in the place of the one that is here. */
static void replace(struct mender *mender, const char *escape) {
  memcpy(mender->to, escape, ESCAPE);
  mender->to += ESCAPE;
  mender->at += ESCAPE;
  mender->changed = true;
}

/* Copies the escape that is here, or what it has to be. */
static void mend_escape(struct mender *mender) {
  int code = escaped(mender->at, mender->end);
  if (code < 0) {
    copy(mender, mender->end - mender->at > 1 ? 2 : 1);
  } else if (code == 0 && mender->nul[0] != '\0') {
    replace(mender, mender->nul);
  } else if (code < 0xd800 || code > 0xdfff) {
    copy(mender, ESCAPE);
  } else {
    int next = escaped(mender->at + ESCAPE, mender->end);
    if (code < 0xdc00 && next >= 0xdc00 && next <= 0xdfff)
      copy(mender, (size_t)2 * ESCAPE);
    else
      replace(mender, "\\ufffd");
  }
}

/* Mends a string, from one quote to the other or to the end of the text. */
static void mend_string(struct mender *mender) {
  copy(mender, 1);
  while (mender->at < mender->end) {
    if (*mender->at == '\\') {
      mend_escape(mender);
      continue;
    }
    bool closed = *mender->at == '"';
    copy(mender, 1);
    if (closed)
      return;
  }
}

static bool is_number(char c) {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' ||
         c == 'e' || c == 'E';
}

/* Returns whether a number is an integer that 64 bits do not hold. */
static bool is_beyond(const char *text, size_t length) {
  const char *limit = "9223372036854775807";
  if (length > 0 && text[0] == '-') {
    limit = "9223372036854775808";
    text++;
    length--;
  }
  for (size_t i = 0; i < length; i++)
    if (text[i] < '0' || text[i] > '9')
      return false;
  return length > 19 || (length == 19 && memcmp(text, limit, 19) > 0);
}

static void mend_number(struct mender *mender) {
  const char *start = mender->at, *at = start;
  while (at < mender->end && is_number(*at))
    at++;
  copy(mender, (size_t)(at - start));
  if (!is_beyond(start, (size_t)(at - start)))
    return;
  memcpy(mender->to, ".0", 2);
  mender->to += 2;
  mender->changed = true;
}

static void mend_all(struct mender *mender) {
  while (mender->at < mender->end) {
    if (*mender->at == '"')
      mend_string(mender);
    else if (is_number(*mender->at))
      mend_number(mender);
    else
      copy(mender, 1);
  }
}

struct orr_json_mended orr_json_mend(const char *text, size_t length) {
  struct orr_json_mended mended = {NULL, 0, ""};
  /* Two bytes more for each 19 or more. */
  char *room = malloc(length + length / 8 + 2);
  if (room == NULL)
    return mended;
  struct mender mender = {text, text + length, room, "", false};
  int nul = free_stand_in(text, text + length);
  if (nul >= 0)
    snprintf(mender.nul, sizeof mender.nul, "\\u%04x", FIRST_STAND_IN + nul);
  mend_all(&mender);
  if (!mender.changed) {
    free(room);
    return mended;
  }
  mended.text = room;
  mended.length = (size_t)(mender.to - room);
  if (nul >= 0)
    snprintf(mended.nul, sizeof mended.nul, "\xef\xb7%c", 0x90 + nul);
  return mended;
}
