/* values.h - what Lua's values are to MessagePack and JSON: which tables are
   lists, what null is, and where in a message a value stands. */
#ifndef ORR_VALUES_H
#define ORR_VALUES_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

enum {
  ORR_MAX_DEPTH = 100, /* tables inside each other */
  ORR_DEPTH_SLOTS = 6, /* stack slots that a level of a codec may use */
};

/* A table that an encoder is inside of; `up` is the one around it. The
   outermost level may be one without a table, which says whose line an error
   begins with. */
struct orr_level {
  const struct orr_level *up;
  int table;        /* stack index; 0: none */
  int key;          /* stack index of the current key; 0: `item` is it */
  lua_Integer item; /* place in a list; without a table: level of luaL_where */
};

/* Pushes null, the light userdata NULL: a table can hold it, as it cannot
   nil. */
void orr_push_null(lua_State *L);

/* Returns whether the value at `index` is null. nil is not. */
bool orr_is_null(lua_State *L, int index);

/* Marks the table on top of the stack as a list: an empty one would be a
   map. */
void orr_mark_list(lua_State *L);

/* Returns how many items the table at `index` has if it is a list: all its keys
   are 1 to n, and it is not empty or is marked as a list. Otherwise it is a
   map, and -1 is returned. */
lua_Integer orr_list_length(lua_State *L, int index);

/* Raises "message.a[3]: ..." with the place of a value and the text, at most
   199 bytes, that says what is wrong with it. Does not return. */
int orr_value_error(lua_State *L, const struct orr_level *level,
                    const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

/* Raises if the table at `index` would be too deep inside of others; says so if
   a table contains itself. `depth` counts the tables around it; `level` is the
   innermost of them. */
void orr_check_depth(lua_State *L, const struct orr_level *level, int depth,
                     int index);

/* Adds null and array(t) to the module table on top of the stack. */
void orr_open_values(lua_State *L);

#endif
