/* msgpack_decode.c - MessagePack, straight onto the Lua stack. The bytes may be
   hostile: what they may cost in memory and time is bounded here. */
#include "msgpack.h"

#include "pace.h"
#include "values.h"

#include <errno.h>
#include <string.h>

/* Bytes of memory that Lua takes, about: for a table, an item of a list, a pair
   of a map, and a string beside its bytes. */
enum { TABLE_COST = 64, ITEM_COST = 16, PAIR_COST = 40, STRING_COST = 32 };
enum { MAX_PREPARED = 4096 }; /* places made before the items are seen */

struct decoder {
  struct orr_msgpack_reader in;
  uint64_t owed;  /* bytes that the lists and maps around have announced */
  uint64_t steps; /* that looking up fractions may still take, at worst */
  struct orr_pace pace;
  const char *problem;
};

/* Notes why the message is refused. Returns false, as all that fails here. */
static bool bad(struct decoder *decoder, const char *problem) {
  decoder->problem = problem;
  return false;
}

/* Takes `cost` bytes off the budget. Fails if they are not there. */
static bool spend(struct decoder *decoder, uint64_t cost) {
  if (cost > decoder->in.budget)
    return bad(decoder, "it would take too much memory");
  decoder->in.budget -= (size_t)cost;
  return true;
}

static size_t bytes_left(const struct decoder *decoder) {
  return (size_t)(decoder->in.end - decoder->in.at);
}

/* Reads the next `size` bytes as an integer, the highest first. */
static bool get_number(struct decoder *decoder, int size, uint64_t *value) {
  if (bytes_left(decoder) < (size_t)size)
    return bad(decoder, "it ends too early");
  *value = 0;
  for (int i = 0; i < size; i++)
    *value = *value << 8 | *decoder->in.at++;
  return true;
}

/* Pushes the next value, which is inside of `depth` tables. If it fails, there
   may be more on the stack. */
static bool get_value(lua_State *L, struct decoder *decoder, int depth);

static bool get_string(lua_State *L, struct decoder *decoder, uint64_t length) {
  if (length > bytes_left(decoder))
    return bad(decoder, "it ends too early");
  if (!spend(decoder, STRING_COST + length))
    return false;
  lua_pushlstring(L, (const char *)decoder->in.at, (size_t)length);
  decoder->in.at += length;
  orr_pace_bytes(&decoder->pace, (size_t)length);
  return true;
}

/* Notes that a list or map has `bytes` values to come, each of one byte at
   least. Fails if the message is too short for them and for those announced
   before: such a count is a lie, and 100 of them inside each other had room
   made for 600 times their bytes. */
static bool announce(struct decoder *decoder, uint64_t bytes) {
  uint64_t left = bytes_left(decoder);
  if (decoder->owed > left || bytes > left - decoder->owed)
    return bad(decoder, "it ends too early");
  decoder->owed += bytes;
  return true;
}

/* Pushes a list of the next `n` values. */
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

/* Returns whether the value on top may be a key. */
static bool is_key(lua_State *L) {
  int type = lua_type(L, -1);
  if (type != LUA_TNUMBER)
    return type == LUA_TSTRING || type == LUA_TBOOLEAN;
  lua_Number number = lua_tonumber(L, -1);
  return number == number; /* not NaN */
}

/* Numbers, unlike strings, have hashes that a peer can foresee: with keys that
   all have the same hash a lookup walks over all of them, and 1 MB took 27
   seconds. Lua puts an integer into the place that is its remainder by 2^k - 1,
   with 2^k places for n keys (ltable.c, hashint): MAX_COLLISIONS of them may
   have one place. Fractions are charged as if all of them collided: 23,000 in
   one map are too many, or more in many maps. */
enum { MAX_COLLISIONS = 64, MAX_STEPS = 1 << 28 };

struct places {
  uint8_t *taken; /* how often, for each place; NULL: too few to matter */
  uint64_t count, fractions;
};

/* Returns places for `n` keys, and pushes one value, which holds them. */
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

/* Returns whether the key on top collides with few others; counts it. */
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

/* Fills the table on top with the next `n` pairs. */
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

/* The whole room is made at once, so that Lua's table has the size that
   is_cheap counts on. */
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

/* Returns the signed integer that `value`, of `size` bytes, stands for. */
static lua_Integer sign_extend(uint64_t value, int size) {
  int shift = 64 - 8 * size;
  return (lua_Integer)(value << shift) >> shift;
}

/* Pushes a value whose tag is followed by a number: tags 0xc4 to 0xdf. */
static bool get_tagged(lua_State *L, struct decoder *decoder, int tag,
                       int depth) {
  /* Bytes of that number, by tag; 0: an extension. */
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
  if (!orr_keeps_pace(L, &decoder->pace))
    return bad(decoder, "it takes too much time: its strings collide");
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
  struct decoder decoder = {*reader, 0, MAX_STEPS, ORR_PACE, NULL};
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

/* Strings of MessagePack --------------------------------------------------- */

/* core.unpack(string) -> the value; nil, what is wrong. */
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

void orr_open_unpack(lua_State *L) {
  static const luaL_Reg functions[] = {{"unpack", l_unpack}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
