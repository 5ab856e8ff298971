/* server.c - the userdata orrery.http_server: connections in, requests out. */
#include "binding/binding.h"
#include "engine/io.h"
#include "userdata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOVE = 5 }; /* ms between two tries to give a connection away */

static struct orr_http_server *check_server(lua_State *L) {
  struct orr_http_server *server = orr_check_self(L, ORR_HTTP_SERVER);
  luaL_argcheck(L, server->poll != NULL, 1, "the server is closed");
  return server;
}

/* Returns an integer field of the table at index 1, from 0 to `max`. */
static lua_Integer setting(lua_State *L, const char *name, lua_Integer max) {
  lua_getfield(L, 1, name);
  lua_Integer value = luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  luaL_argcheck(L, value >= 0 && value <= max, 1, name);
  return value;
}

static void read_settings(lua_State *L, struct orr_http_server *server) {
  static const struct {
    const char *name;
    int kind;
  } times[] = {{"headers_timeout", ORR_HEAD},
               {"request_timeout", ORR_REQUEST},
               {"idle_timeout", ORR_IDLE},
               {"linger", ORR_LINGER}};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++)
    server->deadlines[times[i].kind].length =
        setting(L, times[i].name, INT32_MAX);
  server->deadlines[ORR_MOVE].length = MOVE;
  server->max_head = (uint32_t)setting(L, "max_header_size", INT32_MAX);
  server->max_requests =
      (uint32_t)setting(L, "max_requests_per_socket", INT32_MAX);
  server->max_pipelined = (uint32_t)setting(L, "max_pipelined", INT32_MAX);
  lua_getfield(L, 1, "announcement");
  size_t length;
  const char *text = luaL_checklstring(L, -1, &length);
  luaL_argcheck(L, length < sizeof server->keep_alive, 1, "announcement");
  memcpy(server->keep_alive, text, length + 1);
  lua_pop(L, 1);
}

static void drop_values(lua_State *L, struct orr_http_server *server) {
  for (int i = 0; i < ORR_VALUES; i++) {
    luaL_unref(L, LUA_REGISTRYINDEX, server->refs[i]);
    server->refs[i] = LUA_NOREF;
  }
}

/* Takes in a connection that the primary of a cluster has accepted. */
static void take(struct orr_taker *taker, int fd, void *context) {
  size_t before = offsetof(struct orr_http_server, taker);
  void *server = (char *)taker - before;
  orr_connection_take(server, context, fd);
}

/* native.server(settings, poller, on_request, on_event) -> orrery.http_server;
   nil, errno (EMFILE). `settings` has, in ms, headers_timeout, request_timeout,
   idle_timeout and linger (0: none); max_header_size, max_requests_per_socket
   (0: no limit), max_pipelined; and the headers that announce how long
   connections are kept, `announcement`. `poller` is the set that its sockets
   are watched in. on_request(request, response) is called with each request,
   on_event(name, …) with what happens later. */
static int l_server(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  struct orr_poll *poll = luaL_checkudata(L, 2, ORR_POLLER);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  lua_settop(L, 4);
  struct orr_http_server *server = lua_newuserdatauv(L, sizeof *server, 0);
  memset(server, 0, offsetof(struct orr_http_server, in));
  server->timer_fd = server->detached = -1;
  luaL_setmetatable(L, ORR_HTTP_SERVER);
  read_settings(L, server);
  for (int i = 0; i < ORR_VALUES; i++)
    server->refs[i] = LUA_NOREF;
  lua_pushvalue(L, 3);
  server->refs[ORR_ON_REQUEST] = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, 4);
  server->refs[ORR_ON_EVENT] = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_newtable(L);
  server->refs[ORR_LIVE] = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, 2);
  server->refs[ORR_POLL] = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, -1); /* as long as it is open, it is not collected */
  server->refs[ORR_SELF] = luaL_ref(L, LUA_REGISTRYINDEX);
  server->poll = poll;
  server->taker.take = take;
  server->load = &server->own_load;
  server->late = orr_connection_late;
  int rc = orr_deadlines_open(server);
  if (rc == 0)
    return 1;
  server->poll = NULL;
  drop_values(L, server);
  return orr_fail(L, -rc);
}

/* server:accept(n, most) -> how many connections have been taken in; an errno,
   if that is why there were no more (EAGAIN: none waits; EMFILE). Accepts from
   the listening socket n at most so many. */
static int m_accept(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  int n = orr_check_fd(L, 2);
  lua_Integer most = luaL_checkinteger(L, 3), count = 0;
  int rc = 0;
  for (; count < most && server->poll != NULL; count++) {
    rc = orr_accept(n, NULL, NULL);
    if (rc < 0)
      break;
    int fd = rc;
    rc = orr_connection_new(server, fd);
    if (rc < 0) {
      close(fd);
      break;
    }
    orr_server_announce(L, server);
  }
  lua_pushinteger(L, count);
  if (rc >= 0)
    return 1;
  lua_pushinteger(L, -rc);
  return 2;
}

/* server:take(fd, unread?) -> true; nil, errno. Takes in a connected socket,
   the number of whose fd this is, with bytes that were read from it already;
   unless that fails, it is the server's from now on. */
static int m_take(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  size_t length;
  const char *unread = luaL_optlstring(L, 3, "", &length);
  int rc = orr_connection_new(server, orr_check_fd(L, 2));
  if (rc < 0)
    return orr_fail(L, -rc);
  struct orr_connection *c = server->connections;
  if (length > 0) {
    orr_append(L, &c->in, unread, length);
    orr_connection_touch(c, L);
  }
  orr_server_announce(L, server);
  lua_pushboolean(L, true);
  return 1;
}

/* server:settle() - does what is due after on_event("changed"). While a
   connection is served, that is put off. If Lua raises, so does this, and what
   is left is due again. */
static int m_settle(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  struct orr_connection *c;
  int rc = LUA_OK;
  server->scheduled = false;
  while (rc == LUA_OK && server->serving == NULL &&
         (c = server->dirty) != NULL) {
    server->dirty = c->next_dirty;
    c->dirty = false;
    rc = orr_connection_settle(c, L);
  }
  if (rc == LUA_OK)
    return 0;
  orr_server_schedule(L, server);
  return lua_error(L);
}

/* server:listen_for(upgrade, connect, check_continue, client_error, connection)
   - says which of these events somebody listens to. */
static int m_listen_for(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  server->upgrades = lua_toboolean(L, 2);
  server->connects = lua_toboolean(L, 3);
  server->checks_continue = lua_toboolean(L, 4);
  server->hears_errors = lua_toboolean(L, 5);
  server->hears_connections = lua_toboolean(L, 6);
  return 0;
}

/* server:end_idle() - has each connection end that is between two requests, or
   has had none. */
static int m_end_idle(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  struct orr_connection *c = server->connections;
  for (; c != NULL; c = c->next)
    orr_connection_end_idle(c, L);
  return 0;
}

/* server:end_all() - cuts all connections. */
static int m_end_all(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  while (server->connections != NULL)
    orr_connection_cut(server->connections, L);
  return 0;
}

/* server:finish(on) - says whether each connection is to end with its next
   answer. */
static int m_finish(lua_State *L) {
  check_server(L)->closing = lua_toboolean(L, 2);
  return 0;
}

/* server:taker() -> light userdata: the struct orr_taker that takes connections
   for this server as long as it is open. */
static int m_taker(lua_State *L) {
  lua_pushlightuserdata(L, &check_server(L)->taker);
  return 1;
}

/* server:report(load) - counts there, in a struct orr_load that lasts, what the
   server has. Does nothing if it does so already, and raises if it counts in
   another one: what of that is its own is not known. */
static int m_report(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  luaL_checktype(L, 2, LUA_TLIGHTUSERDATA);
  struct orr_load *load = lua_touserdata(L, 2), *own = &server->own_load;
  if (server->load == load)
    return 0;
  luaL_argcheck(L, server->load == own, 2, "the server counts elsewhere");
  orr_load_add(&load->connections, (int)atomic_load(&own->connections));
  orr_load_add(&load->requests, (int)atomic_load(&own->requests));
  server->load = load;
  return 0;
}

/* server:give_to(giver?, service) - idle connections are given away from now on
   in place of being ended, by a struct orr_giver that lasts. */
static int m_give_to(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  server->giver = lua_touserdata(L, 2);
  server->service = (uint32_t)luaL_optinteger(L, 3, 0);
  return 0;
}

/* server:move(most) -> how many connections are going to be given away, of
   those that are between two requests: at most so many. */
static int m_move(lua_State *L) {
  struct orr_http_server *server = check_server(L);
  lua_Integer most = luaL_checkinteger(L, 2), count = 0;
  struct orr_connection *c = server->connections;
  for (; c != NULL && count < most && server->giver != NULL; c = c->next)
    count += orr_connection_move_idle(c, L);
  lua_pushinteger(L, count);
  return 1;
}

/* server:count() -> how many connections there are. */
static int m_count(lua_State *L) {
  struct orr_http_server *server = orr_check_self(L, ORR_HTTP_SERVER);
  lua_pushinteger(L, server->count);
  return 1;
}

/* server:close() - closes all, without a word to Lua. It may be called while a
   connection is served, so the memory of connections lasts as the server's. */
static int m_close(lua_State *L) {
  struct orr_http_server *server = luaL_checkudata(L, 1, ORR_HTTP_SERVER);
  if (server->poll == NULL)
    return 0;
  while (server->connections != NULL)
    orr_connection_cut(server->connections, NULL);
  while (server->dirty != NULL) {
    struct orr_connection *c = server->dirty;
    server->dirty = c->next_dirty;
    c->dirty = false;
    orr_connection_free(c);
  }
  orr_deadlines_close(server);
  server->poll = NULL;
  orr_http_fields_free(&server->fields);
  orr_buffer_free(&server->out);
  drop_values(L, server);
  return 0;
}

static int m_gc(lua_State *L) {
  m_close(L);
  struct orr_http_server *server = lua_touserdata(L, 1);
  while (server->spares != NULL) {
    struct orr_connection *c = server->spares;
    server->spares = c->next;
    free(c);
  }
  return 0;
}

void orr_open_http_server(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"accept", m_accept},     {"take", m_take},
      {"settle", m_settle},     {"listen_for", m_listen_for},
      {"end_idle", m_end_idle}, {"end_all", m_end_all},
      {"finish", m_finish},     {"count", m_count},
      {"taker", m_taker},       {"report", m_report},
      {"give_to", m_give_to},   {"move", m_move},
      {"close", m_close},       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"server", l_server}, {NULL, NULL}};
  orr_class(L, ORR_HTTP_SERVER, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
