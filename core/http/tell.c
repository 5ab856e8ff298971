/* tell.c - the functions of Lua's that a server calls. */
#include "server.h"

bool orr_server_push(lua_State *L, struct orr_http_server *server, int which) {
  if (lua_rawgeti(L, LUA_REGISTRYINDEX, server->refs[which]) != LUA_TNIL)
    return true;
  lua_pop(L, 1);
  return false;
}

static void tell(lua_State *L, struct orr_http_server *server, const char *name,
                 int count, bool gives) {
  int base = lua_gettop(L) - count;
  luaL_checkstack(L, 4, name);
  if (orr_server_push(L, server, ORR_ON_EVENT)) {
    lua_insert(L, base + 1);
    lua_pushstring(L, name);
    lua_insert(L, base + 2);
    if (gives)
      server->detached = -1;
    lua_call(L, count + 1, 0);
  }
  lua_settop(L, base);
}

void orr_server_tell(lua_State *L, struct orr_http_server *server,
                     const char *name, int count) {
  tell(L, server, name, count, false);
}

void orr_server_give(lua_State *L, struct orr_http_server *server,
                     const char *name, int count) {
  tell(L, server, name, count, true);
}

void orr_server_announce(lua_State *L, struct orr_http_server *server) {
  struct orr_connection *c = server->connections;
  if (!server->hears_connections)
    return;
  c->known = true;
  lua_pushlightuserdata(L, c);
  orr_server_tell(L, server, "connection", 1);
}

void orr_server_schedule(lua_State *L, struct orr_http_server *server) {
  if (server->scheduled || server->dirty == NULL)
    return;
  orr_server_tell(L, server, "changed", 0);
  server->scheduled = true; /* not before: there may be no memory to tell it */
}
