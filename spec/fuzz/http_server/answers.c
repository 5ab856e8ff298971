/* answers.c - what is done with requests and responses, while they are handled
   or at any time later. They lie in a ring of those that came last. */
#include "test.h"

#include <string.h>

enum { FILLER = 128 << 10 };

/* The slots ---------------------------------------------------------------- */

/* Pushes the slot of a request, which may be nil: mostly of the last one. */
static int choose(struct test *test) {
  unsigned back = next_byte(&test->input);
  back = back < 128 ? 0 : back % KEPT;
  return FIRST_KEPT + 2 * (int)((test->latest + KEPT - back) % KEPT);
}

void keep(lua_State *L, struct test *test, int request) {
  test->latest = (test->latest + 1) % KEPT;
  int slot = FIRST_KEPT + 2 * (int)test->latest;
  lua_pushvalue(L, request);
  set_slot(L, slot);
  lua_pushvalue(L, request + 1);
  set_slot(L, slot + 1);
}

void step_drop(lua_State *L, struct test *test) {
  int slot = choose(test);
  unsigned which = next_byte(&test->input);
  for (int i = 0; i < 2; i++)
    if (which % 3 != (unsigned)i) {
      lua_pushnil(L);
      set_slot(L, slot + i);
    }
}

static bool is_head(lua_State *L, int request) {
  lua_getfield(L, request, "method");
  bool head = strcmp(lua_tostring(L, -1), "HEAD") == 0;
  lua_pop(L, 1);
  return head;
}

/* Has nobody look at answers any more: which have a body is not known. */
static void blind_all(struct test *test) {
  for (int i = 0; i < PEERS; i++)
    test->peers[i].blind = true;
}

void mark(lua_State *L, struct test *test, int request) {
  luaL_checkstack(L, 8, NULL);
  int top = lua_gettop(L);
  bool head = is_head(L, request);
  lua_pushvalue(L, request + 1);
  lua_pushliteral(L, MARK);
  lua_pushfstring(L, "%d%s", (int)++test->marks, head ? "h" : "");
  call_method(L, top + 1, "set_header");
  lua_settop(L, top);
}

/* Values ------------------------------------------------------------------- */

/* Pushes bytes to write. */
static void push_data(lua_State *L, struct test *test) {
  static char filler[FILLER];
  unsigned kind = next_byte(&test->input);
  const uint8_t *bytes;
  size_t size;
  if (filler[0] == '\0')
    memset(filler, 'z', sizeof filler);
  if (kind < 128) {
    lua_pushlstring(L, filler, kind % 16);
  } else if (kind < 160) {
    size = next_bytes(&test->input, next_byte(&test->input), &bytes);
    lua_pushlstring(L, size > 0 ? (const char *)bytes : "", size);
  } else if (kind < 252 && test->written < MOST_WRITTEN) {
    size = ((size_t)kind - 159) * 1400;
    test->written += size;
    lua_pushlstring(L, filler, size);
  } else {
    lua_pushinteger(L, kind); /* which is no string */
  }
}

static void push_name(lua_State *L, struct test *test) {
  static const char *const names[] = {
      "X",    "Content-Length", "Transfer-Encoding", "Connection",
      "Date", "Set-Cookie",     "Trailer",           "Host",
      "x",    "no token",       "content-length",    ""};
  lua_pushstring(
      L, names[next_byte(&test->input) % (sizeof names / sizeof *names)]);
}

static void push_text(lua_State *L, struct test *test) {
  static const char *const values[] = {"v", "0",     "5",          "chunked",
                                       "",  "close", "keep-alive", "a, close"};
  unsigned kind = next_byte(&test->input);
  const uint8_t *bytes;
  if (kind < 192) {
    lua_pushstring(L, values[kind % 8]);
  } else if (kind < 224) {
    lua_pushinteger(L, kind - 192);
  } else {
    size_t size = next_bytes(&test->input, kind - 224, &bytes);
    lua_pushlstring(L, size > 0 ? (const char *)bytes : "", size);
  }
}

/* Pushes the value of a header: a string, a number, or a list. */
static void push_header_value(lua_State *L, struct test *test) {
  unsigned count = next_byte(&test->input);
  if (count < 224) {
    push_text(L, test);
    return;
  }
  lua_newtable(L);
  for (int i = 1; i <= (int)(count % 4); i++) {
    push_text(L, test);
    lua_rawseti(L, -2, i);
  }
}

/* Pushes headers: by name, or as a list. */
static void push_headers(lua_State *L, struct test *test) {
  unsigned kind = next_byte(&test->input);
  lua_newtable(L);
  for (lua_Integer i = 1; i <= kind % 4; i++) {
    push_name(L, test);
    push_header_value(L, test);
    if (kind < 128) {
      lua_rawset(L, -3);
    } else {
      lua_rawseti(L, -3, 2 * i);
      lua_rawseti(L, -2, 2 * i - 1);
    }
  }
}

static int l_nothing(lua_State *L) {
  (void)L;
  return 0;
}

/* Pushes a callback, or nothing. */
static void push_callback(lua_State *L, struct test *test) {
  unsigned kind = next_byte(&test->input);
  if (kind >= 160)
    lua_pushcfunction(L, l_nothing);
  else if (kind >= 156)
    lua_pushliteral(L, "no function");
}

/* Requests ----------------------------------------------------------------- */

/* Gets all properties, and some that there are not. */
static void look(lua_State *L, const char *const *names) {
  for (; *names != NULL; names++) {
    lua_getfield(L, 1, *names);
    lua_pop(L, 1);
  }
}

static void look_at_request(lua_State *L, struct test *test) {
  static const char *const names[] = {
      "method",       "url",      "headers",      "raw_headers",
      "http_version", "trailers", "raw_trailers", "aborted",
      "complete",     "extra",    "none",         NULL};
  (void)test;
  look(L, names);
}

static void set_extra(lua_State *L, struct test *test) {
  push_text(L, test);
  lua_setfield(L, 1, "extra");
}

static void want(lua_State *L, struct test *test) {
  lua_pushboolean(L, next_byte(&test->input) % 4 != 3);
  call_method(L, 1, "want_");
}

/* At the end, no more bytes come. */
static void take(lua_State *L, struct test *test) {
  (void)test;
  call_method(L, 1, "take_");
  CHECK(lua_gettop(L) == 3 && lua_isboolean(L, 2) && lua_isboolean(L, 3));
  CHECK(!lua_toboolean(L, 3) || lua_toboolean(L, 2));
}

static void ask_connection(lua_State *L, struct test *test) {
  call_method(L, 1, "connection_");
  struct orr_connection *connection = lua_touserdata(L, 1);
  if (connection != NULL)
    know(test, connection);
}

static void cut(lua_State *L, struct test *test) {
  (void)test;
  call_method(L, 1, "cut_");
}

static void (*const request_steps[])(lua_State *, struct test *) = {
    want, take,           look_at_request, want, take,
    cut,  ask_connection, set_extra,       want, take};

void step_request(lua_State *L, struct test *test) {
  size_t count = sizeof request_steps / sizeof *request_steps;
  lua_settop(L, 0);
  push_slot(L, choose(test));
  unsigned which = next_byte(&test->input);
  if (lua_isuserdata(L, 1))
    request_steps[which % count](L, test);
}

/* Responses ---------------------------------------------------------------- */

static void set_header(lua_State *L, struct test *test) {
  push_name(L, test);
  push_header_value(L, test);
  call_method(L, 1, "set_header");
}

static void get_header(lua_State *L, struct test *test) {
  push_name(L, test);
  call_method(L, 1, "get_header");
}

static void remove_header(lua_State *L, struct test *test) {
  push_name(L, test);
  call_method(L, 1, "remove_header");
}

static void push_status(lua_State *L, struct test *test) {
  static const int statuses[] = {200, 204, 304, 404, 999, 205, 600, 199};
  lua_pushinteger(L, statuses[next_byte(&test->input) % 8]);
}

static void set_status(lua_State *L, struct test *test) {
  push_status(L, test);
  lua_setfield(L, 1, "status_code");
}

static void set_message(lua_State *L, struct test *test) {
  push_text(L, test);
  lua_setfield(L, 1, "status_message");
}

static void write_head(lua_State *L, struct test *test) {
  unsigned which = next_byte(&test->input);
  push_status(L, test);
  if (which & 1)
    push_text(L, test);
  if (which & 2)
    push_headers(L, test);
  call_method(L, 1, "write_head");
}

static void write_information(lua_State *L, struct test *test) {
  lua_pushinteger(L, 102 + next_byte(&test->input) % 4);
  push_headers(L, test);
  call_method(L, 1, "write_information");
}

static void write_continue(lua_State *L, struct test *test) {
  (void)test;
  call_method(L, 1, "write_continue");
}

static void add_trailers(lua_State *L, struct test *test) {
  push_headers(L, test);
  call_method(L, 1, "add_trailers");
}

static void write_some(lua_State *L, struct test *test) {
  push_data(L, test);
  push_callback(L, test);
  call_method(L, 1, "write");
  CHECK(lua_gettop(L) == 1 && lua_isboolean(L, 1));
}

static void finish(lua_State *L, struct test *test) {
  push_data(L, test);
  push_callback(L, test);
  call_method(L, 1, "finish");
}

static void finish_empty(lua_State *L, struct test *test) {
  push_callback(L, test);
  call_method(L, 1, "finish");
}

/* The answer that it gives has no mark. */
static void fail(lua_State *L, struct test *test) {
  lua_getfield(L, 1, "req");
  if (is_head(L, 2))
    blind_all(test);
  lua_settop(L, 1);
  call_method(L, 1, "fail_");
}

static void look_at_response(lua_State *L, struct test *test) {
  static const char *const names[] = {"status_code",  "status_message",
                                      "headers_sent", "finished",
                                      "writable",     "closed",
                                      "req",          "extra",
                                      "none",         NULL};
  (void)test;
  look(L, names);
}

/* Calls a method of the other class. */
static void mistake(lua_State *L, struct test *test) {
  (void)test;
  lua_getfield(L, 1, "finish");
  lua_getfield(L, 1, "req");
  lua_call(L, 1, 0);
}

static void (*const response_steps[])(lua_State *, struct test *) = {
    finish,       finish_empty,   write_some,
    set_header,   write_head,     write_information,
    finish,       finish_empty,   write_some,
    set_header,   get_header,     remove_header,
    set_status,   set_message,    look_at_response,
    add_trailers, write_continue, fail,
    set_extra,    mistake};

void step_response(lua_State *L, struct test *test) {
  size_t count = sizeof response_steps / sizeof *response_steps;
  lua_settop(L, 0);
  push_slot(L, choose(test) + 1);
  unsigned which = next_byte(&test->input);
  if (lua_isuserdata(L, 1))
    response_steps[which % count](L, test);
}
