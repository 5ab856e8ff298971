/* connection.c - the life of a server's connections: what is read becomes
   exchanges, in order, and each connection ends so that no answer is lost (RFC
   9112, 9.6). */
#include "engine/io.h"
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINGERED = 256 << 10 }; /* bytes that are read after the end */

static void on_ready(struct orr_watch *watch, uint32_t events, void *context);

/* Beginning and end ------------------------------------------------------- */

/* Returns memory for a connection; NULL if there is none. A spare one that Lua
   has not been told of as gone is not used again: its object would be taken for
   that of the new one. */
static struct orr_connection *find_spare(struct orr_http_server *server) {
  struct orr_connection **at = &server->spares, *c;
  while ((c = *at) != NULL && c->known)
    at = &c->next;
  if (c == NULL)
    return malloc(sizeof *c);
  *at = c->next;
  return c;
}

int orr_connection_new(struct orr_http_server *server, int fd) {
  struct orr_connection *c = find_spare(server);
  if (c == NULL)
    return -ENOMEM;
  *c = (struct orr_connection){.watch = {.ready = on_ready},
                               .server = server,
                               .number = ++server->last_number,
                               .events = EPOLLIN,
                               .fd = -1};
  int rc = orr_poll_add(server->poll, fd, &c->watch, c->events);
  if (rc < 0) {
    orr_connection_free(c);
    return rc;
  }
  c->fd = fd;
  orr_http_init(&c->parser, HTTP_REQUEST, &server->fields, server->max_head);
  c->next = server->connections;
  if (c->next != NULL)
    c->next->prev = c;
  server->connections = c;
  server->count++;
  orr_load_add(&server->load->connections, 1);
  orr_deadline_start(server, ORR_HEAD, &c->deadline);
  orr_deadline_start(server, ORR_REQUEST, &c->request_deadline);
  return 0;
}

/* Ends the connection after its last answer. If the peer may still be sending,
   a plain close would have the kernel answer with a reset, and that takes from
   the peer what it has not read so far. */
static void end(struct orr_connection *c, lua_State *L) {
  if (!c->refused || c->at_end) {
    orr_connection_cut(c, L);
    return;
  }
  c->lingering = true;
  shutdown(c->fd, SHUT_WR);
  orr_deadline_stop(&c->request_deadline);
  orr_deadline_start(c->server, ORR_LINGER, &c->deadline);
}

/* Reads and drops what comes after the end, until the peer has seen it. */
static void linger(struct orr_connection *c, lua_State *L) {
  ssize_t n = orr_read(c->fd, c->server->in, sizeof c->server->in);
  if (n == -EAGAIN)
    return;
  if (n > 0)
    c->lingered += (uint32_t)n;
  if (n <= 0 || c->lingered > LINGERED)
    orr_connection_cut(c, L);
}

/* Reading ----------------------------------------------------------------- */

/* Tells whether bytes may be read or parsed: others would grow without bound,
   as bodies that nobody reads and answers that the client does not. */
static bool may_go_on(const struct orr_connection *c) {
  const struct orr_exchange *x = c->incoming;
  if (c->fd < 0 || c->ending)
    return false;
  if (x != NULL)
    return x->discards || x->body.length < ORR_HIGH_WATER;
  if (c->last != NULL && !c->last->told)
    return false; /* another protocol follows it */
  return c->pipelined < c->server->max_pipelined &&
         orr_connection_queued(c) < ORR_HIGH_WATER;
}

/* Parses what has come. Returns how many bytes are done with. */
static size_t take_in(struct orr_connection *c, lua_State *L, const char *data,
                      size_t length) {
  size_t used = 0;
  bool more = false;
  while (!more && may_go_on(c)) {
    struct orr_http_found found;
    enum orr_http_event event =
        orr_http_next(&c->parser, data + used, length - used, &found);
    used += found.used;
    more = !orr_connection_found(c, L, event, &found);
  }
  c->held = !more;
  if (c->fd >= 0)
    orr_connection_deliver(c, L);
  return used;
}

/* Parses what was read earlier, as far as that may be now. Returns whether
   there was anything to take in. */
static bool take_rest(struct orr_connection *c, lua_State *L) {
  bool taken = false;
  size_t used = 1;
  while ((c->in.length > 0 || c->held) && used > 0 && may_go_on(c)) {
    taken = taken || c->held;
    /* What is held may be found without a byte more: there is no buffer then,
       and not even 0 may be added to NULL. */
    const char *data = c->in.length > 0 ? (char *)c->in.data : c->server->in;
    used = take_in(c, L, data, c->in.length);
    if (c->fd < 0)
      return false;
    taken = taken || used > 0;
    c->in.length -= used;
    if (used > 0)
      memmove(c->in.data, c->in.data + used, c->in.length);
  }
  if (c->in.length == 0 && c->in.capacity > 0)
    orr_buffer_free(&c->in);
  return taken;
}

/* Parses what is in the server's buffer, and keeps what is left of it. Returns
   false if there is no memory. */
static bool take_new(struct orr_connection *c, lua_State *L, size_t length) {
  const char *data = c->server->in;
  size_t used = take_in(c, L, data, length);
  c->refused = c->refused || used < length;
  if (used == length || c->fd < 0 || c->ending)
    return true;
  c->refused = false;
  return orr_buffer_append(&c->in, data + used, length - used) == 0;
}

/* Notes that the peer has finished sending. It is still answered (RFC 9112,
   9.6: a half-closed connection), but for a request that is not complete. */
static void take_end(struct orr_connection *c, lua_State *L) {
  c->at_end = true;
  if (c->incoming != NULL ||
      (c->first == NULL && c->unsent == NULL && orr_connection_queued(c) == 0))
    orr_connection_cut(c, L);
}

/* Reads once, and takes in what has come. */
static void receive(struct orr_connection *c, lua_State *L) {
  bool more = c->in.length > 0;
  if (more && orr_buffer_reserve(&c->in, ORR_READ / 4) < 0) {
    orr_connection_cut(c, L);
    return;
  }
  void *to = more ? (void *)(c->in.data + c->in.length) : c->server->in;
  size_t room = more ? c->in.capacity - c->in.length : sizeof c->server->in;
  ssize_t n = orr_read(c->fd, to, room);
  if (n == -EAGAIN)
    return;
  bool failed = n < 0;
  if (n == 0)
    take_end(c, L);
  else if (n > 0 && more)
    c->in.length += (size_t)n; /* settle parses it */
  else if (n > 0)
    failed = !take_new(c, L, (size_t)n);
  if (failed)
    orr_connection_cut(c, L);
}

/* Settling ---------------------------------------------------------------- */

/* Tells Lua about answers that are with the kernel now, until what it writes
   then has to be sent first. Returns whether it was told of any. */
static bool tell_sent(struct orr_connection *c, lua_State *L) {
  struct orr_exchange *x = c->first;
  bool told = false;
  if (x != NULL && x->seen_response && (x->needs_drain || x->waits_flush) &&
      orr_exchange_push_live(L, x, true)) {
    told = true;
    x->needs_drain = x->waits_flush = false;
    orr_server_tell(L, x->server, "flushed", 1);
  }
  while ((x = c->unsent) != NULL && orr_connection_queued(c) == 0) {
    told = true;
    c->unsent = x->next;
    x->next = NULL;
    x->listed = false;
    if (orr_exchange_push_live(L, x, true))
      orr_server_tell(L, x->server, "sent", 1);
    if (x->complete || x != c->incoming)
      orr_exchange_over(x, L);
  }
  return told;
}

/* Has the deadline run that fits to what is waited for. */
static void set_deadline(struct orr_connection *c) {
  struct orr_deadline *deadline = &c->deadline;
  bool begun = c->incoming != NULL || (c->in.length > 0 && c->first == NULL);
  bool runs = deadline->next != NULL;
  if (c->incoming != NULL || c->first != NULL || c->unsent != NULL ||
      c->out.length > 0) {
    orr_deadline_stop(deadline);
  } else if (c->in.length > 0 && !(runs && deadline->kind == ORR_HEAD)) {
    orr_deadline_start(c->server, ORR_HEAD, deadline);
  } else if (c->in.length == 0 && c->requests > 0 && !runs) {
    orr_deadline_start(c->server, ORR_IDLE, deadline);
  }
  if (begun && c->request_deadline.next == NULL)
    orr_deadline_start(c->server, ORR_REQUEST, &c->request_deadline);
}

/* Has the socket watched for what is waited for. */
static void set_events(struct orr_connection *c, lua_State *L) {
  bool reads = c->lingering || (!c->at_end && may_go_on(c));
  uint32_t events = reads ? EPOLLIN : 0;
  if (c->out.length > 0)
    events |= EPOLLOUT;
  if (events == c->events)
    return;
  c->events = events;
  if (orr_poll_change(c->server->poll, c->fd, &c->watch, events) < 0)
    orr_connection_cut(c, L);
}

/* Tells whether it is between two requests, or has had none so far. */
static bool is_idle(const struct orr_connection *c) {
  return c->first == NULL && c->unsent == NULL && c->incoming == NULL &&
         c->in.length == 0 && orr_connection_queued(c) == 0;
}

/* Gives the connection away, or has that be tried again. Returns false if it
   cannot be. */
static bool give_away(struct orr_connection *c, lua_State *L) {
  struct orr_http_server *server = c->server;
  if (server->giver == NULL || c->known || c->at_end)
    return false;
  int rc = server->giver->give(server->giver, server->service, c->fd);
  if (rc == -EAGAIN || rc == -ETOOMANYREFS)
    orr_deadline_start(server, ORR_MOVE, &c->deadline);
  else if (rc == 0)
    orr_connection_detach(c, L);
  return rc == 0 || rc == -EAGAIN || rc == -ETOOMANYREFS;
}

/* Tells whether an idle connection of a server that is to leave is not ended
   now: it is going to be given away, or cannot be, and is told with its next
   answer that it is the last. */
static bool stays(const struct orr_connection *c) {
  bool moves = c->deadline.next != NULL && c->deadline.kind == ORR_MOVE;
  return c->server->giver != NULL && (c->known || moves);
}

/* Ends the connection, or gives it away, if it is idle, and a last look brings
   no request either: one may have come while the loop was busy. */
static void leave_if_idle(struct orr_connection *c, lua_State *L) {
  bool leaves = c->leaves;
  c->leaves = c->moves = false;
  if (!is_idle(c))
    return;
  receive(c, L);
  if (c->fd >= 0 && is_idle(c) && !give_away(c, L) && leaves && !stays(c))
    c->ending = c->refused = true;
}

/* Sends what is queued, takes in what there is room for then, and lets go of
   what is not going to be answered. */
static void pass_on(struct orr_connection *c, lua_State *L) {
  do /* what is sent makes room for more answers */
    orr_connection_send(c, L);
  while (c->fd >= 0 && take_rest(c, L));
  if (c->dropped != NULL) {
    struct orr_exchange *dropped = c->dropped;
    c->dropped = NULL;
    orr_exchanges_abandon(dropped, L);
  }
  if (c->first != NULL && !c->first->told)
    orr_connection_hand_over(c, L);
}

/* Does what is due, while the connection is served. What Lua writes when it is
   told that all has been sent is left to the next turn: a client that reads as
   fast as Lua writes would have this one go on for ever. */
static void settle(struct orr_connection *c, lua_State *L) {
  if (c->leaves || c->moves)
    leave_if_idle(c, L);
  bool told = true;
  while (told && c->fd >= 0) {
    pass_on(c, L);
    told = c->fd >= 0 && orr_connection_queued(c) == 0 && tell_sent(c, L) &&
           orr_connection_queued(c) == 0;
  }
  if (c->fd < 0)
    return;
  if (orr_connection_queued(c) == 0 && c->first == NULL &&
      (c->ending || c->at_end))
    end(c, L);
  if (c->fd >= 0 && !c->lingering)
    set_deadline(c);
  c->leaves = c->leaves || (c->server->closing && is_idle(c) && !stays(c));
}

/* A connection, and what is to be done with it. */
struct service {
  struct orr_connection *connection;
  void (*what)(struct orr_connection *, lua_State *);
};

/* Does it, and settles. */
static int l_serve(lua_State *L) {
  const struct service *service = lua_touserdata(L, 1);
  struct orr_connection *c = service->connection;
  service->what(c, L);
  if (c->fd >= 0 && !c->lingering)
    settle(c, L);
  return 0;
}

/* Closes what was detached, if it has not become Lua's. */
static void close_detached(struct orr_http_server *server) {
  if (server->detached >= 0)
    close(server->detached);
  server->detached = -1;
}

/* Serves a connection, and none while another one is served: what it answers
   meanwhile is sent in one go, and what is left of that becomes its own, so
   that it is never sent to another client. If Lua raises, for want of memory or
   by a fault of ours, the connection is cut, and the others live on. Returns
   what lua_pcall does, with the error on the stack. */
static int try_serve(struct orr_connection *c, lua_State *L,
                     void (*what)(struct orr_connection *, lua_State *)) {
  struct orr_http_server *server = c->server;
  struct service service = {.connection = c, .what = what};
  server->serving = c;
  lua_pushcfunction(L, l_serve);
  lua_pushlightuserdata(L, &service);
  int rc = lua_pcall(L, 1, 0, 0);
  if (rc != LUA_OK || orr_connection_keep(c) < 0)
    orr_connection_cut(c, NULL);
  server->serving = NULL;
  close_detached(server);
  if (c->fd >= 0)
    set_events(c, L);
  else
    orr_connection_free(c);
  if (c->fd >= 0 && c->leaves && !c->ending)
    orr_connection_touch(c, L);
  return rc;
}

/* Serves a connection, and raises if Lua does. What was not settled meanwhile
   is due then. */
static void serve(struct orr_connection *c, lua_State *L,
                  void (*what)(struct orr_connection *, lua_State *)) {
  struct orr_http_server *server = c->server;
  int rc = try_serve(c, L, what);
  orr_server_schedule(L, server);
  if (rc != LUA_OK)
    lua_error(L);
}

static void nothing(struct orr_connection *c, lua_State *L) {
  (void)c;
  (void)L;
}

int orr_connection_settle(struct orr_connection *c, lua_State *L) {
  return try_serve(c, L, nothing);
}

void orr_connection_end_idle(struct orr_connection *c, lua_State *L) {
  c->leaves = true;
  orr_connection_touch(c, L);
}

bool orr_connection_move_idle(struct orr_connection *c, lua_State *L) {
  if (c->known || c->at_end || c->moves || c->requests == 0 || !is_idle(c))
    return false;
  c->moves = true;
  orr_connection_touch(c, L);
  return true;
}

static void on_idle(struct orr_connection *c, lua_State *L) {
  (void)L;
  c->leaves = true;
}

/* It could not be given away: it is tried again, or the time for that is over.
 */
static void on_move(struct orr_connection *c, lua_State *L) {
  (void)L;
  c->leaves = c->leaves || c->server->closing;
}

/* A request that is late is none any more once its answer is the last. */
static void on_late(struct orr_connection *c, lua_State *L) {
  if (c->ending)
    return;
  orr_connection_refuse(c, L, 408, "the request did not come in time");
}

void orr_connection_late(struct orr_connection *c, lua_State *L, int kind) {
  if (kind == ORR_LINGER)
    orr_connection_cut(c, L);
  else if (kind == ORR_MOVE)
    serve(c, L, on_move);
  else
    serve(c, L, kind == ORR_IDLE ? on_idle : on_late);
}

/* The socket is ready. One that waits inside of a handler for others is told of
   again. */
static void on_ready(struct orr_watch *watch, uint32_t events, void *context) {
  struct orr_connection *c = (struct orr_connection *)(void *)watch;
  lua_State *L = context;
  int top = lua_gettop(L);
  if (c->server->serving != NULL || !orr_server_push(L, c->server, ORR_SELF))
    return;
  if (events & EPOLLERR || !(events & (EPOLLIN | EPOLLOUT)))
    orr_connection_cut(c, L); /* the peer has gone for good */
  else if (c->lingering)
    serve(c, L, linger);
  else
    serve(c, L, events & EPOLLIN && !c->at_end ? receive : nothing);
  lua_settop(L, top);
}

/* A socket that is about to be taken in. */
struct taking {
  struct orr_http_server *server;
  int fd; /* -1: it is the connection's */
};

static int l_take(lua_State *L) {
  struct taking *taking = lua_touserdata(L, 1);
  struct orr_http_server *server = taking->server;
  orr_server_push(L, server, ORR_SELF);
  if (orr_connection_new(server, taking->fd) < 0)
    return 0;
  struct orr_connection *c = server->connections;
  taking->fd = -1;
  orr_server_announce(L, server);
  if (c->fd >= 0 && server->serving == NULL)
    serve(c, L, receive);
  return 0;
}

void orr_connection_take(struct orr_http_server *server, lua_State *L, int fd) {
  struct taking taking = {.server = server, .fd = fd};
  int top = lua_gettop(L);
  if (server->poll != NULL && lua_checkstack(L, 4)) {
    lua_pushcfunction(L, l_take);
    lua_pushlightuserdata(L, &taking);
    lua_pcall(L, 1, 0, 0); /* what failed has cut the connection */
  }
  lua_settop(L, top);
  if (taking.fd >= 0)
    close(taking.fd);
}
