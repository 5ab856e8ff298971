/* values.c - what Lua's values are to MessagePack and JSON. Both codecs are
   built with it. Tables are read raw: metamethods play no part. */
#include "values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LIST "orrery.array"

void orr_push_null(lua_State *L) {
  lua_pushlightuserdata(L, NULL);
}

bool orr_is_null(lua_State *L, int index) {
  return lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL;
}

void orr_mark_list(lua_State *L) {
  luaL_newmetatable(L, LIST);
  lua_setmetatable(L, -2);
}

/* Returns whether orr_mark_list has marked the table at `index`. */
static bool is_marked(lua_State *L, int index) {
  if (!lua_getmetatable(L, index))
    return false;
  luaL_getmetatable(L, LIST);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

/* A border n is the length of a list when there are n pairs, all of them with
   integer keys from 1 to n. */
lua_Integer orr_list_length(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_Integer n = (lua_Integer)lua_rawlen(L, index), pairs = 0;
  if (n == 0 && !is_marked(L, index))
    return -1;
  bool list = true;
  lua_pushnil(L);
  while (list && lua_next(L, index)) {
    lua_pop(L, 1);
    lua_Integer key = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    list = key >= 1 && key <= n;
    pairs++;
    if (!list)
      lua_pop(L, 1);
  }
  return list && pairs == n ? n : -1;
}

/* Appends ".name", "[3]" or "[boolean]": where in its table a level stands. */
static void add_key(lua_State *L, luaL_Buffer *path,
                    const struct orr_level *level) {
  char text[64];
  if (level->key == 0) {
    snprintf(text, sizeof text, "[%lld]", (long long)level->item);
  } else if (lua_type(L, level->key) == LUA_TSTRING) {
    snprintf(text, sizeof text, ".%.60s", lua_tostring(L, level->key));
  } else if (lua_isinteger(L, level->key)) {
    snprintf(text, sizeof text, "[%lld]",
             (long long)lua_tointeger(L, level->key));
  } else {
    snprintf(text, sizeof text, "[%s]", luaL_typename(L, level->key));
  }
  luaL_addstring(path, text);
}

/* Pushes "script.lua:12: message.a[3]", the path from the outermost level to
   `level`. Of a deep one, the beginning tells enough. */
static void push_path(lua_State *L, const struct orr_level *level) {
  const struct orr_level *levels[ORR_MAX_DEPTH + 1];
  int n = 0;
  for (; level != NULL && level->table != 0 && n <= ORR_MAX_DEPTH;
       level = level->up)
    levels[n++] = level;
  luaL_Buffer path;
  luaL_buffinit(L, &path);
  luaL_where(L, level != NULL && level->table == 0 ? (int)level->item : 0);
  luaL_addvalue(&path);
  luaL_addstring(&path, "message");
  for (int i = n - 1; i >= 0 && i >= n - 10; i--)
    add_key(L, &path, levels[i]);
  if (n > 10)
    luaL_addstring(&path, "...");
  luaL_pushresult(&path);
}

int orr_value_error(lua_State *L, const struct orr_level *level,
                    const char *format, ...) {
  char text[200];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  push_path(L, level);
  lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), text);
  lua_error(L);
  __builtin_unreachable();
}

void orr_check_depth(lua_State *L, const struct orr_level *level, int depth,
                     int index) {
  if (depth < ORR_MAX_DEPTH)
    return;
  for (const struct orr_level *outer = level; outer != NULL; outer = outer->up)
    if (outer->table != 0 && lua_rawequal(L, outer->table, index))
      orr_value_error(L, level, "a table that contains itself cannot be sent");
  orr_value_error(L, level, "more than %d tables inside each other",
                  ORR_MAX_DEPTH);
}

/* core.array(t) -> t, marked as a list, so that it is one also when it is
   empty. Raises if t has another metatable. */
static int l_array(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (lua_getmetatable(L, 1)) {
    luaL_argcheck(L, (lua_pop(L, 1), is_marked(L, 1)), 1,
                  "a table with a metatable of its own");
    return 1;
  }
  orr_mark_list(L);
  return 1;
}

void orr_open_values(lua_State *L) {
  static const luaL_Reg functions[] = {{"array", l_array}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  orr_push_null(L);
  lua_setfield(L, -2, "null");
}
