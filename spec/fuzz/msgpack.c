/* msgpack.c - fuzzes MessagePack. The second byte chooses: bytes that are
   decoded, values that are encoded, or frames of a hostile peer as the binding
   decodes them, amid finalizers that read from the channel or close it. */
#include "binding/msgpack.h"
#include "binding/binding.h"
#include "binding/pace.h"
#include "binding/values.h"
#include "fds.h"
#include "values.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct test {
  struct input input;
  struct memory memory;
  unsigned kind;
  unsigned mischief; /* what the finalizer does */
};

enum { CORE = 1, CHANNEL = 2 }; /* stack indexes */

/* Calls a function of the core with the value on top, which stays below the
   results. */
static int call(lua_State *L, const char *name, int results) {
  lua_getfield(L, CORE, name);
  lua_pushvalue(L, -2);
  return lua_pcall(L, 1, results, 0);
}

/* ... value -> ...: packs and unpacks it. It comes back as it was, or the error
   says why it cannot be sent. */
static void round_trip(lua_State *L, const struct test *test) {
  int rc = call(L, "pack", 1);
  if (rc != LUA_OK) {
    const char *error = lua_tostring(L, -1);
    CHECK(rc == LUA_ERRMEM || test->kind != 0 ||
          strncmp(error, "message", 7) == 0);
    return;
  }
  CHECK(call(L, "unpack", 1) == LUA_OK || test->kind != 0);
  int top = lua_gettop(L);
  CHECK(test->kind != 0 || are_alike(L, top - 2, top));
}

static void run_bytes(lua_State *L, struct test *test) {
  static const unsigned never = 0;
  const uint8_t *bytes;
  size_t budget = (size_t)next_byte(&test->input) * 256;
  size_t size = next_bytes(&test->input, SIZE_MAX, &bytes);
  struct orr_msgpack_reader reader = {bytes, bytes + size, budget, &never, 0};
  size_t before = test->memory.most = test->memory.used;
  int rc = orr_msgpack_decode(L, &reader);
  size_t most = 2 * budget + 4096;
  if (size > ORR_PACE_VALUES)
    most += 100 * ORR_PACE_VALUES; /* those that it may be compared with */
  CHECK(test->memory.most - before <= most);
  CHECK(reader.at <= bytes + size);
  if (rc == 0)
    round_trip(L, test);
  else
    CHECK(strncmp(lua_tostring(L, -1), "not MessagePack: ", 17) == 0);
}

static void run_value(lua_State *L, struct test *test) {
  push_value(L, &test->input);
  round_trip(L, test);
}

/* Hostile frames ----------------------------------------------------------- */

static void method(lua_State *L, const char *name, int results) {
  lua_getfield(L, CHANNEL, name);
  lua_pushvalue(L, CHANNEL);
  lua_call(L, 1, results);
}

static void arm(lua_State *L, int channel);

/* Does to the channel what the next two bits of `mischief` say, and arms
   anew. */
static int l_finalizer(lua_State *L) {
  static const char *const names[] = {"receive", "next", "close", "partial"};
  struct test *test = lua_touserdata(L, lua_upvalueindex(1));
  unsigned what = test->mischief;
  test->mischief = what >> 2;
  if (what == 0)
    return 0;
  lua_settop(L, 0);
  lua_pushnil(L);
  lua_pushvalue(L, lua_upvalueindex(2)); /* CHANNEL */
  method(L, names[what % 4], 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  arm(L, CHANNEL);
  return 0;
}

/* test -> : makes garbage whose finalizer meddles with the channel. */
static void arm(lua_State *L, int channel) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, -3);
  lua_pushvalue(L, channel);
  lua_pushcclosure(L, l_finalizer, 2);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_pop(L, 2);
}

/* Pushes a channel whose peer has sent all of the input, with an fd or two. */
static void push_channel(lua_State *L, struct test *test) {
  int ends[2];
  const uint8_t *bytes;
  lua_getfield(L, CORE, "fork");
  orr_fd_push(L);
  lua_pushliteral(L, "frames");
  lua_pushinteger(L, 100000);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  orr_fd_set(L, -3, ends[0], true);
  size_t size = next_bytes(&test->input, 60000, &bytes);
  send_with_files(ends[1], bytes, size, (int)(size % 4));
  close(ends[1]);
  lua_call(L, 3, 1);
}

static void run_frames(lua_State *L, struct test *test) {
  test->mischief = next_byte(&test->input) | next_byte(&test->input) << 8;
  push_channel(L, test);
  lua_pushlightuserdata(L, test);
  arm(L, CHANNEL);
  lua_gc(L, LUA_GCINC, 1, 1000, 8); /* nearly all at each step */
  for (int i = 0; i < 4; i++) {
    method(L, "receive", 0);
    do {
      lua_settop(L, CHANNEL);
      method(L, "next", 6);
    } while (lua_toboolean(L, CHANNEL + 1));
  }
  test->mischief = 0;
}

static int run(lua_State *L) {
  struct test *test = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_newtable(L);
  orr_open_values(L);
  orr_open_pack(L);
  orr_open_unpack(L);
  unsigned what = next_byte(&test->input) % 4;
  if (what == 0) {
    run_value(L, test);
  } else if (what == 1) {
    orr_open_fd(L);
    orr_open_fork(L);
    run_frames(L, test);
  } else {
    run_bytes(L, test);
  }
  return 0;
}

/* The first byte says after how many allocations all others fail; 0: none
   does. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct test test = {.input = {data, size}};
  open_files();
  int before = count_fds();
  lua_State *L = open_state(&test.memory);
  test.kind = next_byte(&test.input);
  run_in_state(L, &test.memory, run, &test, (long)test.kind);
  test.mischief = 0;
  lua_close(L);
  CHECK(test.memory.used == 0);
  CHECK(count_fds() == before);
  return 0;
}
