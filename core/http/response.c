/* response.c - the userdata orrery.http_response. */
#include "binding/binding.h"
#include "fields.h"
#include "userdata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LONGEST = 19 }; /* digits of a length that fit into 64 bits */

static struct orr_exchange *check(lua_State *L) {
  return orr_check_response(L);
}

/* Properties -------------------------------------------------------------- */

static void push_status(lua_State *L, struct orr_exchange *x) {
  lua_pushinteger(L, x->status);
}

static void push_message(lua_State *L, struct orr_exchange *x) {
  if (x->reason.length > 0)
    lua_pushlstring(L, (const char *)x->reason.data, x->reason.length);
  else
    lua_pushstring(L, orr_status_text(x->status));
}

static void push_headers_sent(lua_State *L, struct orr_exchange *x) {
  lua_pushboolean(L, x->fixed);
}

static void push_finished(lua_State *L, struct orr_exchange *x) {
  lua_pushboolean(L, x->finished);
}

static void push_writable(lua_State *L, struct orr_exchange *x) {
  lua_pushboolean(L, !x->finished && x->at != NULL);
}

/* It is closed once its client has gone or has all of it. */
static void push_closed(lua_State *L, struct orr_exchange *x) {
  lua_pushboolean(L, x->at == NULL);
}

static void push_request(lua_State *L, struct orr_exchange *x) {
  (void)x;
  lua_getiuservalue(L, 1, ORR_ITS_OTHER);
}

static const struct orr_property properties[] = {
    {"status_code", push_status},
    {"status_message", push_message},
    {"headers_sent", push_headers_sent},
    {"finished", push_finished},
    {"writable", push_writable},
    {"closed", push_closed},
    {"req", push_request},
    {NULL, NULL},
};

static void set_status(lua_State *L, struct orr_exchange *x, int index) {
  int is_integer;
  lua_Integer status = lua_tointegerx(L, index, &is_integer);
  if (!is_integer || status < 200 || status > 999)
    luaL_error(L,
               "status_code must be an integer from 200 to 999, got %s "
               "(write_information sends those below)",
               luaL_tolstring(L, index, NULL));
  x->status = (uint16_t)status;
}

static void set_message(lua_State *L, struct orr_exchange *x, int index) {
  size_t length;
  const char *text = orr_check_text(L, index, "status_message", &length);
  for (size_t i = 0; i < length; i++)
    if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
      luaL_error(L, "status_message has a control character at position %d",
                 (int)i + 1);
  x->reason.length = 0;
  if (x->at != NULL)
    orr_append(L, &x->reason, text, length);
}

/* object.key = value. Raises if the head has it already. */
static int m_newindex(lua_State *L) {
  struct orr_exchange *x = *(struct orr_exchange **)lua_touserdata(L, 1);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  bool status = strcmp(key, "status_code") == 0;
  if (status || strcmp(key, "status_message") == 0) {
    if (x->fixed)
      return luaL_error(L, "%s: the head has been written already", key);
    if (status)
      set_status(L, x, 3);
    else
      set_message(L, x, 3);
    return 0;
  }
  x->seen_response = true;
  orr_push_fields(L, 1);
  lua_insert(L, 2);
  lua_rawset(L, 2);
  return 0;
}

/* Headers ----------------------------------------------------------------- */

static void check_open(lua_State *L, const struct orr_exchange *x,
                       const char *what) {
  if (x->fixed)
    luaL_error(L, "%s: the head has been written already", what);
}

/* Raises if a header that tells the length of the message says what cannot
   be. */
static void check_framing(lua_State *L, const char *name, size_t name_length,
                          const char *value, size_t length) {
  if (name_length == 14 && strncasecmp(name, "content-length", 14) == 0 &&
      (length == 0 || length > LONGEST ||
       strspn(value, "0123456789") != length ||
       strtoull(value, NULL, 10) > UINT64_C(1) << 53))
    luaL_error(L, "Content-Length must be a number of bytes, got '%s'", value);
  if (name_length == 17 && strncasecmp(name, "transfer-encoding", 17) == 0 &&
      strcasecmp(value, "chunked") != 0)
    luaL_error(L, "Transfer-Encoding can be chunked only, got '%s'", value);
}

static void add_record(lua_State *L, struct orr_field_sink *sink,
                       const char *name, size_t name_length, const char *value,
                       size_t length) {
  const char *old = NULL;
  size_t old_length = 0;
  check_framing(L, name, name_length, value, length);
  if (sink->buffer == NULL)
    return;
  if (name_length == 14 && strncasecmp(name, "content-length", 14) == 0 &&
      orr_headers_next(sink->buffer, NULL, name, 14, &old, &old_length) != NULL)
    luaL_error(L, "Content-Length can be given once only");
  if (orr_headers_add(sink->buffer, name, name_length, value, length) < 0)
    luaL_error(L, "not enough memory");
}

/* Returns the buffer that takes a header; NULL if the client has gone, for then
   nothing would free it. */
static struct orr_buffer *headers_of(struct orr_exchange *x) {
  return x->at == NULL ? NULL : &x->headers;
}

/* response:set_header(name, value) -> response. The value is a string, a number
   or a list of strings, which are a header each; it takes the place of what was
   set before. Raises for CR, LF, NUL and other control characters, and once the
   head is written. */
static int m_set_header(lua_State *L) {
  struct orr_exchange *x = check(L);
  check_open(L, x, "set_header");
  lua_settop(L, 3);
  struct orr_field_sink sink = {
      .add = add_record, .buffer = headers_of(x), .replaces = true};
  orr_field_add(L, &sink, 2, 3);
  lua_settop(L, 1);
  return 1;
}

/* response:get_header(name) -> what was set, as a string or a list of strings;
   nil. */
static int m_get_header(lua_State *L) {
  struct orr_exchange *x = check(L);
  size_t length, value_length = 0;
  const char *name = orr_check_text(L, 2, "get_header: the name", &length);
  const char *value = NULL;
  const char *at =
      orr_headers_next(&x->headers, NULL, name, length, &value, &value_length);
  if (at == NULL)
    return 0;
  lua_pushlstring(L, value, value_length);
  lua_Integer count = 1;
  while ((at = orr_headers_next(&x->headers, at, name, length, &value,
                                &value_length)) != NULL) {
    if (count == 1) {
      lua_newtable(L);
      lua_insert(L, -2);
      lua_rawseti(L, -2, 1);
    }
    lua_pushlstring(L, value, value_length);
    lua_rawseti(L, -2, ++count);
  }
  return 1;
}

/* response:remove_header(name). Raises once the head is written. */
static int m_remove_header(lua_State *L) {
  struct orr_exchange *x = check(L);
  check_open(L, x, "remove_header");
  size_t length;
  const char *name = orr_check_text(L, 2, "remove_header: the name", &length);
  orr_headers_remove(&x->headers, name, length);
  return 0;
}

/* response:write_head(status, message?, headers?) -> response. Sets all of
   these; the head is sent with the first of the body, or its end. Headers are a
   table by name, or a flat list of names and values. Raises if it was written
   already. */
static int m_write_head(lua_State *L) {
  struct orr_exchange *x = check(L);
  check_open(L, x, "write_head");
  set_status(L, x, 2);
  int headers = 3;
  if (lua_type(L, 3) == LUA_TSTRING) {
    set_message(L, x, 3);
    headers = 4;
  }
  if (!lua_isnoneornil(L, headers)) {
    bool list = lua_istable(L, headers) && luaL_len(L, headers) > 0;
    struct orr_field_sink sink = {
        .add = add_record, .buffer = headers_of(x), .replaces = !list};
    orr_field_add_all(L, &sink, headers);
  }
  x->fixed = true;
  lua_settop(L, 1);
  return 1;
}

/* What comes before the head and behind the body -------------------------- */

/* response:write_information(status, headers?) -> whether the client is there:
   an answer before the answer, 102 to 199 (RFC 9110, 15.2), at once. Raises for
   headers that say how long a body is. */
static int m_write_information(lua_State *L) {
  struct orr_exchange *x = check(L);
  lua_settop(L, 3);
  int is_integer;
  lua_Integer status = lua_tointegerx(L, 2, &is_integer);
  if (!is_integer || status < 102 || status > 199)
    return luaL_error(L,
                      "write_information: the status must be an integer from "
                      "102 to 199, got %s",
                      luaL_tolstring(L, 2, NULL));
  if (x->head_out)
    return luaL_error(L, "write_information: the head has been written");
  bool there = x->at != NULL && x->http_minor > 0;
  lua_pushboolean(L, there);
  if (!there)
    return 1;
  struct orr_buffer *lines = &x->information;
  struct orr_field_sink sink = {.add = orr_field_render_information,
                                .buffer = lines};
  lines->length = 0;
  size_t length;
  lua_pushfstring(L, "HTTP/1.1 %I %s\r\n", status,
                  orr_status_text((int)status));
  const char *line = lua_tolstring(L, -1, &length);
  orr_append(L, lines, line, length);
  if (!lua_isnoneornil(L, 3))
    orr_field_add_all(L, &sink, 3);
  orr_append(L, lines, "\r\n", 2);
  orr_append(L, orr_exchange_out(x), lines->data, lines->length);
  orr_connection_touch(x->at, L);
  lua_pushboolean(L, true);
  return 1;
}

/* response:write_continue() -> whether the client is there: it may send the
   body. */
static int m_write_continue(lua_State *L) {
  struct orr_exchange *x = check(L);
  lua_pushboolean(L, x->at != NULL && !x->head_out && x->http_minor > 0);
  if (!lua_toboolean(L, -1))
    return 1;
  if (orr_exchange_go_on(x) < 0)
    return luaL_error(L, "not enough memory");
  orr_connection_touch(x->at, L);
  return 1;
}

/* response:add_trailers(headers). They are sent behind a chunked body, and
   otherwise dropped. */
static int m_add_trailers(lua_State *L) {
  struct orr_exchange *x = check(L);
  struct orr_field_sink sink = {.add = orr_field_render_trailer,
                                .buffer =
                                    x->at == NULL ? NULL : &x->trailer_lines};
  orr_field_add_all(L, &sink, 2);
  return 0;
}

/* The body ---------------------------------------------------------------- */

/* Raises unless there is a callback, or nothing. */
static void check_callback(lua_State *L, int index, const char *what) {
  if (!lua_isnoneornil(L, index) && !lua_isfunction(L, index))
    luaL_error(L, "%s: the callback must be a function, got %s", what,
               luaL_typename(L, index));
}

/* Has a callback called when all that is queued has been sent, or cannot be. */
static void add_callback(lua_State *L, struct orr_exchange *x, int index) {
  if (lua_isnoneornil(L, index))
    return;
  x->seen_response = x->waits_flush = true;
  orr_push_fields(L, 1);
  luaL_getsubtable(L, -1, "callbacks_");
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, luaL_len(L, -2) + 1);
  lua_pop(L, 2);
}

/* Refuses a write: a method of Lua's tells whom it concerns. Returns false. */
static int refuse(lua_State *L, int callback) {
  lua_settop(L, callback);
  lua_getfield(L, 1, "refuse_");
  lua_pushvalue(L, 1);
  lua_pushvalue(L, callback);
  lua_call(L, 2, 0);
  lua_pushboolean(L, false);
  return 1;
}

static void render(lua_State *L, struct orr_exchange *x, int64_t length) {
  if (orr_exchange_render(x, length) < 0)
    luaL_error(L, "not enough memory");
}

/* Appends some of the body, as the head says that it comes. */
static void append_body(lua_State *L, struct orr_exchange *x, const char *data,
                        size_t length) {
  char line[24];
  if (length == 0 || x->framing == ORR_NO_BODY)
    return;
  if (x->framing == ORR_LENGTH) {
    if (length > x->left)
      luaL_error(L, "the body has %I bytes more than Content-Length says",
                 (lua_Integer)(length - x->left));
    x->left -= length;
  }
  struct orr_buffer *out = orr_exchange_out(x);
  bool chunked = x->framing == ORR_CHUNKED;
  if (chunked) {
    int n = snprintf(line, sizeof line, "%zx\r\n", length);
    orr_append(L, out, line, (size_t)n);
  }
  orr_append(L, out, data, length);
  if (chunked)
    orr_append(L, out, "\r\n", 2);
}

/* Sends early what is too much to be kept until the turn ends. Returns whether
   there is room for more. */
static bool send_some(lua_State *L, struct orr_exchange *x) {
  struct orr_connection *c = x->at;
  bool is_full = c->events & EPOLLOUT; /* the socket, when it was tried last */
  if (c->first == x && !is_full && orr_connection_queued(c) >= ORR_HIGH_WATER)
    orr_connection_send(c, L);
  if (x->at == NULL)
    return false;
  orr_connection_touch(c, L);
  size_t queued = c->first == x ? orr_connection_queued(c) : x->out.length;
  return queued < ORR_HIGH_WATER;
}

/* response:write(data, cb?) -> whether there is room for more: false, and
   `drain` follows; or the client has gone. Sends the head first. cb(err) is
   called when all has been sent. */
static int m_write(lua_State *L) {
  struct orr_exchange *x = check(L);
  size_t length;
  const char *data = orr_check_text(L, 2, "write: the data", &length);
  check_callback(L, 3, "write");
  if (x->finished || x->at == NULL)
    return refuse(L, 3);
  if (!x->head_out)
    render(L, x, -1);
  append_body(L, x, data, length);
  add_callback(L, x, 3);
  bool room = send_some(L, x);
  x->needs_drain = x->needs_drain || !room;
  lua_pushboolean(L, room);
  return 1;
}

/* Raises if the head says another length than the body is going to have. */
static void check_length(lua_State *L, const struct orr_exchange *x,
                         size_t length) {
  const char *value = NULL;
  size_t value_length = 0;
  uint64_t said = x->left;
  if (!x->head_out) {
    if (orr_exchange_is_coded(x) ||
        orr_headers_next(&x->headers, NULL, "content-length", 14, &value,
                         &value_length) == NULL)
      return;
    said = strtoull(value, NULL, 10);
  } else if (x->framing != ORR_LENGTH) {
    return;
  }
  if (said == length || x->is_head || x->status == 304 || x->status == 204)
    return;
  luaL_error(L, "finish: Content-Length says %I bytes more, and these are %I",
             (lua_Integer)said, (lua_Integer)length);
}

/* Ends the response. What nobody has read of a request that is complete can
   still be read. */
static void finished(lua_State *L, struct orr_exchange *x) {
  if (x->complete && x->body.length > 0) {
    lua_getiuservalue(L, 1, ORR_ITS_OTHER);
    orr_exchange_leave_body(x, L, -1);
    lua_pop(L, 1);
  }
  orr_exchange_finished(x, L);
}

/* response:finish(data?, cb?) - the end of the response; `data` is the last of
   its body. cb(err) is called when all has been sent. */
static int m_finish(lua_State *L) {
  struct orr_exchange *x = check(L);
  if (lua_isfunction(L, 2)) {
    lua_settop(L, 2);
    lua_pushnil(L);
    lua_insert(L, 2);
  }
  lua_settop(L, 3);
  size_t length = 0;
  check_callback(L, 3, "finish");
  const char *data = "";
  if (!lua_isnil(L, 2))
    data = orr_check_text(L, 2, "finish: the data", &length);
  if (x->finished || x->at == NULL)
    return refuse(L, 3);
  check_length(L, x, length);
  bool trails = x->trailer_lines.length > 0 && x->http_minor > 0;
  if (!x->head_out)
    render(L, x, trails ? -1 : (int64_t)length);
  append_body(L, x, data, length);
  if (x->framing == ORR_CHUNKED) {
    struct orr_buffer *out = orr_exchange_out(x);
    orr_append(L, out, "0\r\n", 3);
    orr_append(L, out, x->trailer_lines.data, x->trailer_lines.length);
    orr_append(L, out, "\r\n", 2);
  }
  add_callback(L, x, 3);
  finished(L, x);
  return 0;
}

/* response:fail_() -> whether the client has been told: with 500, unless the
   head is out; then the connection is cut. For a handler that has raised. */
static int m_fail(lua_State *L) {
  struct orr_exchange *x = check(L);
  lua_pushboolean(L, !x->head_out);
  if (x->finished || x->at == NULL)
    return 1;
  if (x->head_out) { /* what there is of an answer shows that it was begun */
    orr_connection_send(x->at, L);
    if (x->at != NULL)
      orr_connection_cut(x->at, L);
    return 1;
  }
  static const char text[] = "Internal Server Error\n";
  x->fixed = false;
  x->status = 500;
  x->reason.length = x->headers.length = x->trailer_lines.length = 0;
  render(L, x, sizeof text - 1);
  append_body(L, x, text, sizeof text - 1);
  finished(L, x);
  return 1;
}

void orr_open_http_response(lua_State *L) {
  static const luaL_Reg methods[] = {{"set_header", m_set_header},
                                     {"get_header", m_get_header},
                                     {"remove_header", m_remove_header},
                                     {"write_head", m_write_head},
                                     {"write_information", m_write_information},
                                     {"write_continue", m_write_continue},
                                     {"add_trailers", m_add_trailers},
                                     {"write", m_write},
                                     {"finish", m_finish},
                                     {"fail_", m_fail},
                                     {NULL, NULL}};
  orr_open_class(L, ORR_HTTP_RESPONSE, "response", methods, properties,
                 m_newindex);
}
