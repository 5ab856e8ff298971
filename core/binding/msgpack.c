/*
** msgpack.c - MessagePack, straight from and to the Lua stack.
*/
#include "msgpack.h"

#include "binding.h"
#include "values.h"

#include <errno.h>
#include <string.h>

/* Encoding ------------------------------------------------------------------
 */

/* Where `size` more bytes go. */
static uint8_t *extend(lua_State *L, struct orr_buffer *out, size_t size) {
  if (size > out->capacity - out->length && orr_buffer_reserve(out, size) < 0)
    luaL_error(L, "not enough memory to send a message");
  uint8_t *at = out->data + out->length;
  out->length += size;
  return at;
}

/* `value` in `size` bytes, the highest first. */
static void store(uint8_t *at, uint64_t value, int size) {
  for (int i = 0; i < size; i++)
    at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static void put_byte(lua_State *L, struct orr_buffer *out, int byte) {
  *extend(L, out, 1) = (uint8_t)byte;
}

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

static void put_float(lua_State *L, struct orr_buffer *out, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_tagged(L, out, 0xcb, bits, 8);
}

/* Bytes of the character at `s`, of which `left` bytes are there; 0: it is
   none. RFC 3629, section 4. */
static size_t utf8_character(const uint8_t *s, size_t left) {
  uint8_t low = 0x80, high = 0xbf;
  size_t size = s[0] < 0x80   ? 1
                : s[0] < 0xc2 ? 0
                : s[0] < 0xe0 ? 2
                : s[0] < 0xf0 ? 3
                : s[0] < 0xf5 ? 4
                              : 0;
  if (size == 0 || size > left)
    return 0;
  if (s[0] == 0xe0)
    low = 0xa0;
  else if (s[0] == 0xed)
    high = 0x9f;
  else if (s[0] == 0xf0)
    low = 0x90;
  else if (s[0] == 0xf4)
    high = 0x8f;
  for (size_t i = 1; i < size; i++, low = 0x80, high = 0xbf)
    if (s[i] < low || s[i] > high)
      return 0;
  return size;
}

enum { BLOCK = 128 }; /* bytes; compilers make a few wide ORs of one */

/* How many bytes of ASCII are at the start, in blocks and words; most text is
   just that. */
static size_t ascii_prefix(const uint8_t *s, size_t length) {
  const uint64_t high = UINT64_C(0x8080808080808080);
  size_t i = 0;
  for (; length - i >= BLOCK; i += BLOCK) {
    uint8_t all = 0;
    for (size_t j = 0; j < BLOCK; j++)
      all |= s[i + j];
    if (all & 0x80)
      break;
  }
  for (; length - i >= sizeof high; i += sizeof high) {
    uint64_t word;
    memcpy(&word, s + i, sizeof word);
    if (word & high)
      break;
  }
  return i;
}

static bool is_utf8(const uint8_t *s, size_t length) {
  size_t i = 0;
  while (i < length) {
    i += ascii_prefix(s + i, length - i);
    if (i == length)
      break;
    size_t size = utf8_character(s + i, length - i);
    if (size == 0)
      return false;
    i += size;
  }
  return true;
}

void orr_msgpack_encode_head(lua_State *L, const char *s, size_t length,
                             struct orr_buffer *out) {
  bool text = is_utf8((const uint8_t *)s, length);
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
    orr_shape_error(L, level, "a string of more than 4 GiB cannot be sent");
  orr_msgpack_encode_head(L, s, length, out);
  memcpy(extend(L, out, length), s, length);
}

/* Heads of lists (fix 0x90, 0xdc, 0xdd) and maps (fix 0x80, 0xde, 0xdf). */
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

static void put_key(lua_State *L, struct orr_buffer *out,
                    const struct orr_level *here) {
  if (lua_type(L, here->key) == LUA_TSTRING)
    put_string(L, out, here->key, here);
  else if (lua_isinteger(L, here->key))
    put_integer(L, out, lua_tointeger(L, here->key));
  else if (lua_type(L, here->key) == LUA_TNUMBER)
    put_float(L, out, lua_tonumber(L, here->key));
  else
    orr_shape_error(L, here->up, "keys must be strings or numbers, not a %s",
                    luaL_typename(L, here->key));
}

/* One walk: the head, whose size depends on how many pairs there are, is put in
   front of them afterwards. */
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
  else if (type == LUA_TNUMBER && lua_isinteger(L, index))
    put_integer(L, out, lua_tointeger(L, index));
  else if (type == LUA_TNUMBER)
    put_float(L, out, lua_tonumber(L, index));
  else if (type == LUA_TTABLE)
    put_table(L, out, index, level, depth);
  else if (type == LUA_TBOOLEAN)
    put_byte(L, out, lua_toboolean(L, index) ? 0xc3 : 0xc2);
  else if (orr_is_null(L, index))
    put_byte(L, out, 0xc0);
  else
    orr_shape_error(L, level, "a %s cannot be sent", lua_typename(L, type));
}

void orr_msgpack_encode(lua_State *L, int index, struct orr_buffer *out,
                        int blame) {
  struct orr_level root = {.item = blame};
  luaL_checkstack(L, LUA_MINSTACK, "message");
  put_value(L, out, lua_absindex(L, index), &root, 0);
}

/* Decoding ---------------------------------------------------------------- */

enum { TABLE_COST = 64, ITEM_COST = 16, PAIR_COST = 40, STRING_COST = 32 };
enum { MAX_PREPARED = 4096 }; /* places made before the items are seen */

struct decoder {
  struct orr_msgpack_reader in;
  uint64_t owed;  /* bytes that the lists and maps around have announced */
  uint64_t steps; /* that looking up fractions may still take, at worst */
  const char *problem;
};

static bool bad(struct decoder *decoder, const char *problem) {
  decoder->problem = problem;
  return false;
}

static bool spend(struct decoder *decoder, uint64_t cost) {
  if (cost > decoder->in.budget)
    return bad(decoder, "it would take too much memory");
  decoder->in.budget -= (size_t)cost;
  return true;
}

static size_t bytes_left(const struct decoder *decoder) {
  return (size_t)(decoder->in.end - decoder->in.at);
}

/* The next `size` bytes as an integer, the highest first. */
static bool get_number(struct decoder *decoder, int size, uint64_t *value) {
  if (bytes_left(decoder) < (size_t)size)
    return bad(decoder, "it ends too early");
  *value = 0;
  for (int i = 0; i < size; i++)
    *value = *value << 8 | *decoder->in.at++;
  return true;
}

static bool get_value(lua_State *L, struct decoder *decoder, int depth);

static bool get_string(lua_State *L, struct decoder *decoder, uint64_t length) {
  if (length > bytes_left(decoder))
    return bad(decoder, "it ends too early");
  if (!spend(decoder, STRING_COST + length))
    return false;
  lua_pushlstring(L, (const char *)decoder->in.at, (size_t)length);
  decoder->in.at += length;
  return true;
}

/* Items that follow take a byte each, at least. A count of more than there can
   be, next to what else is to come, is a lie: 100 of them inside each other had
   room made for 600 times their bytes. */
static bool announce(struct decoder *decoder, uint64_t bytes) {
  uint64_t left = bytes_left(decoder);
  if (decoder->owed > left || bytes > left - decoder->owed)
    return bad(decoder, "it ends too early");
  decoder->owed += bytes;
  return true;
}

static bool get_list(lua_State *L, struct decoder *decoder, uint64_t n,
                     int depth) {
  if (!announce(decoder, n))
    return false;
  if (!spend(decoder, TABLE_COST + ITEM_COST * n))
    return false;
  lua_createtable(L, (int)(n < MAX_PREPARED ? n : MAX_PREPARED), 0);
  for (uint64_t i = 1; i <= n; i++) {
    decoder->owed--;
    if (!get_value(L, decoder, depth + 1))
      return false;
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  if (n == 0)
    orr_mark_list(L);
  return true;
}

static bool is_key(lua_State *L) {
  int type = lua_type(L, -1);
  if (type != LUA_TNUMBER)
    return type == LUA_TSTRING || type == LUA_TBOOLEAN;
  lua_Number number = lua_tonumber(L, -1);
  return number == number; /* not NaN */
}

/* Numbers, unlike strings, have hashes that a peer can foresee: with keys that
   all have the same one a lookup walks over all of them, and 1 MB took 27
   seconds. Lua puts an integer into the place that is its remainder by 2^k - 1,
   with 2^k places for n keys (ltable.c, hashint): so many may have one place.
   Fractions are charged what they cost where all of them collide: 23,000 in one
   map are too many, or more in many maps. */
enum { MAX_COLLISIONS = 64, MAX_STEPS = 1 << 28 };

struct places {
  uint8_t *taken; /* how often, for each place; NULL: too few to matter */
  uint64_t count, fractions;
};

/* Leaves what holds them on the stack. */
static struct places push_places(lua_State *L, uint64_t n) {
  struct places places = {.count = 1};
  lua_pushnil(L);
  if (n <= MAX_COLLISIONS)
    return places;
  while (places.count < n)
    places.count *= 2;
  places.count--;
  lua_pop(L, 1);
  places.taken = lua_newuserdatauv(L, (size_t)places.count, 0);
  memset(places.taken, 0, (size_t)places.count);
  return places;
}

static bool is_cheap(lua_State *L, struct decoder *decoder,
                     struct places *places) {
  int whole;
  if (places->taken == NULL || lua_type(L, -1) != LUA_TNUMBER)
    return true;
  lua_Integer key = lua_tointegerx(L, -1, &whole);
  if (!whole) {
    if (++places->fractions > decoder->steps)
      return false;
    decoder->steps -= places->fractions;
    return true;
  }
  return ++places->taken[(uint64_t)key % places->count] <= MAX_COLLISIONS;
}

static bool get_pairs(lua_State *L, struct decoder *decoder, uint64_t n,
                      int depth, struct places *places) {
  for (uint64_t i = 0; i < n; i++) {
    decoder->owed -= 2;
    if (!get_value(L, decoder, depth + 1))
      return false;
    if (!is_key(L))
      return bad(decoder, "a key is neither string, number nor boolean");
    if (!is_cheap(L, decoder, places))
      return bad(decoder, "keys of a map are made to collide");
    if (!get_value(L, decoder, depth + 1))
      return false;
    lua_rawset(L, -3);
  }
  return true;
}

/* All places are made at once, so that Lua's table is as large as ours. */
static bool get_map(lua_State *L, struct decoder *decoder, uint64_t n,
                    int depth) {
  if (!announce(decoder, 2 * n))
    return false;
  if (n > INT32_MAX || !spend(decoder, TABLE_COST + PAIR_COST * n))
    return bad(decoder, "it would take too much memory");
  struct places places = push_places(L, n);
  lua_createtable(L, 0, (int)n);
  if (!get_pairs(L, decoder, n, depth, &places))
    return false;
  lua_remove(L, -2);
  return true;
}

static bool get_table(lua_State *L, struct decoder *decoder, uint64_t n,
                      int depth, bool list) {
  if (depth >= ORR_MAX_DEPTH)
    return bad(decoder, "more than 100 tables are inside each other");
  luaL_checkstack(L, ORR_DEPTH_SLOTS, "message");
  return list ? get_list(L, decoder, n, depth) : get_map(L, decoder, n, depth);
}

static void push_unsigned(lua_State *L, uint64_t value) {
  if (value <= INT64_MAX)
    lua_pushinteger(L, (lua_Integer)value);
  else
    lua_pushnumber(L, (lua_Number)value);
}

static void push_float(lua_State *L, uint64_t bits, int size) {
  if (size == 4) {
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    lua_pushnumber(L, (lua_Number)value);
  } else {
    double value;
    memcpy(&value, &bits, sizeof value);
    lua_pushnumber(L, value);
  }
}

/* A signed integer of `size` bytes. */
static lua_Integer sign_extend(uint64_t value, int size) {
  int shift = 64 - 8 * size;
  return (lua_Integer)(value << shift) >> shift;
}

/* Values whose tag is followed by a number: 0xc4 to 0xdf. */
static bool get_tagged(lua_State *L, struct decoder *decoder, int tag,
                       int depth) {
  /* Bytes of that number; 0: an extension, or nothing. */
  static const uint8_t sizes[] = {1, 2, 4, 0, 0, 0, 4, 8, 1, 2, 4, 8, 1, 2,
                                  4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
  int size = sizes[tag - 0xc4];
  uint64_t value;
  if (size == 0)
    return bad(decoder, "extension types are not known here");
  if (!get_number(decoder, size, &value))
    return false;
  if (tag <= 0xc6 || (tag >= 0xd9 && tag <= 0xdb))
    return get_string(L, decoder, value);
  if (tag >= 0xdc)
    return get_table(L, decoder, value, depth, tag <= 0xdd);
  if (tag <= 0xcb)
    push_float(L, value, size);
  else if (tag <= 0xcf)
    push_unsigned(L, value);
  else
    lua_pushinteger(L, sign_extend(value, size));
  return true;
}

static bool get_value(lua_State *L, struct decoder *decoder, int depth) {
  if (*decoder->in.changes != decoder->in.changes_seen)
    return bad(decoder, "a finalizer closed or read the channel meanwhile");
  if (bytes_left(decoder) == 0)
    return bad(decoder, "it ends too early");
  int tag = *decoder->in.at++;
  if (tag <= 0x7f || tag >= 0xe0)
    lua_pushinteger(L, tag <= 0x7f ? tag : tag - 256);
  else if (tag <= 0x9f)
    return get_table(L, decoder, (uint64_t)tag & 0x0f, depth, tag >= 0x90);
  else if (tag <= 0xbf)
    return get_string(L, decoder, (uint64_t)tag & 0x1f);
  else if (tag == 0xc0)
    orr_push_null(L);
  else if (tag == 0xc2 || tag == 0xc3)
    lua_pushboolean(L, tag == 0xc3);
  else if (tag == 0xc1)
    return bad(decoder, "0xc1 is no value");
  else
    return get_tagged(L, decoder, tag, depth);
  return true;
}

int orr_msgpack_decode(lua_State *L, struct orr_msgpack_reader *reader) {
  struct decoder decoder = {*reader, 0, MAX_STEPS, NULL};
  int top = lua_gettop(L);
  luaL_checkstack(L, LUA_MINSTACK, "message");
  bool whole = get_value(L, &decoder, 0);
  ptrdiff_t used = decoder.in.at - reader->at;
  *reader = decoder.in;
  if (whole)
    return 0;
  lua_settop(L, top);
  lua_pushfstring(L, "not MessagePack: %s (byte %I)", decoder.problem,
                  (LUAI_UACINT)used);
  return -EPROTO;
}

/* Strings -------------------------------------------------------------------
 */

#define PACKED "orrery.packed"

static int l_packed_gc(lua_State *L) {
  orr_buffer_free(lua_touserdata(L, 1));
  return 0;
}

/* pack(value) -> string. Raises where the value cannot be sent. */
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

/* unpack(string) -> value; nil, what is wrong. */
static int l_unpack(lua_State *L) {
  static const unsigned never = 0;
  size_t length;
  const char *data = luaL_checklstring(L, 1, &length);
  struct orr_msgpack_reader reader = {.at = (const uint8_t *)data,
                                      .end = (const uint8_t *)data + length,
                                      .budget = SIZE_MAX,
                                      .changes = &never};
  int error = orr_msgpack_decode(L, &reader);
  if (error == 0 && reader.at == reader.end)
    return 1;
  if (error == 0)
    lua_pushliteral(L, ORR_MSGPACK_MORE);
  luaL_pushfail(L);
  lua_insert(L, -2);
  return 2;
}

void orr_open_msgpack(lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", l_packed_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"pack", l_pack}, {"unpack", l_unpack}, {NULL, NULL}};
  orr_class(L, PACKED, none, meta);
  luaL_setfuncs(L, functions, 0);
}
