/* values.h - a Lua state for the fuzz targets, and whether values are alike. */
#ifndef ORR_FUZZ_VALUES_H
#define ORR_FUZZ_VALUES_H

#include "fuzz.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

struct memory {
  size_t used, most; /* bytes; the most since it was set */
  long fail_after;   /* allocations, then they fail; -1: none does */
};

/* Makes a state with nothing in it, whose memory is counted and may fail. */
lua_State *open_state(struct memory *memory);

/* Calls run(test) as a Lua function. After `fail_after` allocations all others
   fail until it returns, by an error then; 0: none does, and no error is let
   pass. */
void run_in_state(lua_State *L, struct memory *memory, lua_CFunction run,
                  void *test, long fail_after);

/* Pushes a value that the input says how to build: also one that cannot be
   sent, or a table that contains itself. */
void push_value(lua_State *L, struct input *input);

/* Returns whether the values at two absolute indexes are the same: numbers by
   type and value, tables by their raw content, empty ones by being marked as
   lists. */
bool are_alike(lua_State *L, int a, int b);

#endif
