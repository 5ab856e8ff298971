/* binding.c - how the binding makes classes, checks arguments and answers Lua.
   It calls nothing of the other files. */
#include "binding.h"
#include "engine/names.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

void orr_class(lua_State *L, const char *name, const luaL_Reg *methods,
               const luaL_Reg *meta) {
  luaL_newmetatable(L, name);
  lua_pushvalue(L, -1); /* for orr_check_self, here and below */
  luaL_setfuncs(L, meta, 1);
  lua_newtable(L);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, methods, 1);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, false);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

void *orr_check_self(lua_State *L, const char *name) {
  void *self = lua_touserdata(L, 1);
  if (self == NULL || !lua_getmetatable(L, 1))
    return luaL_checkudata(L, 1, name);
  bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
  lua_pop(L, 1);
  return same ? self : luaL_checkudata(L, 1, name);
}

const char *orr_check_cstring(lua_State *L, int arg) {
  size_t length;
  const char *s = luaL_checklstring(L, arg, &length);
  luaL_argcheck(L, strlen(s) == length, arg, "contains a NUL byte");
  return s;
}

int orr_check_fd(lua_State *L, int arg) {
  lua_Integer n = luaL_checkinteger(L, arg);
  luaL_argcheck(L, n >= 0 && n <= INT_MAX, arg, "not an fd number");
  return (int)n;
}

/* The function of a part, with its functions and its table as upvalues. */
static int l_part(lua_State *L) {
  if (lua_isnil(L, lua_upvalueindex(2))) {
    lua_newtable(L);
    luaL_setfuncs(L, lua_touserdata(L, lua_upvalueindex(1)), 0);
    lua_replace(L, lua_upvalueindex(2));
  }
  lua_pushvalue(L, lua_upvalueindex(2));
  return 1;
}

void orr_add_part(lua_State *L, const char *name, const luaL_Reg *functions) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)functions);
  lua_pushnil(L);
  lua_pushcclosure(L, l_part, 2);
  lua_setfield(L, -2, name);
}

int orr_fail(lua_State *L, int error) {
  luaL_pushfail(L);
  lua_pushinteger(L, error);
  return 2;
}

void orr_add_names(lua_State *L, const char *field,
                   const struct orr_name *names) {
  int count = 0;
  while (names[count].name != NULL)
    count++;
  lua_createtable(L, 0, count);
  for (int i = 0; i < count; i++) {
    lua_pushinteger(L, names[i].number);
    lua_setfield(L, -2, names[i].name);
  }
  lua_setfield(L, -2, field);
}
