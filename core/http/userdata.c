/* userdata.c - the userdata of exchanges: see userdata.h. */
#include "userdata.h"
#include "binding/binding.h"

#include <string.h>

/* Upvalues of __index. */
enum { METHODS = 1, GETTERS, PROPERTIES, IS_REQUEST };

/* The metatables are in the registry by these addresses, too: a look-up by name
   would be one of a string. */
static const char request_key, response_key;

struct orr_exchange *orr_check_request(lua_State *L) {
  return orr_check_self(L, ORR_HTTP_REQUEST);
}

struct orr_exchange *orr_check_response(lua_State *L) {
  return *(struct orr_exchange **)orr_check_self(L, ORR_HTTP_RESPONSE);
}

void orr_push_fields(lua_State *L, int index) {
  if (lua_getiuservalue(L, index, ORR_FIELDS) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, index, ORR_FIELDS);
}

const char *orr_check_text(lua_State *L, int index, const char *what,
                           size_t *length) {
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_error(L, "%s must be a string, got %s", what, luaL_typename(L, index));
  return lua_tolstring(L, index, length);
}

void orr_append(lua_State *L, struct orr_buffer *buffer, const void *data,
                size_t length) {
  if (orr_buffer_append(buffer, data, length) < 0)
    luaL_error(L, "not enough memory");
}

/* object.key */
static int m_index(lua_State *L) {
  lua_settop(L, 2);
  if (lua_getiuservalue(L, 1, ORR_FIELDS) == LUA_TTABLE) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, 3) != LUA_TNIL)
      return 1;
  }
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(METHODS)) != LUA_TNIL)
    return 1;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(PROPERTIES)) == LUA_TLIGHTUSERDATA) {
    const struct orr_property *property = lua_touserdata(L, -1);
    void *self = lua_touserdata(L, 1);
    bool is_request = lua_toboolean(L, lua_upvalueindex(IS_REQUEST));
    property->push(L, is_request ? self : *(struct orr_exchange **)self);
    return 1;
  }
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(GETTERS)) == LUA_TNIL)
    return 1;
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* Pushes the metatable of a class, with __index. The stack has, from `base` on,
   the tables of methods and of getters. */
static void push_metatable(lua_State *L, const char *name, int base,
                           const struct orr_property *properties,
                           lua_CFunction newindex) {
  luaL_newmetatable(L, name);
  lua_pushvalue(L, base);
  lua_pushvalue(L, base + 1);
  lua_newtable(L);
  for (; properties->name != NULL; properties++) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)properties);
    lua_setfield(L, -2, properties->name);
  }
  bool is_request = strcmp(name, ORR_HTTP_REQUEST) == 0;
  lua_pushboolean(L, is_request);
  lua_pushcclosure(L, m_index, 4);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, newindex);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, false);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, is_request ? &request_key : &response_key);
}

void orr_open_class(lua_State *L, const char *name, const char *field,
                    const luaL_Reg *methods,
                    const struct orr_property *properties,
                    lua_CFunction newindex) {
  lua_newtable(L); /* the class that Lua gets */
  lua_newtable(L); /* methods */
  lua_newtable(L); /* getters */
  int base = lua_gettop(L) - 1;
  push_metatable(L, name, base, properties, newindex);
  lua_pushvalue(L, base);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, methods, 1);
  lua_pop(L, 1);
  lua_setfield(L, base - 1, "metatable");
  lua_setfield(L, base - 1, "getters");
  lua_setfield(L, base - 1, "methods");
  lua_setfield(L, -2, field);
}

/* Exchanges and their userdata -------------------------------------------- */

void *orr_push_request(lua_State *L, size_t size,
                       struct orr_http_server *server) {
  void *x = lua_newuserdatauv(L, size, ORR_ITS_SERVER);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &request_key);
  lua_setmetatable(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, server->refs[ORR_SELF]);
  lua_setiuservalue(L, -2, ORR_ITS_SERVER);
  return x;
}

void orr_exchange_hold(lua_State *L, struct orr_exchange *x) {
  if (orr_server_push(L, x->server, ORR_LIVE)) {
    lua_insert(L, -2);
    x->live = luaL_ref(L, -2);
  }
  lua_pop(L, 1);
}

void orr_exchange_push(lua_State *L, struct orr_exchange *x) {
  if (!orr_exchange_push_live(L, x, false))
    lua_pushnil(L);
  struct orr_exchange **response =
      lua_newuserdatauv(L, sizeof(void *), ORR_ITS_OTHER);
  *response = x;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &response_key);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -2); /* the request holds the exchange */
  lua_setiuservalue(L, -2, ORR_ITS_OTHER);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, ORR_ITS_OTHER);
}

void orr_exchange_let_go(lua_State *L, struct orr_exchange *x) {
  if (x->live == 0 || !orr_server_push(L, x->server, ORR_LIVE))
    return;
  luaL_unref(L, -1, x->live);
  x->live = 0;
  lua_pop(L, 1);
}

bool orr_exchange_push_live(lua_State *L, struct orr_exchange *x,
                            bool response) {
  if (x->live == 0 || !orr_server_push(L, x->server, ORR_LIVE))
    return false;
  bool found = lua_rawgeti(L, -1, x->live) == LUA_TUSERDATA;
  if (found && response) {
    lua_getiuservalue(L, -1, ORR_ITS_OTHER);
    lua_remove(L, -2);
    found = lua_isuserdata(L, -1);
  }
  lua_remove(L, -2);
  if (!found)
    lua_pop(L, 1);
  return found;
}
