/* encode.c - Lua values to JSON text, in one pass from the stack into a buffer
   that belongs to Lua: an error leaves nothing behind. There is no tree of
   jansson's in between: it costs three times the time, and memory for a second
   copy of the message, and its floats are not the shortest. */
#include "binding/utf8.h"
#include "binding/values.h"
#include "json.h"

#include <math.h>
#include <string.h>

enum { VALUE = 1, BUFFER = 2 }; /* stack indexes */

struct encoder {
  lua_State *L;
  char *data; /* at first on the C stack, then the userdata at BUFFER */
  size_t used, size;
};

/* Makes room for n bytes more. May run finalizers, as all functions of Lua that
   allocate; no string on the stack goes away by that. */
static void reserve(struct encoder *encoder, size_t n) {
  if (encoder->size - encoder->used >= n)
    return;
  size_t size = 2 * encoder->size;
  if (size - encoder->used < n)
    size = encoder->used + n;
  char *data = lua_newuserdatauv(encoder->L, size, 0);
  memcpy(data, encoder->data, encoder->used);
  lua_replace(encoder->L, BUFFER);
  encoder->data = data;
  encoder->size = size;
}

static void add(struct encoder *encoder, const char *text, size_t length) {
  reserve(encoder, length);
  memcpy(encoder->data + encoder->used, text, length);
  encoder->used += length;
}

static void add_char(struct encoder *encoder, char c) {
  reserve(encoder, 1);
  encoder->data[encoder->used++] = c;
}

/* Returns the end of what stands in a string of JSON as it is: the first byte
   that needs an escape or is not UTF-8, or `end`. */
static const unsigned char *plain_end(const unsigned char *at,
                                      const unsigned char *end) {
  while (at < end && *at >= 0x20 && *at != '"' && *at != '\\') {
    if (*at < 0x80) {
      at++;
      continue;
    }
    const unsigned char *next = orr_utf8_skip(at, end);
    if (next == at)
      break;
    at = next;
  }
  return at;
}

/* Appends the escape of a character. Room for 6 bytes must be there. */
static void add_escape(struct encoder *encoder, unsigned char c) {
  static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
  char *to = encoder->data + encoder->used;
  to[0] = '\\';
  for (const char *form = short_forms; *form != '\0'; form += 2) {
    if (c != (unsigned char)form[0])
      continue;
    to[1] = form[1];
    encoder->used += 2;
    return;
  }
  memcpy(to + 1, "u00", 3);
  to[4] = (char)('0' + (c >> 4));
  to[5] = "0123456789abcdef"[c & 15];
  encoder->used += 6;
}

/* Writes the string at `index`. */
static void write_string(struct encoder *encoder, int index,
                         const struct orr_level *level) {
  size_t length;
  const char *text = lua_tolstring(encoder->L, index, &length);
  const unsigned char *at = (const unsigned char *)text, *end = at + length;
  reserve(encoder, length + 2);
  encoder->data[encoder->used++] = '"';
  for (;;) { /* there is room for the rest as it is, and the quote */
    const unsigned char *stop = plain_end(at, end);
    memcpy(encoder->data + encoder->used, at, (size_t)(stop - at));
    encoder->used += (size_t)(stop - at);
    at = stop;
    if (at == end)
      break;
    if (*at >= 0x80)
      orr_value_error(encoder->L, level,
                      "not UTF-8, which JSON needs (serialization \"msgpack\" "
                      "takes any bytes)");
    reserve(encoder, 6 + (size_t)(end - at));
    add_escape(encoder, *at++);
  }
  encoder->data[encoder->used++] = '"';
}

/* Writes an integer as text and returns its length. */
static size_t format_integer(lua_Integer value, char text[ORR_JSON_NUMBER]) {
  char digits[ORR_JSON_NUMBER];
  size_t n = 0, length = 0;
  lua_Unsigned rest = (lua_Unsigned)value;
  if (value < 0) {
    text[length++] = '-';
    rest = 0 - rest;
  }
  do
    digits[n++] = (char)('0' + rest % 10);
  while ((rest /= 10) != 0);
  while (n > 0)
    text[length++] = digits[--n];
  return length;
}

/* Writes a float as text and returns its length. An integral one gets ".0": it
   stays a float for readers that know the difference. */
static size_t format_float(double value, char text[ORR_JSON_NUMBER]) {
  size_t length = orr_json_number(value, text);
  if (memchr(text, '.', length) == NULL && memchr(text, 'e', length) == NULL) {
    memcpy(text + length, ".0", 2);
    length += 2;
  }
  return length;
}

/* Writes the number at `index`: null if it is infinite or not a number, as
   JavaScript does. */
static void write_number(struct encoder *encoder, int index) {
  char text[ORR_JSON_NUMBER];
  if (lua_isinteger(encoder->L, index)) {
    lua_Integer value = lua_tointeger(encoder->L, index);
    add(encoder, text, format_integer(value, text));
    return;
  }
  double value = lua_tonumber(encoder->L, index);
  if (isfinite(value))
    add(encoder, text, format_float(value, text));
  else
    add(encoder, "null", 4);
}

/* Pushes the string that JavaScript has for the number that is a key. */
static void push_number_key(lua_State *L, int key) {
  char text[ORR_JSON_NUMBER];
  double value = lua_tonumber(L, key);
  if (lua_isinteger(L, key))
    lua_pushlstring(L, text, format_integer(lua_tointeger(L, key), text));
  else if (isinf(value))
    lua_pushstring(L, value > 0 ? "Infinity" : "-Infinity");
  else
    lua_pushlstring(L, text, orr_json_number(value, text));
}

/* Writes the key at level->key as a string and leaves it a number. */
static void write_key(struct encoder *encoder, const struct orr_level *level) {
  lua_State *L = encoder->L;
  int type = lua_type(L, level->key);
  if (type == LUA_TSTRING) {
    write_string(encoder, level->key, level);
    return;
  }
  if (type != LUA_TNUMBER)
    orr_value_error(L, level, "a %s cannot be a key in JSON",
                    lua_typename(L, type));
  push_number_key(L, level->key);
  write_string(encoder, -1, level);
  if (lua_rawget(L, level->table) != LUA_TNIL)
    orr_value_error(L, level, "the key is there twice, as number and string");
  lua_pop(L, 1);
}

static void write_value(struct encoder *encoder, int index,
                        const struct orr_level *level, int depth);

static void write_list(struct encoder *encoder, struct orr_level *level,
                       lua_Integer length, int depth) {
  lua_State *L = encoder->L;
  int index = lua_gettop(L) + 1;
  level->key = 0;
  add_char(encoder, '[');
  for (lua_Integer i = 1; i <= length; i++) {
    if (i > 1)
      add_char(encoder, ',');
    level->item = i;
    lua_rawgeti(L, level->table, i);
    write_value(encoder, index, level, depth);
    lua_pop(L, 1);
  }
  add_char(encoder, ']');
}

static void write_map(struct encoder *encoder, struct orr_level *level,
                      int depth) {
  lua_State *L = encoder->L;
  char before = '{';
  level->key = lua_gettop(L) + 1;
  lua_pushnil(L);
  while (lua_next(L, level->table)) {
    add_char(encoder, before);
    before = ',';
    write_key(encoder, level);
    add_char(encoder, ':');
    write_value(encoder, level->key + 1, level, depth);
    lua_pop(L, 1);
  }
  if (before == '{')
    add_char(encoder, '{');
  add_char(encoder, '}');
}

static void write_table(struct encoder *encoder, int index,
                        const struct orr_level *up, int depth) {
  orr_check_depth(encoder->L, up, depth, index);
  luaL_checkstack(encoder->L, LUA_MINSTACK, NULL);
  struct orr_level level = {.up = up, .table = index};
  lua_Integer length = orr_list_length(encoder->L, index);
  if (length >= 0)
    write_list(encoder, &level, length, depth + 1);
  else
    write_map(encoder, &level, depth + 1);
}

/* Writes the value at `index`, which is inside of `depth` tables. */
static void write_value(struct encoder *encoder, int index,
                        const struct orr_level *level, int depth) {
  lua_State *L = encoder->L;
  int type = lua_type(L, index);
  if (type == LUA_TSTRING)
    write_string(encoder, index, level);
  else if (type == LUA_TNUMBER)
    write_number(encoder, index);
  else if (type == LUA_TTABLE)
    write_table(encoder, index, level, depth);
  else if (type == LUA_TBOOLEAN && lua_toboolean(L, index))
    add(encoder, "true", 4);
  else if (type == LUA_TBOOLEAN)
    add(encoder, "false", 5);
  else if (orr_is_null(L, index))
    add(encoder, "null", 4);
  else if (type == LUA_TNIL)
    orr_value_error(L, level, "nil cannot be sent");
  else
    orr_value_error(L, level, "a %s cannot be sent", lua_typename(L, type));
}

/* encode(value) -> string. */
static int encode(lua_State *L) {
  char start[1024];
  struct encoder encoder = {L, start, 0, sizeof start};
  lua_settop(L, VALUE);
  lua_pushnil(L); /* BUFFER */
  write_value(&encoder, VALUE, NULL, 0);
  lua_pushlstring(L, encoder.data, encoder.used);
  return 1;
}

/* encode(value, name) -> string. Its errors speak of `name` instead of
   "message". */
static int encode_as(lua_State *L) {
  const char *name = luaL_checkstring(L, 2);
  lua_pushcfunction(L, encode);
  lua_pushvalue(L, VALUE);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK)
    return 1;
  const char *error = lua_tostring(L, -1);
  if (error != NULL && strncmp(error, "message", 7) == 0)
    lua_pushfstring(L, "%s%s", name, error + 7);
  return lua_error(L);
}

/* json.encode(value, name) -> string. Raises, with the place in the value, if
   something in it is nothing for JSON; `name` (default "message") is what the
   error calls the whole value. */
static int l_encode(lua_State *L) {
  return lua_isnoneornil(L, 2) ? encode(L) : encode_as(L);
}

void orr_json_open_encode(lua_State *L) {
  lua_pushcfunction(L, l_encode);
  lua_setfield(L, -2, "encode");
}
