/* fields.c - headers and trailers as Lua gives them: see fields.h. */
#include "fields.h"
#include "userdata.h"

#include <string.h>
#include <strings.h>

/* Tells whether a character may stand in a name (RFC 9110, 5.6.2: tchar). */
static bool is_token(unsigned char c) {
  if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
      (c >= 'a' && c <= 'z'))
    return true;
  return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

const char *orr_field_check_name(lua_State *L, int index, size_t *length) {
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_error(L, "a header's name must be a string, got %s",
               luaL_typename(L, index));
  const char *name = lua_tolstring(L, index, length);
  bool good = *length > 0;
  for (size_t i = 0; i < *length && good; i++)
    good = is_token((unsigned char)name[i]);
  if (!good)
    luaL_error(L,
               "'%s' cannot be a header's name: it must be a token of "
               "letters, digits and !#$%%&'*+-.^_`|~",
               name);
  return name;
}

/* Checks one value and adds it. */
static void add_value(lua_State *L, struct orr_field_sink *sink,
                      const char *name, size_t name_length, int index) {
  size_t length;
  lua_pushvalue(L, index); /* a number becomes a string in place */
  index = lua_gettop(L);
  const char *value = lua_tolstring(L, index, &length);
  if (value == NULL) {
    luaL_error(L,
               "the value of header %s must be a string, a number or a list "
               "of strings, got %s",
               name, luaL_typename(L, index));
    return; /* it never does */
  }
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)value[i];
    if ((c < ' ' && c != '\t') || c == 0x7f)
      luaL_error(L,
                 "the value of header %s has a control character (byte %d) "
                 "at position %d, which could end the head",
                 name, (int)c, (int)i + 1);
  }
  sink->add(L, sink, name, name_length, value, length);
  lua_pop(L, 1);
}

void orr_field_add(lua_State *L, struct orr_field_sink *sink, int name,
                   int value) {
  size_t length;
  const char *text = orr_field_check_name(L, name, &length);
  value = lua_absindex(L, value);
  luaL_checkstack(L, 8, "header");
  if (sink->replaces && sink->buffer != NULL)
    orr_headers_remove(sink->buffer, text, length);
  if (lua_type(L, value) != LUA_TTABLE) {
    add_value(L, sink, text, length, value);
    return;
  }
  lua_Integer count = luaL_len(L, value);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, value, i);
    add_value(L, sink, text, length, lua_gettop(L));
    lua_pop(L, 1);
  }
}

void orr_field_add_all(lua_State *L, struct orr_field_sink *sink, int index) {
  if (!lua_istable(L, index))
    luaL_error(L, "the headers must be a table, got %s",
               luaL_typename(L, index));
  lua_Integer count = luaL_len(L, index);
  for (lua_Integer i = 1; i <= count; i += 2) {
    lua_geti(L, index, i);
    lua_geti(L, index, i + 1);
    orr_field_add(L, sink, -2, -1);
    lua_pop(L, 2);
  }
  if (count > 0)
    return;
  lua_pushnil(L);
  while (lua_next(L, index) != 0) {
    orr_field_add(L, sink, -2, -1);
    lua_pop(L, 1);
  }
}

void orr_field_render(lua_State *L, struct orr_field_sink *sink,
                      const char *name, size_t name_length, const char *value,
                      size_t length) {
  orr_append(L, sink->buffer, name, name_length);
  orr_append(L, sink->buffer, ": ", 2);
  orr_append(L, sink->buffer, value, length);
  orr_append(L, sink->buffer, "\r\n", 2);
}

/* Raises if a header is in a list, which ends with NULL. */
static void check_barred(lua_State *L, const char *const *barred,
                         const char *name, size_t length, const char *why) {
  for (; *barred != NULL; barred++)
    if (strlen(*barred) == length && strncasecmp(name, *barred, length) == 0)
      luaL_error(L, why, name);
}

void orr_field_render_information(lua_State *L, struct orr_field_sink *sink,
                                  const char *name, size_t name_length,
                                  const char *value, size_t length) {
  static const char *const barred[] = {"content-length", "transfer-encoding",
                                       NULL};
  check_barred(L, barred, name, name_length,
               "write_information: %s is of a body, and it has none");
  orr_field_render(L, sink, name, name_length, value, length);
}

void orr_field_render_trailer(lua_State *L, struct orr_field_sink *sink,
                              const char *name, size_t name_length,
                              const char *value, size_t length) {
  static const char *const barred[] = {
      "content-length", "transfer-encoding", "host",
      "trailer",        "content-encoding",  NULL};
  check_barred(L, barred, name, name_length,
               "add_trailers: %s cannot be a trailer");
  if (sink->buffer != NULL)
    orr_field_render(L, sink, name, name_length, value, length);
}
