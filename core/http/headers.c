/* headers.c - headers as the table that users see: one value for each name, in
   lower case. What several headers of one name are together is Node's rule (its
   documentation, message.headers). */
#include "http.h"

#include <stdbool.h>
#include <string.h>

enum { SHORT = 64 }; /* bytes of a name that need no buffer of Lua's */

/* Where on the stack the table is that is being made; behind it is one of lists
   for those names of which there are several values, or nil. */
enum { SEVERAL = 1 };

/* Tells whether only the first header of this name counts. */
static bool is_single(const char *name) {
  static const char *const singles[] = {"age",
                                        "authorization",
                                        "content-length",
                                        "content-type",
                                        "etag",
                                        "expires",
                                        "from",
                                        "host",
                                        "if-modified-since",
                                        "if-unmodified-since",
                                        "last-modified",
                                        "location",
                                        "max-forwards",
                                        "proxy-authorization",
                                        "referer",
                                        "retry-after",
                                        "server",
                                        "user-agent"};
  for (size_t i = 0; i < sizeof singles / sizeof *singles; i++)
    if (strcmp(name, singles[i]) == 0)
      return true;
  return false;
}

/* Pushes a name in lower case. */
static const char *push_name(lua_State *L, const char *name, size_t length) {
  char text[SHORT];
  luaL_Buffer buffer;
  bool is_short = length <= SHORT;
  char *lower = is_short ? text : luaL_buffinitsize(L, &buffer, length);
  for (size_t i = 0; i < length; i++)
    lower[i] =
        (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
  if (is_short)
    lua_pushlstring(L, lower, length);
  else
    luaL_pushresultsize(&buffer, length);
  return lua_tostring(L, -1);
}

/* Appends the value on top to the list below it, and pops both. */
static void append(lua_State *L) {
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

/* Pushes the list of values of the name at index `key`, whose first value is on
   top, in place of that. */
static void push_list(lua_State *L, int table, int key) {
  if (lua_isnil(L, table + SEVERAL)) {
    lua_newtable(L);
    lua_replace(L, table + SEVERAL);
  }
  lua_pushvalue(L, key);
  if (lua_rawget(L, table + SEVERAL) == LUA_TTABLE) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_createtable(L, 2, 0);
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, key);
  lua_pushvalue(L, -2);
  lua_rawset(L, table + SEVERAL);
}

/* Adds a header to the table at index `table`. */
static void add(lua_State *L, int table, const char *name, size_t name_length,
                const char *value, size_t length) {
  const char *lower = push_name(L, name, name_length);
  int key = lua_gettop(L);
  bool is_cookie = strcmp(lower, "set-cookie") == 0;
  lua_pushvalue(L, key);
  if (lua_rawget(L, table) == LUA_TNIL) {
    lua_settop(L, key);
    if (is_cookie)
      lua_createtable(L, 1, 0);
    lua_pushlstring(L, value, length);
    if (is_cookie)
      lua_rawseti(L, -2, 1);
    lua_rawset(L, table);
    return;
  }
  if (is_cookie || !is_single(lower)) {
    if (!is_cookie)
      push_list(L, table, key);
    lua_pushlstring(L, value, length);
    append(L);
  }
  lua_settop(L, key - 1);
}

/* Pushes the strings of the list on top as one. */
static void push_joined(lua_State *L, const char *separator) {
  int list = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (lua_Integer i = 1; i <= count; i++) {
    if (i > 1)
      luaL_addstring(&buffer, separator);
    lua_rawgeti(L, list, i);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
}

/* Begins a table: returns its index. */
static int begin(lua_State *L, int count) {
  luaL_checkstack(L, 12, "headers");
  lua_createtable(L, 0, count);
  lua_pushnil(L);
  return lua_gettop(L) - 1;
}

/* Joins what has several values, and leaves the table on top. */
static void finish(lua_State *L, int table) {
  if (lua_istable(L, table + SEVERAL)) {
    lua_pushnil(L);
    while (lua_next(L, table + SEVERAL) != 0) {
      bool is_cookie = strcmp(lua_tostring(L, -2), "cookie") == 0;
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      push_joined(L, is_cookie ? "; " : ", ");
      lua_remove(L, -2);
      lua_rawset(L, table);
    }
  }
  lua_settop(L, table);
}

void orr_http_push_headers(lua_State *L, const char *bytes,
                           const struct orr_http_field *fields, size_t count) {
  int table = begin(L, (int)count);
  for (size_t i = 0; i < count; i++)
    add(L, table, bytes + fields[i].name, fields[i].name_length,
        bytes + fields[i].value, fields[i].value_length);
  finish(L, table);
}

void orr_push_raw_headers(lua_State *L, const char *bytes,
                          const struct orr_http_field *fields, size_t count) {
  lua_createtable(L, (int)count * 2, 0);
  for (size_t i = 0; i < count; i++) {
    lua_pushlstring(L, bytes + fields[i].name, fields[i].name_length);
    lua_rawseti(L, -2, (lua_Integer)i * 2 + 1);
    lua_pushlstring(L, bytes + fields[i].value, fields[i].value_length);
    lua_rawseti(L, -2, (lua_Integer)i * 2 + 2);
  }
}

/* http.headers(raw_headers) -> a table of the values by name, in lower case.
   `raw_headers` is a list: name, value, name, value … Several values of a name
   are joined by ", ", those of cookie by "; "; of set-cookie there is always a
   list; of what makes sense once only, the first counts. */
static int l_headers(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
  int table = begin(L, (int)(count / 2));
  for (lua_Integer i = 1; i < count; i += 2) {
    size_t name_length, length;
    if (lua_rawgeti(L, 1, i) != LUA_TSTRING ||
        lua_rawgeti(L, 1, i + 1) != LUA_TSTRING)
      return luaL_argerror(L, 1, "not a list of names and values");
    const char *name = lua_tolstring(L, -2, &name_length);
    const char *value = lua_tolstring(L, -1, &length);
    add(L, table, name, name_length, value, length);
    lua_settop(L, table + SEVERAL);
  }
  finish(L, table);
  return 1;
}

void orr_http_open_headers(lua_State *L) {
  static const luaL_Reg functions[] = {{"headers", l_headers}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
