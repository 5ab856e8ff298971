/* http_server.c - fuzzes the binding of the HTTP server. An input is a program:
   clients connect, send and go, turns of the loop pass, and handlers do what
   they do to requests, responses and the server, inside of each other, too.
   Some steps are short of Lua's memory. Whatever it says, answers come in order
   and can be parsed, and nothing is left at the end. */
#include "fds.h"
#include "http_server/test.h"

#include "binding/binding.h"

#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

int luaopen_orrery_http(lua_State *L);

enum { LONG = 600000 }; /* ms: no run lasts as long */

/* One thing that a run can do. */
struct step {
  void (*run)(lua_State *L, struct test *test);
};

static void take_step(lua_State *L, struct test *test);

/* Lua ---------------------------------------------------------------------- */

static const char slots_key;

void push_slot(lua_State *L, int slot) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &slots_key);
  lua_rawgeti(L, -1, slot);
  lua_remove(L, -2);
}

void set_slot(lua_State *L, int slot) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &slots_key);
  lua_insert(L, -2);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
}

void call_method(lua_State *L, int object, const char *method) {
  lua_getfield(L, object, method);
  lua_insert(L, object);
  lua_call(L, lua_gettop(L) - object, LUA_MULTRET);
}

/* Calls a function of the module at index 1 with all above it, likewise. */
static void call_native(lua_State *L, const char *function) {
  lua_getfield(L, 1, function);
  lua_replace(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static int l_step(lua_State *L) {
  const struct step *step = lua_touserdata(L, 1);
  lua_settop(L, 0);
  step->run(L, test_of(L));
  return 0;
}

int attempt(lua_State *L, void (*run)(lua_State *, struct test *)) {
  struct step step = {run};
  luaL_checkstack(L, 4, NULL);
  lua_pushcfunction(L, l_step);
  lua_pushlightuserdata(L, &step);
  int rc = lua_pcall(L, 1, 0, 0);
  if (rc != LUA_OK)
    lua_pop(L, 1);
  return rc;
}

/* Connections that Lua has objects of -------------------------------------- */

static void **find_known(struct test *test, const void *connection) {
  for (int i = 0; i < KNOWN; i++)
    if (test->known[i] == connection)
      return &test->known[i];
  return NULL;
}

void know(struct test *test, void *connection) {
  if (find_known(test, connection) != NULL)
    return;
  void **place = find_known(test, NULL);
  if (place != NULL)
    *place = connection;
}

static void step_known(lua_State *L, struct test *test) {
  unsigned which = next_byte(&test->input);
  void *connection = NULL;
  for (int i = 0; i < KNOWN && connection == NULL; i++)
    connection = test->known[(which / 2 + (unsigned)i) % KNOWN];
  if (connection == NULL)
    return;
  push_slot(L, NATIVE);
  lua_pushlightuserdata(L, connection);
  call_native(L, which % 2 == 0 ? "connection_fd" : "cut_connection");
}

/* What the server calls ---------------------------------------------------- */

/* Does some of what the input says. Returns whether the function that was
   called is to raise. */
static bool act(lua_State *L, struct test *test) {
  unsigned count = next_byte(&test->input);
  bool raises = count == 255;
  if (test->depth >= MOST_DEPTH)
    return false;
  test->depth++;
  for (count %= 4; count > 0 && test->input.left > 0; count--)
    if (attempt(L, take_step) == LUA_ERRMEM)
      raises = raises || next_byte(&test->input) % 2 == 0;
  test->depth--;
  return raises;
}

static int l_act(lua_State *L) {
  return act(L, test_of(L)) ? luaL_error(L, "raised") : 0;
}

/* Acts in a coroutine, as most handlers do. */
static void act_apart(lua_State *L) {
  int results;
  unsigned depth = test_of(L)->depth;
  lua_State *own = lua_newthread(L);
  lua_pushcfunction(own, l_act);
  lua_resume(own, L, 0, &results);
  test_of(L)->depth = depth;
  lua_pop(L, 1);
}

/* on_request(request, response) */
static int on_request(lua_State *L) {
  struct test *test = test_of(L);
  CHECK(test->server != NULL);
  keep(L, test, 1);
  mark(L, test, 1);
  if (next_byte(&test->input) % 4 == 3) {
    act_apart(L);
  } else if (act(L, test)) {
    test->raised = true;
    return luaL_error(L, "raised");
  }
  return 0;
}

/* Notes an event without which nothing would be right any more. */
static void note(lua_State *L, struct test *test, const char *name) {
  if (strcmp(name, "changed") == 0) {
    CHECK(!test->changed);
    test->changed = true;
  } else if (strcmp(name, "connection") == 0) {
    CHECK(find_known(test, lua_touserdata(L, 2)) == NULL || test->raised);
    know(test, lua_touserdata(L, 2));
  } else if (strcmp(name, "gone") == 0) {
    void **place = find_known(test, lua_touserdata(L, 2));
    CHECK(place != NULL || test->raised);
    if (place != NULL)
      *place = NULL;
  } else if (strcmp(name, "drained") == 0) {
    CHECK(test->server->count == 0);
  } else if (lua_isinteger(L, 4)) { /* upgrade, connect, client_error */
    hold(test, (int)lua_tointeger(L, 4));
  }
}

/* on_event(name, …) */
static int on_event(lua_State *L) {
  struct test *test = test_of(L);
  const char *name = lua_tostring(L, 1);
  CHECK(test->server != NULL);
  note(L, test, name);
  if (strcmp(name, "changed") == 0)
    return 0;
  if (strcmp(name, "check_continue") == 0) {
    keep(L, test, 2);
    mark(L, test, 2);
  }
  if (next_byte(&test->input) >= 128)
    act(L, test);
  return 0;
}

/* The server --------------------------------------------------------------- */

static void set_integer(lua_State *L, const char *name, int value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

/* Pushes the settings. Time passes in step_late only. */
static void push_settings(lua_State *L, struct input *input) {
  static const int heads[] = {16384, 64, 200, 1000};
  static const int requests[] = {0, 0, 1, 2}, pipelined[] = {64, 1, 2, 3};
  static const char *const times[] = {"headers_timeout", "request_timeout",
                                      "idle_timeout", "linger"};
  unsigned which = next_byte(input), timed = ~next_byte(input);
  lua_newtable(L);
  set_integer(L, "max_header_size", heads[which % 4]);
  set_integer(L, "max_requests_per_socket", requests[which / 4 % 4]);
  set_integer(L, "max_pipelined", pipelined[which / 16 % 4]);
  for (unsigned i = 0; i < 4; i++)
    set_integer(L, times[i], timed >> i & 1 ? LONG : 0);
  lua_pushstring(L, which < 128 ? ""
                                : "Connection: keep-alive\r\n"
                                  "Keep-Alive: timeout=5\r\n");
  lua_setfield(L, -2, "announcement");
}

/* Opens a server, if there is none. */
static void step_serve(lua_State *L, struct test *test) {
  if (test->server != NULL)
    return;
  push_slot(L, NATIVE);
  push_settings(L, &test->input);
  push_slot(L, POLLER);
  lua_pushcfunction(L, on_request);
  lua_pushcfunction(L, on_event);
  call_native(L, "server");
  CHECK(lua_isuserdata(L, 1));
  test->server = lua_touserdata(L, 1);
  test->server->deadlines[ORR_MOVE].length = LONG;
  test->changed = test->reports = false;
  set_slot(L, SERVER);
}

void tell_server(lua_State *L, const struct test *test, const char *method) {
  push_slot(L, SERVER);
  lua_insert(L, 1);
  if (test->server != NULL)
    call_method(L, 1, method);
}

/* Closes the server, and lets go of it. Others of its methods raise then. */
static void step_close(lua_State *L, struct test *test) {
  unsigned how = next_byte(&test->input);
  if (test->server == NULL || how < 128)
    return;
  push_slot(L, SERVER);
  call_method(L, 1, "close");
  test->server = NULL;
  memset(test->known, 0, sizeof test->known);
  CHECK(!test->reports || (atomic_load(&test->load.connections) == 0 &&
                           atomic_load(&test->load.requests) == 0));
  if (how % 2 == 0) {
    lua_pushnil(L);
    set_slot(L, SERVER);
  }
  if (how % 4 == 0)
    lua_gc(L, LUA_GCCOLLECT);
}

static void step_listen(lua_State *L, struct test *test) {
  unsigned events = next_byte(&test->input);
  for (int i = 0; i < 5; i++)
    lua_pushboolean(L, events >> i & 1);
  tell_server(L, test, "listen_for");
}

static void step_end_idle(lua_State *L, struct test *test) {
  tell_server(L, test, "end_idle");
}

static void step_end_all(lua_State *L, struct test *test) {
  if (next_byte(&test->input) >= 128)
    tell_server(L, test, "end_all");
}

static void step_finish(lua_State *L, struct test *test) {
  lua_pushboolean(L, next_byte(&test->input) % 2 == 0);
  tell_server(L, test, "finish");
}

static void step_give_to(lua_State *L, struct test *test) {
  if (next_byte(&test->input) % 4 != 3)
    lua_pushlightuserdata(L, &test->giver);
  else
    lua_pushnil(L);
  lua_pushinteger(L, SERVICE);
  tell_server(L, test, "give_to");
}

static void step_move(lua_State *L, struct test *test) {
  lua_pushinteger(L, next_byte(&test->input) % 4);
  tell_server(L, test, "move");
}

static void step_report(lua_State *L, struct test *test) {
  lua_pushlightuserdata(L, &test->load);
  tell_server(L, test, "report");
  test->reports = test->server != NULL;
}

static void step_count(lua_State *L, struct test *test) {
  tell_server(L, test, "count");
  if (test->server != NULL)
    CHECK(lua_tointeger(L, 1) == (lua_Integer)test->server->count);
}

static void settle(lua_State *L, struct test *test) {
  tell_server(L, test, "settle");
}

/* Has the server do what is due, if it has told so; again, if it has not begun
   for want of memory. */
static void settle_changed(lua_State *L, struct test *test) {
  struct orr_http_server *server = test->server;
  if (!test->changed || server == NULL)
    return;
  test->changed = false;
  if (attempt(L, settle) != LUA_OK && test->server == server)
    test->changed = server->scheduled;
}

static void step_turn(lua_State *L, struct test *test) {
  push_slot(L, POLLER);
  lua_newtable(L);
  call_method(L, 1, "wait");
  CHECK(lua_tointeger(L, 1) == 0); /* no fd has a key */
  lua_settop(L, 0);
  if (test->depth == 0) /* the loop does so when the turn ends */
    settle_changed(L, test);
}

/* Has deadlines of some kinds be over, and the timer fire. */
static void step_late(lua_State *L, struct test *test) {
  unsigned kinds = next_byte(&test->input);
  if (test->server == NULL)
    return;
  for (int kind = 0; kind < ORR_DEADLINES; kind++) {
    struct orr_deadline *anchor = &test->server->deadlines[kind].first;
    if (kinds >> kind & 1)
      for (struct orr_deadline *d = anchor->next; d != anchor; d = d->next)
        d->at = 0;
  }
  struct itimerspec soon = {.it_value = {.tv_nsec = 1}};
  struct pollfd fired = {.fd = test->server->timer_fd, .events = POLLIN};
  CHECK(timerfd_settime(fired.fd, 0, &soon, NULL) == 0);
  CHECK(poll(&fired, 1, 10000) == 1);
  step_turn(L, test);
}

/* Runs --------------------------------------------------------------------- */

static void step_collect(lua_State *L, struct test *test) {
  (void)test;
  lua_gc(L, LUA_GCCOLLECT);
}

/* Takes another step after a few allocations of which all others fail. */
static void step_short(lua_State *L, struct test *test) {
  long allocations = (long)next_byte(&test->input) / 4;
  test->raised = true;
  test->memory.fail_after = allocations;
  attempt(L, take_step);
  test->memory.fail_after = -1;
}

static void (*const steps[])(lua_State *, struct test *) = {
    step_turn,      step_send_piece, step_response,  step_open,
    step_turn,      step_send_piece, step_response,  step_request,
    step_turn,      step_send_piece, step_response,  step_request,
    step_turn,      step_send_piece, step_response,  step_request,
    step_read,      step_send_bytes, step_drop,      step_collect,
    step_shut_down, step_hang_up,    step_late,      step_known,
    step_listen,    step_end_idle,   step_end_all,   step_finish,
    step_give_to,   step_move,       step_take_back, step_let_go,
    step_report,    step_count,      step_short,     step_serve,
    step_close,     step_read,       step_accept};

static void take_step(lua_State *L, struct test *test) {
  size_t which = next_byte(&test->input), count = sizeof steps / sizeof *steps;
  if (test->steps++ < MOST_STEPS)
    steps[which % count](L, test);
}

/* Nothing that is to be done may be forgotten. */
static void check_server(struct test *test) {
  const struct orr_http_server *server = test->server;
  unsigned count = 0;
  if (server == NULL)
    return;
  CHECK(server->serving == NULL && server->out.length == 0);
  /* What could not be told for want of memory is told with the next change. */
  if (server->dirty != NULL && test->raised)
    test->changed = server->scheduled;
  CHECK(server->dirty == NULL || test->changed || test->raised);
  for (struct orr_connection *c = server->connections; c != NULL; c = c->next)
    count++;
  CHECK(server->count == count);
  CHECK(!test->reports || atomic_load(&test->load.connections) == count);
}

static void open_all(lua_State *L, struct test *test) {
  lua_createtable(L, SLOTS, 0);
  for (int i = 1; i <= SLOTS; i++) {
    lua_pushboolean(L, false);
    lua_rawseti(L, -2, i);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, &slots_key);
  lua_newtable(L);
  orr_open_poller(L);
  lua_getfield(L, -1, "poller");
  lua_call(L, 0, 1);
  set_slot(L, POLLER);
  lua_pushcfunction(L, luaopen_orrery_http);
  lua_call(L, 0, 1);
  lua_getfield(L, -1, "response");
  lua_getfield(L, -1, "methods");
  lua_pushcfunction(L, l_act); /* may raise, too */
  lua_setfield(L, -2, "refuse_");
  lua_settop(L, 2);
  set_slot(L, NATIVE);
  lua_settop(L, 0);
  step_serve(L, test);
}

static int run(lua_State *L) {
  struct test *test = lua_touserdata(L, 1);
  *(struct test **)lua_getextraspace(L) = test;
  lua_settop(L, 0);
  open_all(L, test);
  while (test->input.left > 0 && test->steps < MOST_STEPS) {
    lua_settop(L, 0);
    test->depth = 0; /* what has raised has not lowered it */
    attempt(L, take_step);
    check_server(test);
  }
  for (int i = 0; i < PEERS; i++) {
    attempt(L, step_turn);
    while (peer_read(&test->peers[i]))
      attempt(L, step_turn);
  }
  check_server(test);
  return 0;
}

/* Lets go of all that is ours. */
static void close_all(struct test *test) {
  for (int i = 0; i < PEERS; i++) {
    peer_read(&test->peers[i]);
    peer_close(&test->peers[i]);
  }
  for (int i = 0; i < HELD; i++)
    if (test->held[i] >= 0)
      close(test->held[i]);
  if (test->listener >= 0)
    close(test->listener);
}

/* A server that is open at the end is closed with the state. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct test test;
  int before = count_fds();
  memset(&test, 0, sizeof test);
  test.giver.give = give;
  test.input = (struct input){data, size};
  for (int i = 0; i < PEERS; i++)
    test.peers[i].fd = -1;
  test.listener = -1;
  memset(test.held, -1, sizeof test.held);
  lua_State *L = open_state(&test.memory);
  run_in_state(L, &test.memory, run, &test, 0);
  lua_close(L);
  close_all(&test);
  CHECK(test.memory.used == 0);
  CHECK(atomic_load(&test.load.connections) == 0);
  CHECK(atomic_load(&test.load.requests) == 0);
  CHECK(count_fds() == before);
  return 0;
}
