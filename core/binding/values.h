/* values.h - what Lua's values are to MessagePack and JSON: which tables are
   lists, what null is, where in a message a value stands. */
#ifndef ORR_VALUES_H
#define ORR_VALUES_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

enum {
  ORR_MAX_DEPTH = 100, /* tables inside each other */
  ORR_DEPTH_SLOTS = 6, /* stack slots that a level of a codec may use */
};

/* A table that an encoder is inside of, innermost first. The outermost level
   may be one without a table, which says whose line is to blame. */
struct orr_level {
  const struct orr_level *up;
  int table;        /* stack index; 0: none */
  int key;          /* stack index of the current key; 0: `item` is it */
  lua_Integer item; /* place in a list; without a table: level of luaL_where */
};

/* Pushes null, which stands in tables where nil cannot: light userdata NULL. */
void orr_push_null(lua_State *L);
bool orr_is_null(lua_State *L, int index);

/* Marks the table on top of the stack as a list, for it is empty. */
void orr_mark_list(lua_State *L);

/* How many items the table at `index` has where it is a list: marked as one, or
   not empty and with the keys 1 to n only. Else -1: a map. */
lua_Integer orr_list_length(lua_State *L, int index);

/* Raises "message.a[3]: " and the text: what is wrong with a value. */
int orr_value_error(lua_State *L, const struct orr_level *level,
                    const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

/* Raises where one more table below `level` would be too deep; names a table
   that contains itself. `depth` counts the levels; `index` is the new table. */
void orr_check_depth(lua_State *L, const struct orr_level *level, int depth,
                     int index);

/* Adds null and array(t) to the module table on top of the stack. */
void orr_open_values(lua_State *L);

#endif
