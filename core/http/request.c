/* request.c - the userdata orrery.http_request: the head of a request, and its
   body as it comes. */
#include "binding/binding.h"
#include "http.h"
#include "userdata.h"

#include <string.h>

static void push_method(lua_State *L, struct orr_exchange *x) {
  lua_pushlstring(L, x->bytes + x->method, x->method_length);
}

static void push_url(lua_State *L, struct orr_exchange *x) {
  lua_pushlstring(L, x->bytes + x->url, x->url_length);
}

static void push_version(lua_State *L, struct orr_exchange *x) {
  lua_pushstring(L, x->http_minor == 0 ? "1.0" : "1.1");
}

/* Pushes a table of the headers, which is made once. The stack has the object
   at index 1, and the name of the property at 2. */
static void push_once(lua_State *L, const struct orr_exchange *x,
                      void (*push)(lua_State *, const char *,
                                   const struct orr_http_field *, size_t)) {
  push(L, x->bytes, x->fields, x->count);
  orr_push_fields(L, 1);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

static void push_headers(lua_State *L, struct orr_exchange *x) {
  push_once(L, x, orr_http_push_headers);
}

static void push_raw_headers(lua_State *L, struct orr_exchange *x) {
  push_once(L, x, orr_push_raw_headers);
}

/* Trailers are the request's own fields once they have come. */
static void push_none(lua_State *L, struct orr_exchange *x) {
  (void)x;
  lua_newtable(L);
}

static void push_aborted(lua_State *L, struct orr_exchange *x) {
  lua_pushboolean(L, x->aborted);
}

static void push_complete(lua_State *L, struct orr_exchange *x) {
  lua_pushboolean(L, x->complete);
}

static const struct orr_property properties[] = {
    {"method", push_method},           {"url", push_url},
    {"headers", push_headers},         {"http_version", push_version},
    {"raw_headers", push_raw_headers}, {"trailers", push_none},
    {"raw_trailers", push_none},       {"aborted", push_aborted},
    {"complete", push_complete},       {NULL, NULL},
};

/* object.key = value */
static int m_newindex(lua_State *L) {
  ((struct orr_exchange *)lua_touserdata(L, 1))->seen_request = true;
  orr_push_fields(L, 1);
  lua_insert(L, 2);
  lua_rawset(L, 2);
  return 0;
}

/* request:want_(on) -> whether there are bytes or an end to take now. Says
   whether on_event("body", request) is to be told of more. */
static int m_want(lua_State *L) {
  struct orr_exchange *x = orr_check_request(L);
  x->wanted = lua_toboolean(L, 2);
  lua_pushboolean(L, x->body.length > 0 || x->complete || x->aborted ||
                         x->at == NULL);
  return 1;
}

/* request:take_() -> the bytes of the body that have come and were not taken,
   or nil; whether nothing is to come any more; whether that is so because it
   was cut off. */
static int m_take(lua_State *L) {
  struct orr_exchange *x = orr_check_request(L);
  bool cut = !x->complete && (x->aborted || x->at == NULL);
  if (x->body.length > 0) {
    lua_pushlstring(L, (const char *)x->body.data, x->body.length);
    bool was_full = x->body.length >= ORR_HIGH_WATER;
    orr_buffer_free(&x->body);
    if (was_full && x->at != NULL)
      orr_connection_touch(x->at, L);
  } else { /* what was left when the exchange was over, or nil */
    orr_push_fields(L, 1);
    lua_getfield(L, -1, "unread_");
    lua_pushnil(L);
    lua_setfield(L, -3, "unread_");
  }
  lua_pushboolean(L, x->complete || cut);
  lua_pushboolean(L, cut);
  return 3;
}

/* request:connection_() -> what stands for its connection, until "gone" is told
   of it: a light userdata; nil if it has gone. */
static int m_connection(lua_State *L) {
  struct orr_connection *c = orr_exchange_origin(orr_check_request(L));
  if (c == NULL)
    return 0;
  c->known = true;
  lua_pushlightuserdata(L, c);
  return 1;
}

/* native.connection_fd(connection) -> the number of its fd. `connection` must
   not have gone. */
static int l_connection_fd(lua_State *L) {
  luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
  const struct orr_connection *c = lua_touserdata(L, 1);
  lua_pushinteger(L, c->fd);
  return 1;
}

/* native.cut_connection(connection) - cuts it, with all that it has under way.
   It must not have gone. */
static int l_cut_connection(lua_State *L) {
  luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
  struct orr_connection *c = lua_touserdata(L, 1);
  orr_server_push(L, c->server, ORR_SELF);
  orr_connection_cut(c, L);
  return 0;
}

/* request:cut_() - cuts the connection. */
static int m_cut(lua_State *L) {
  struct orr_exchange *x = orr_check_request(L);
  if (x->at != NULL)
    orr_connection_cut(x->at, L);
  return 0;
}

void orr_open_http_request(lua_State *L) {
  static const luaL_Reg methods[] = {{"want_", m_want},
                                     {"take_", m_take},
                                     {"connection_", m_connection},
                                     {"cut_", m_cut},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"connection_fd", l_connection_fd},
                                       {"cut_connection", l_cut_connection},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  orr_open_class(L, ORR_HTTP_REQUEST, "request", methods, properties,
                 m_newindex);
}
