/* parser.c - the userdata orrery.http_parser: bytes that Lua has read become
   messages. It owns the bytes that are not used yet, and a list of fields. */
#include "binding/binding.h"
#include "engine/buffer.h"
#include "http.h"
#include "message.h"

#include <errno.h>
#include <string.h>

enum { KEPT = 16 * 1024 }; /* bytes that a parser reserves while it is idle */

struct parser {
  struct orr_http_parser http;
  struct orr_http_fields fields; /* owned */
  struct orr_buffer in;          /* owned; its first `start` bytes are used */
  size_t start;
  bool is_telling; /* the bytes must stay where they are */
};

/* http.parser(type, max_head) -> orrery.http_parser, for messages of type
   "request" or "response". A head, or trailers, of more than `max_head` bytes
   is an error. */
static int l_parser(lua_State *L) {
  static const char *const names[] = {"request", "response", NULL};
  static const llhttp_type_t types[] = {HTTP_REQUEST, HTTP_RESPONSE};
  llhttp_type_t type = types[luaL_checkoption(L, 1, NULL, names)];
  lua_Integer max_head = luaL_checkinteger(L, 2);
  luaL_argcheck(L, max_head > 0 && max_head <= INT32_MAX, 2,
                "not a number of bytes below 2 GiB");
  struct parser *parser = lua_newuserdatauv(L, sizeof *parser, 0);
  *parser = (struct parser){0};
  luaL_setmetatable(L, ORR_HTTP_PARSER);
  orr_http_init(&parser->http, type, &parser->fields, (uint32_t)max_head);
  return 1;
}

/* Returns the parser that a method was called on. Raises if it is telling what
   it has found: a finalizer that Lua runs meanwhile must not move the bytes,
   and if memory was short for that, what was found is lost. */
static struct parser *check_parser(lua_State *L) {
  struct parser *parser = orr_check_self(L, ORR_HTTP_PARSER);
  if (parser->is_telling)
    luaL_error(L, "the parser could not tell what it has found");
  return parser;
}

/* Returns the bytes that are not used, of which there may be none. */
static const char *unused(const struct parser *parser) {
  return parser->in.data == NULL
             ? ""
             : (const char *)parser->in.data + parser->start;
}

static size_t count_unused(const struct parser *parser) {
  return parser->in.length - parser->start;
}

/* Moves the bytes that are not used to the front if no more of them are moved
   than were used since the last time: that costs no more than to read them. */
static void close_gap(struct parser *parser) {
  size_t count = count_unused(parser);
  if (parser->start == 0 || parser->start < count)
    return;
  memmove(parser->in.data, unused(parser), count);
  parser->in.length = count;
  parser->start = 0;
}

/* parser:feed(bytes) -> true; nil, errno (ENOMEM). `bytes` follow those that it
   was fed before. It takes any number: who feeds it calls `next` until there is
   nothing more to find, and then it keeps part of a head at most. */
static int m_feed(lua_State *L) {
  struct parser *parser = check_parser(L);
  size_t length;
  const char *bytes = luaL_checklstring(L, 2, &length);
  close_gap(parser);
  if (orr_buffer_reserve(&parser->in, length) < 0)
    return orr_fail(L, ENOMEM);
  if (length > 0)
    memcpy(parser->in.data + parser->in.length, bytes, length);
  parser->in.length += length;
  lua_pushboolean(L, true);
  return 1;
}

/* Pushes a list: name, value, name, value … as the peer has written them. */
static void push_fields(lua_State *L, const struct orr_http_fields *fields,
                        const char *base) {
  lua_createtable(L, 2 * (int)fields->count, 0);
  for (size_t i = 0; i < fields->count; i++) {
    const struct orr_http_field *field = &fields->list[i];
    lua_pushlstring(L, base + field->name, field->name_length);
    lua_rawseti(L, -2, 2 * (lua_Integer)i + 1);
    lua_pushlstring(L, base + field->value, field->value_length);
    lua_rawseti(L, -2, 2 * (lua_Integer)i + 2);
  }
}

/* Adds a string to the table on top. */
static void set_string(lua_State *L, const char *name, const char *bytes,
                       size_t length) {
  lua_pushlstring(L, bytes, length);
  lua_setfield(L, -2, name);
}

static void set_boolean(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

/* Pushes the table that `next` gives for a head. */
static void push_head(lua_State *L, const struct parser *parser,
                      const struct orr_http_found *found) {
  const llhttp_t *llhttp = &parser->http.llhttp;
  bool is_request = llhttp->type == HTTP_REQUEST;
  lua_createtable(L, 0, 8);
  if (is_request) {
    set_string(L, "method", found->data + found->method.at,
               found->method.length);
  } else {
    lua_pushinteger(L, llhttp->status_code);
    lua_setfield(L, -2, "status_code");
  }
  set_string(L, is_request ? "url" : "status_message",
             found->data + found->url.at, found->url.length);
  set_string(L, "http_version", llhttp->http_minor == 0 ? "1.0" : "1.1", 3);
  push_fields(L, &parser->fields, found->data);
  lua_setfield(L, -2, "raw_headers");
  set_boolean(L, "keep_alive", orr_http_keeps_alive(&parser->http));
  set_boolean(L, "upgrade", llhttp->upgrade != 0);
  set_boolean(L, "chunked", (llhttp->flags & F_CHUNKED) != 0);
  if (llhttp->flags & F_CONTENT_LENGTH) {
    lua_pushinteger(L, (lua_Integer)llhttp->content_length);
    lua_setfield(L, -2, "content_length");
  }
}

/* Pushes what `next` returns, and returns how many values that are. */
static int push_found(lua_State *L, const struct parser *parser,
                      enum orr_http_event event,
                      const struct orr_http_found *found) {
  switch (event) {
  case ORR_HTTP_HEAD:
    lua_pushliteral(L, "head");
    push_head(L, parser, found);
    return 2;
  case ORR_HTTP_BODY:
    lua_pushliteral(L, "body");
    lua_pushlstring(L, found->data, found->length);
    return 2;
  case ORR_HTTP_END:
    lua_pushliteral(L, "end");
    if (parser->fields.count == 0)
      return 1;
    push_fields(L, &parser->fields, found->data);
    return 2;
  case ORR_HTTP_ERROR:
    lua_pushliteral(L, "error");
    lua_pushstring(L, found->reason);
    lua_pushinteger(L, found->status);
    return 3;
  case ORR_HTTP_MORE:
    break;
  }
  luaL_pushfail(L);
  return 1;
}

/* Takes used bytes away. A parser that falls idle after a long message gives
   its memory back. */
static void use(struct parser *parser, size_t used) {
  parser->start += used;
  if (parser->start < parser->in.length)
    return;
  parser->start = parser->in.length = 0;
  if (parser->in.capacity > KEPT)
    orr_buffer_free(&parser->in);
}

/* parser:next() -> what comes next in the bytes that it was fed:
   "head", {method, url, http_version, raw_headers, keep_alive, upgrade,
   chunked, content_length}, which of a response has status_code and
   status_message for the first two; "body", some bytes of it; "end", and a list
   of trailers if there are any; "error", what is wrong, the status to answer
   with; nil: it takes more bytes to tell. After an error there is nothing but
   it; and after the end of a message that an upgrade follows, or that was the
   last one of the connection, nothing but nil. */
static int m_next(lua_State *L) {
  struct parser *parser = check_parser(L);
  struct orr_http_found found;
  enum orr_http_event event = orr_http_next(&parser->http, unused(parser),
                                            count_unused(parser), &found);
  parser->is_telling = true;
  int results = push_found(L, parser, event, &found);
  parser->is_telling = false;
  use(parser, found.used);
  return results;
}

/* parser:finish() -> "end": the connection's end is that of the message, too;
   "error", reason, status: a message was cut off; nil: there was none. To be
   called when the peer has ended the connection, and `next` gives nil. */
static int m_finish(lua_State *L) {
  struct parser *parser = check_parser(L);
  struct orr_http_found found;
  enum orr_http_event event = orr_http_finish(&parser->http, &found);
  return push_found(L, parser, event, &found);
}

/* parser:skip_body() -> whether another message may follow on the connection.
   To be called after a "head": its message has no body, whatever it says, for
   it answers a HEAD or a CONNECT. What follows the "end" of an answer to
   CONNECT may be no message: `rest` has it. */
static int m_skip_body(lua_State *L) {
  struct parser *parser = check_parser(L);
  orr_http_skip_body(&parser->http);
  lua_pushboolean(L, orr_http_keeps_alive(&parser->http));
  return 1;
}

/* parser:no_upgrade(). To be called after a "head" with upgrade = true: the
   message is an ordinary one after all. */
static int m_no_upgrade(lua_State *L) {
  orr_http_no_upgrade(&check_parser(L)->http);
  return 0;
}

/* parser:rest() -> the bytes that it was fed and has not used, which may be
   none; they are taken out of it. */
static int m_rest(lua_State *L) {
  struct parser *parser = check_parser(L);
  parser->is_telling = true;
  lua_pushlstring(L, unused(parser), count_unused(parser));
  parser->is_telling = false;
  use(parser, count_unused(parser));
  return 1;
}

static int m_gc(lua_State *L) {
  struct parser *parser = luaL_checkudata(L, 1, ORR_HTTP_PARSER);
  orr_buffer_free(&parser->in);
  orr_http_fields_free(&parser->fields);
  parser->start = 0;
  return 0;
}

void orr_http_open_parser(lua_State *L) {
  static const luaL_Reg methods[] = {{"feed", m_feed},
                                     {"next", m_next},
                                     {"finish", m_finish},
                                     {"skip_body", m_skip_body},
                                     {"no_upgrade", m_no_upgrade},
                                     {"rest", m_rest},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"parser", l_parser}, {NULL, NULL}};
  orr_class(L, ORR_HTTP_PARSER, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
