/* sockets.c - the sockets of the fuzz target http_server: those that its
   clients use, and those that the server has given up. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Those that are given up -------------------------------------------------- */

void hold(struct test *test, int fd) {
  for (int i = 0; i < HELD; i++)
    if (test->held[i] < 0) {
      test->held[i] = fd;
      return;
    }
  close(fd);
}

int give(struct orr_giver *giver, uint32_t service, int fd) {
  static const int refusals[] = {-EAGAIN, -ETOOMANYREFS, -EPIPE, -EAGAIN};
  struct test *test = (struct test *)(void *)giver;
  unsigned how = next_byte(&test->input);
  CHECK(service == SERVICE);
  if (how >= 192)
    return refusals[how % 4];
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  CHECK(copy >= 0);
  hold(test, copy);
  return 0;
}

/* Clients ------------------------------------------------------------------ */

/* Tells whether there is a server that can take in a socket now. */
static bool can_take(const struct test *test) {
  return test->server != NULL;
}

static struct peer *choose_peer(struct test *test) {
  return &test->peers[next_byte(&test->input) % PEERS];
}

/* Has the server take in the socket `arriving`, on one of its roads. */
static void arrive(lua_State *L, struct test *test) {
  unsigned road = next_byte(&test->input) % 4;
  if (road == 3) {
    tell_server(L, test, "taker");
    struct orr_taker *taker = lua_touserdata(L, 1);
    taker->take(taker, test->arriving, L);
    return;
  }
  lua_pushinteger(L, test->arriving);
  if (road > 0) {
    const uint8_t *bytes;
    size_t size = next_bytes(&test->input, next_byte(&test->input), &bytes);
    lua_pushlstring(L, size > 0 ? (const char *)bytes : "", size);
  }
  tell_server(L, test, "take");
  CHECK(lua_toboolean(L, 1));
}

/* Has the server take in a socket. If that raises, it may be ours still. */
static void take_in(lua_State *L, struct test *test, int fd) {
  struct orr_http_server *server = test->server;
  uint64_t number = server->last_number;
  test->arriving = fd;
  if (attempt(L, arrive) != LUA_OK && test->server == server &&
      server->last_number == number)
    close(fd);
}

void step_open(lua_State *L, struct test *test) {
  struct peer *peer = choose_peer(test);
  int ends[2];
  if (!can_take(test) || peer->fd >= 0 || test->opened >= MOST_OPENED)
    return;
  test->opened++;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   ends) == 0);
  int buffer = 4096 * (int)(next_byte(&test->input) % 8);
  if (buffer > 0)
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  peer_connect(peer, ends[1]);
  take_in(L, test, ends[0]);
}

/* Opens the socket that the server accepts from, with an address of the
   kernel's choice, which it fills in. */
static socklen_t listen_once(struct test *test, struct sockaddr_un *address) {
  socklen_t size = sizeof *address;
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (test->listener < 0) {
    test->listener =
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(bind(test->listener, (struct sockaddr *)address,
               sizeof address->sun_family) == 0);
    CHECK(listen(test->listener, MOST_OPENED) == 0);
  }
  CHECK(getsockname(test->listener, (struct sockaddr *)address, &size) == 0);
  return size;
}

void step_accept(lua_State *L, struct test *test) {
  struct peer *peer = choose_peer(test);
  struct sockaddr_un address;
  if (!can_take(test))
    return;
  socklen_t size = listen_once(test, &address);
  if (peer->fd < 0 && test->opened < MOST_OPENED) {
    test->opened++;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, size) == 0);
    peer_connect(peer, fd);
  }
  lua_pushinteger(L, test->listener);
  lua_pushinteger(L, next_byte(&test->input) % 3);
  tell_server(L, test, "accept");
}

void step_take_back(lua_State *L, struct test *test) {
  for (int i = 0; i < HELD && can_take(test); i++)
    if (test->held[i] >= 0) {
      int fd = test->held[i];
      test->held[i] = -1;
      take_in(L, test, fd);
      return;
    }
}

void step_let_go(lua_State *L, struct test *test) {
  int *held = &test->held[next_byte(&test->input) % HELD];
  (void)L;
  if (*held >= 0)
    close(*held);
  *held = -1;
}

void step_send_piece(lua_State *L, struct test *test) {
  (void)L;
  peer_send_piece(choose_peer(test), &test->input);
}

void step_send_bytes(lua_State *L, struct test *test) {
  (void)L;
  peer_send_bytes(choose_peer(test), &test->input);
}

void step_read(lua_State *L, struct test *test) {
  (void)L;
  peer_read(choose_peer(test));
}

void step_shut_down(lua_State *L, struct test *test) {
  struct peer *peer = choose_peer(test);
  (void)L;
  if (peer->fd >= 0)
    shutdown(peer->fd, (int)(next_byte(&test->input) % 3));
}

void step_hang_up(lua_State *L, struct test *test) {
  (void)L;
  peer_close(choose_peer(test));
}
