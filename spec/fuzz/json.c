/* json.c - fuzzes orrery.json: what it takes for JSON it writes again, and then
   reads as the same; and of any value it writes JSON, or says why it cannot. */
#include "json/json.h"
#include "values.h"

#include <string.h>

int luaopen_orrery_json(lua_State *L);

struct test {
  struct input input;
  struct memory memory;
  unsigned kind;
};

/* Calls a function of the module at 1 with the value on top, which stays below
   the results. */
static int call(lua_State *L, const char *name, int results) {
  lua_getfield(L, 1, name);
  lua_pushvalue(L, -2);
  return lua_pcall(L, 1, results, 0);
}

/* ... value -> ... value, text, value */
static void round_trip(lua_State *L) {
  if (call(L, "encode", 1) != LUA_OK)
    lua_error(L);
  CHECK(lua_type(L, -1) == LUA_TSTRING);
  if (call(L, "decode", 1) != LUA_OK)
    lua_error(L);
  CHECK(!lua_isnil(L, -1));
}

static void run_text(lua_State *L, struct test *test) {
  const uint8_t *text;
  size_t size = next_bytes(&test->input, SIZE_MAX, &text);
  lua_pushlstring(L, size > 0 ? (const char *)text : "", size);
  size_t before = test->memory.most = test->memory.used;
  if (call(L, "decode", 2) != LUA_OK)
    lua_error(L);
  CHECK(test->memory.most - before <= 200 * size + 8192);
  if (lua_isnil(L, -2)) {
    CHECK(lua_type(L, -1) == LUA_TSTRING);
    return;
  }
  lua_pop(L, 1);
  round_trip(L);
  int top = lua_gettop(L);
  CHECK(are_alike(L, top - 2, top));
}

/* After the first trip nothing is left that JSON cannot say: the second one
   must change nothing. */
static void run_value(lua_State *L, struct test *test) {
  push_value(L, &test->input);
  if (call(L, "encode", 1) != LUA_OK) {
    const char *error = lua_tostring(L, -1);
    CHECK(test->kind != 0 || strncmp(error, "message", 7) == 0);
    return;
  }
  lua_pop(L, 1);
  round_trip(L);
  int first = lua_gettop(L);
  round_trip(L);
  CHECK(are_alike(L, first, lua_gettop(L)));
}

static int run(lua_State *L) {
  struct test *test = lua_touserdata(L, 1);
  lua_settop(L, 0);
  luaL_requiref(L, "orrery.json", luaopen_orrery_json, 0);
  if (next_byte(&test->input) % 2 == 0)
    run_text(L, test);
  else
    run_value(L, test);
  return 0;
}

/* The first byte says after how many allocations all others fail; 0: none
   does. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct test test = {.input = {data, size}};
  lua_State *L = open_state(&test.memory);
  test.kind = next_byte(&test.input);
  run_in_state(L, &test.memory, run, &test, (long)test.kind);
  lua_close(L);
  CHECK(test.memory.used == 0);
  return 0;
}
