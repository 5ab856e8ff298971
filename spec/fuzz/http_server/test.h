/* test.h - what the parts of the fuzz target http_server share: the run of an
   input, and where Lua's values lie. */
#ifndef ORR_FUZZ_TEST_H
#define ORR_FUZZ_TEST_H

#include "../values.h"
#include "engine/load.h"
#include "http/server.h"
#include "peer.h"

enum {
  SERVICE = 7, /* of what is given away */
  PEERS = 4,
  HELD = 8,          /* fds that are ours between two connections */
  KNOWN = 64,        /* connections that Lua has an object of */
  KEPT = 8,          /* requests and their responses */
  MOST_OPENED = 40,  /* connections of a run */
  MOST_STEPS = 1000, /* of a run */
  MOST_DEPTH = 3,    /* of handlers within each other */
  MOST_WRITTEN = 4 << 20
};

/* Where Lua's values lie: see push_slot. Of each request that is kept, its
   response lies behind it. */
enum { POLLER = 1, SERVER, NATIVE, FIRST_KEPT, SLOTS = FIRST_KEPT + 2 * KEPT };

struct test {
  struct orr_giver giver;
  struct orr_load load;
  struct input input;
  struct memory memory;
  struct orr_http_server *server; /* as long as it is open; may be NULL */
  struct peer peers[PEERS];
  int held[HELD]; /* -1: none */
  void *known[KNOWN];
  unsigned steps, opened, depth, marks, latest;
  size_t written;
  int listener; /* -1: it is not open */
  int arriving; /* a socket that is to be the server's */
  bool reports; /* the load is the server's */
  bool changed; /* the server is to settle */
  bool raised;  /* into the server: it does not tell of all that is cut */
};

/* Returns the run of this Lua state. */
static inline struct test *test_of(lua_State *L) {
  return *(struct test **)lua_getextraspace(L);
}

/* push_slot pushes a value; set_slot pops one, and never raises. */
void push_slot(lua_State *L, int slot);
void set_slot(lua_State *L, int slot);

/* Calls a method of the value at the index `object` with all above it, which
   are replaced by the results. */
void call_method(lua_State *L, int object, const char *method);

/* answers.c ---------------------------------------------------------------- */

/* Keeps the request and the response at these indexes, in place of others. */
void keep(lua_State *L, struct test *test, int request);

/* Numbers the answer to a request. */
void mark(lua_State *L, struct test *test, int request);

/* Does something with a request or a response, as the input says. */
void step_request(lua_State *L, struct test *test);
void step_response(lua_State *L, struct test *test);

/* Lets go of a request and its response. */
void step_drop(lua_State *L, struct test *test);

/* sockets.c ---------------------------------------------------------------- */

/* Keeps an fd that is ours now, or closes it. */
void hold(struct test *test, int fd);

/* Keeps a copy of what is given away, for another server; or refuses it, for
   now or for good. */
int give(struct orr_giver *giver, uint32_t service, int fd);

/* Connect a client that is not, by a socket that the server takes in, or that
   it may accept; and what clients do then. */
void step_open(lua_State *L, struct test *test);
void step_accept(lua_State *L, struct test *test);
void step_send_piece(lua_State *L, struct test *test);
void step_send_bytes(lua_State *L, struct test *test);
void step_read(lua_State *L, struct test *test);
void step_shut_down(lua_State *L, struct test *test);
void step_hang_up(lua_State *L, struct test *test);

/* Has the server take in a connection that it has given up before, or closes
   one. */
void step_take_back(lua_State *L, struct test *test);
void step_let_go(lua_State *L, struct test *test);

/* http_server.c ------------------------------------------------------------ */

/* Takes a step as a task does: what it raises ends nothing else. Returns what
   lua_pcall does. */
int attempt(lua_State *L, void (*run)(lua_State *, struct test *));

/* Calls a method of the server, if it is open, with what lies on the stack,
   which is replaced by the results. */
void tell_server(lua_State *L, const struct test *test, const char *method);

/* Notes that Lua has an object of a connection. */
void know(struct test *test, void *connection);

#endif
