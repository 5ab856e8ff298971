/* msgpack_encode.c - MessagePack, straight from the Lua stack into a buffer. */
#include "msgpack.h"

#include "binding.h"
#include "utf8.h"
#include "values.h"

#include <string.h>

/* Appends `size` bytes and returns where they are to be written. Raises if
   memory is short. */
static uint8_t *extend(lua_State *L, struct orr_buffer *out, size_t size) {
  if (size > out->capacity - out->length && orr_buffer_reserve(out, size) < 0)
    luaL_error(L, "not enough memory to send a message");
  uint8_t *at = out->data + out->length;
  out->length += size;
  return at;
}

/* Writes `value` into `size` bytes, the highest first. */
static void store(uint8_t *at, uint64_t value, int size) {
  for (int i = 0; i < size; i++)
    at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static void put_byte(lua_State *L, struct orr_buffer *out, int byte) {
  *extend(L, out, 1) = (uint8_t)byte;
}

/* Appends a byte that tells the type, and a number of `size` bytes. */
static void put_tagged(lua_State *L, struct orr_buffer *out, int tag,
                       uint64_t value, int size) {
  uint8_t *at = extend(L, out, 1 + (size_t)size);
  at[0] = (uint8_t)tag;
  store(at + 1, value, size);
}

static void put_integer(lua_State *L, struct orr_buffer *out, lua_Integer i) {
  if (i >= -32 && i <= 127)
    put_byte(L, out, (int)i);
  else if (i >= 0)
    i <= UINT8_MAX    ? put_tagged(L, out, 0xcc, (uint64_t)i, 1)
    : i <= UINT16_MAX ? put_tagged(L, out, 0xcd, (uint64_t)i, 2)
    : i <= UINT32_MAX ? put_tagged(L, out, 0xce, (uint64_t)i, 4)
                      : put_tagged(L, out, 0xcf, (uint64_t)i, 8);
  else
    i >= INT8_MIN    ? put_tagged(L, out, 0xd0, (uint64_t)i, 1)
    : i >= INT16_MIN ? put_tagged(L, out, 0xd1, (uint64_t)i, 2)
    : i >= INT32_MIN ? put_tagged(L, out, 0xd2, (uint64_t)i, 4)
                     : put_tagged(L, out, 0xd3, (uint64_t)i, 8);
}

static void put_number(lua_State *L, struct orr_buffer *out, int index) {
  if (lua_isinteger(L, index)) {
    put_integer(L, out, lua_tointeger(L, index));
    return;
  }
  double value = lua_tonumber(L, index);
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_tagged(L, out, 0xcb, bits, 8);
}

void orr_msgpack_encode_head(lua_State *L, const char *s, size_t length,
                             struct orr_buffer *out) {
  bool text = orr_is_utf8((const uint8_t *)s, length);
  if (text && length < 32)
    put_byte(L, out, 0xa0 | (int)length);
  else if (length <= UINT8_MAX)
    put_tagged(L, out, text ? 0xd9 : 0xc4, length, 1);
  else if (length <= UINT16_MAX)
    put_tagged(L, out, text ? 0xda : 0xc5, length, 2);
  else
    put_tagged(L, out, text ? 0xdb : 0xc6, length, 4);
}

static void put_string(lua_State *L, struct orr_buffer *out, int index,
                       const struct orr_level *level) {
  size_t length;
  const char *s = lua_tolstring(L, index, &length);
  if (length > UINT32_MAX)
    orr_value_error(L, level, "a string of more than 4 GiB cannot be sent");
  orr_msgpack_encode_head(L, s, length, out);
  memcpy(extend(L, out, length), s, length);
}

/* Writes the head of a list (0x90 to 0x9f, 0xdc, 0xdd) or of a map (0x80 to
   0x8f, 0xde, 0xdf) of `n` items or pairs. Returns its length. */
static size_t store_head(uint8_t head[5], bool list, uint64_t n) {
  if (n < 16) {
    head[0] = (uint8_t)((list ? 0x90 : 0x80) | n);
    return 1;
  }
  int size = n <= UINT16_MAX ? 2 : 4;
  head[0] = (uint8_t)((list ? 0xdc : 0xde) + (size == 4));
  store(head + 1, n, size);
  return 1 + (size_t)size;
}

/* Appends the value at `index`, which is inside of `depth` tables; `level` is
   the innermost of them. */
static void put_value(lua_State *L, struct orr_buffer *out, int index,
                      const struct orr_level *level, int depth);

static void put_list(lua_State *L, struct orr_buffer *out,
                     struct orr_level *here, lua_Integer n, int depth) {
  uint8_t head[5];
  size_t size = store_head(head, true, (uint64_t)n);
  memcpy(extend(L, out, size), head, size);
  here->key = 0;
  for (here->item = 1; here->item <= n; here->item++) {
    lua_rawgeti(L, here->table, here->item);
    put_value(L, out, lua_gettop(L), here, depth + 1);
    lua_pop(L, 1);
  }
}

static void put_boolean(lua_State *L, struct orr_buffer *out, int index) {
  put_byte(L, out, lua_toboolean(L, index) ? 0xc3 : 0xc2);
}

static void put_key(lua_State *L, struct orr_buffer *out,
                    const struct orr_level *here) {
  int type = lua_type(L, here->key);
  if (type == LUA_TSTRING)
    put_string(L, out, here->key, here);
  else if (type == LUA_TNUMBER)
    put_number(L, out, here->key);
  else if (type == LUA_TBOOLEAN)
    put_boolean(L, out, here->key);
  else
    orr_value_error(L, here->up,
                    "keys must be strings, numbers or booleans, not a %s",
                    lua_typename(L, type));
}

/* Walks over the pairs once, so their number is known only at the end: the
   head, whose size depends on it, is put in front of them then. */
static void put_map(lua_State *L, struct orr_buffer *out,
                    struct orr_level *here, int depth) {
  size_t start = out->length, pairs = 0;
  uint8_t head[5];
  extend(L, out, 1);
  lua_pushnil(L);
  here->key = lua_gettop(L);
  for (; lua_next(L, here->table); pairs++) {
    put_key(L, out, here);
    put_value(L, out, here->key + 1, here, depth + 1);
    lua_pop(L, 1);
  }
  size_t size = store_head(head, false, pairs);
  extend(L, out, size - 1);
  if (size > 1)
    memmove(out->data + start + size, out->data + start + 1,
            out->length - start - size);
  memcpy(out->data + start, head, size);
}

static void put_table(lua_State *L, struct orr_buffer *out, int index,
                      const struct orr_level *level, int depth) {
  struct orr_level here = {.up = level, .table = index};
  orr_check_depth(L, level, depth, index);
  luaL_checkstack(L, ORR_DEPTH_SLOTS, "message");
  lua_Integer n = orr_list_length(L, index);
  if (n >= 0)
    put_list(L, out, &here, n, depth);
  else
    put_map(L, out, &here, depth);
}

static void put_value(lua_State *L, struct orr_buffer *out, int index,
                      const struct orr_level *level, int depth) {
  int type = lua_type(L, index);
  if (type == LUA_TSTRING)
    put_string(L, out, index, level);
  else if (type == LUA_TNUMBER)
    put_number(L, out, index);
  else if (type == LUA_TTABLE)
    put_table(L, out, index, level, depth);
  else if (type == LUA_TBOOLEAN)
    put_boolean(L, out, index);
  else if (orr_is_null(L, index))
    put_byte(L, out, 0xc0);
  else
    orr_value_error(L, level, "a %s cannot be sent", lua_typename(L, type));
}

void orr_msgpack_encode(lua_State *L, int index, struct orr_buffer *out,
                        int blame) {
  struct orr_level root = {.item = blame};
  luaL_checkstack(L, LUA_MINSTACK, "message");
  put_value(L, out, lua_absindex(L, index), &root, 0);
}

/* Strings of MessagePack --------------------------------------------------- */

#define PACKED "orrery.packed"

/* Frees the buffer of a `pack` that raised. */
static int m_packed_gc(lua_State *L) {
  orr_buffer_free(lua_touserdata(L, 1));
  return 0;
}

/* core.pack(value) -> string. Raises, naming the place in it, if the value or
   one inside it cannot be sent, or if memory is short. */
static int l_pack(lua_State *L) {
  luaL_checkany(L, 1);
  struct orr_buffer *out = lua_newuserdatauv(L, sizeof *out, 0);
  memset(out, 0, sizeof *out);
  luaL_setmetatable(L, PACKED);
  orr_msgpack_encode(L, 1, out, 1);
  lua_pushlstring(L, (const char *)out->data, out->length);
  orr_buffer_free(out);
  return 1;
}

void orr_open_pack(lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_packed_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"pack", l_pack}, {NULL, NULL}};
  orr_class(L, PACKED, none, meta);
  luaL_setfuncs(L, functions, 0);
}
