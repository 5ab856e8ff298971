/* json.h - the parts of the module orrery.json. Text is written straight from
   the Lua stack and read by jansson. */
#ifndef ORR_JSON_H
#define ORR_JSON_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

_Static_assert(sizeof(lua_Integer) == 8, "Orrery needs 64-bit Lua integers");

/* Add encode(value, name) and decode(string) to the module table on top. */
void orr_json_open_encode(lua_State *L);
void orr_json_open_decode(lua_State *L);

enum { ORR_JSON_NUMBER = 32 }; /* bytes that hold any number, and NUL */

/* Writes a finite number as JavaScript's String(value) does: the shortest text
   that reads back as the same number. Returns its length. */
size_t orr_json_number(double value, char text[ORR_JSON_NUMBER]);

/* A text that jansson has refused, changed so that it may take it. */
struct orr_json_mended {
  char *text; /* malloced; NULL: there was nothing to mend */
  size_t length;
  char nul[4]; /* what stands for NUL bytes in its strings; "": nothing does */
};

/* Mends what JSON.stringify writes and jansson refuses: halves of surrogate
   pairs become U+FFFD, integers beyond 64 bits become reals, and NUL, which
   jansson does not take in keys, a character that the text does not contain. */
struct orr_json_mended orr_json_mend(const char *text, size_t length);

#endif
