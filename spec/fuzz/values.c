/* values.c - a Lua state for the fuzz targets, and whether values are alike:
   see values.h. */
#include "values.h"
#include "binding/values.h"

#include <string.h>

static void *allocate(void *data, void *block, size_t old, size_t size) {
  struct memory *memory = data;
  if (block == NULL)
    old = 0;
  if (size == 0) {
    memory->used -= old;
    free(block);
    return NULL;
  }
  if (size > old && memory->fail_after >= 0 && memory->fail_after-- == 0) {
    memory->fail_after = 0; /* and from now on */
    return NULL;
  }
  void *moved = realloc(block, size);
  CHECK(moved != NULL);
  memory->used += size - old;
  if (memory->used > memory->most)
    memory->most = memory->used;
  return moved;
}

lua_State *open_state(struct memory *memory) {
  *memory = (struct memory){.fail_after = -1};
  lua_State *L = lua_newstate(allocate, memory);
  CHECK(L != NULL);
  return L;
}

void run_in_state(lua_State *L, struct memory *memory, lua_CFunction run,
                  void *test, long fail_after) {
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, test);
  if (fail_after != 0)
    memory->fail_after = fail_after;
  int rc = lua_pcall(L, 1, 0, 0);
  CHECK(rc == LUA_OK || (rc == LUA_ERRMEM && fail_after != 0));
  memory->fail_after = -1;
}

static uint64_t next_word(struct input *input) {
  uint64_t word = 0;
  for (int i = 0; i < 8; i++)
    word = word << 8 | next_byte(input);
  return word;
}

static void push_float(lua_State *L, struct input *input) {
  uint64_t word = next_word(input);
  double value;
  memcpy(&value, &word, sizeof value);
  lua_pushnumber(L, value);
}

static void push_bytes(lua_State *L, struct input *input, size_t times) {
  const uint8_t *bytes;
  size_t size = next_bytes(input, next_byte(input), &bytes);
  lua_pushlstring(L, size > 0 ? (const char *)bytes : "", size);
  lua_pushvalue(L, -1);
  while (times-- > 1) {
    lua_pushvalue(L, -2);
    lua_concat(L, 2);
  }
  lua_replace(L, -2);
}

/* An integer around plus or minus a power of two, where sizes change. */
static lua_Integer near_power(struct input *input) {
  unsigned power = next_byte(input);
  uint64_t value = (UINT64_C(1) << power % 64) + next_byte(input) % 8 - 4;
  return (lua_Integer)(power >= 128 ? 0 - value : value);
}

/* What is no table, by number. */
static void push_plain(lua_State *L, struct input *input, unsigned kind) {
  if (kind == 0)
    lua_pushinteger(L, (lua_Integer)next_byte(input) - 128);
  else if (kind == 1)
    lua_pushinteger(L, near_power(input));
  else if (kind == 2)
    push_float(L, input);
  else if (kind == 3)
    lua_pushnumber(L, (lua_Number)next_byte(input) / 4);
  else if (kind <= 5)
    push_bytes(L, input, 1);
  else if (kind == 6)
    push_bytes(L, input, next_byte(input));
  else if (kind == 7)
    lua_pushboolean(L, (int)next_byte(input) % 2);
  else if (kind == 8)
    orr_push_null(L);
  else if (next_byte(input) < 32)
    lua_pushlightuserdata(L, input);
  else
    lua_pushliteral(L, "");
}

/* Fills the table on top: with a list, with pairs, with itself or, in one that
   is marked, with nothing. */
static void fill_table(lua_State *L, struct input *input) {
  unsigned kind = next_byte(input), n = next_byte(input) % 20;
  if (kind % 8 == 0) {
    orr_mark_list(L);
    n %= 2;
  }
  for (unsigned i = 1; i <= n && input->left > 0; i++) {
    if (kind % 2 == 0)
      lua_pushinteger(L, i);
    else
      push_plain(L, input, next_byte(input) % 9);
    if (lua_isnumber(L, -1) && lua_tonumber(L, -1) != lua_tonumber(L, -1))
      lua_pushboolean(L, true), lua_replace(L, -2);
    if (kind >= 250)
      lua_pushvalue(L, -2);
    else
      push_value(L, input);
    lua_rawset(L, -3);
  }
}

void push_value(lua_State *L, struct input *input) {
  luaL_checkstack(L, 10, NULL);
  unsigned kind = next_byte(input);
  if (kind < 160) {
    push_plain(L, input, kind % 10);
    return;
  }
  lua_newtable(L);
  if (kind > 160) {
    fill_table(L, input);
    return;
  }
  for (unsigned depth = next_byte(input); depth > 1; depth--) {
    lua_createtable(L, 1, 0);
    lua_rotate(L, -2, 1);
    lua_rawseti(L, -2, 1);
  }
}

static int count_pairs(lua_State *L, int table) {
  int count = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    count++;
  return count;
}

static bool have_same_meta(lua_State *L, int a, int b) {
  int top = lua_gettop(L);
  bool has_a = lua_getmetatable(L, a) != 0, has_b = lua_getmetatable(L, b) != 0;
  bool same = has_a == has_b && (!has_a || lua_rawequal(L, -1, -2));
  lua_settop(L, top);
  return same;
}

static bool are_tables_alike(lua_State *L, int a, int b) {
  luaL_checkstack(L, 8, NULL);
  int count = count_pairs(L, a);
  if (count != count_pairs(L, b) || (count == 0 && !have_same_meta(L, a, b)))
    return false;
  for (lua_pushnil(L); lua_next(L, a); lua_settop(L, -3)) {
    lua_pushvalue(L, -2);
    lua_rawget(L, b);
    int top = lua_gettop(L);
    if (!are_alike(L, top - 1, top))
      return false;
  }
  return true;
}

bool are_alike(lua_State *L, int a, int b) {
  if (lua_type(L, a) != lua_type(L, b) ||
      lua_isinteger(L, a) != lua_isinteger(L, b))
    return false;
  if (lua_istable(L, a))
    return are_tables_alike(L, a, b);
  if (lua_type(L, a) != LUA_TNUMBER || lua_isinteger(L, a))
    return lua_rawequal(L, a, b);
  lua_Number x = lua_tonumber(L, a), y = lua_tonumber(L, b);
  return (x != x && y != y) ||
         (x == y && 1 / x == 1 / y); /* zeros have signs */
}
