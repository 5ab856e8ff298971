/* worker.c - the userdata orrery.worker: a worker's end of its hand-off socket,
   and its page. */
#include "binding/binding.h"
#include "cluster.h"
#include "engine/io.h"
#include "engine/load.h"
#include "engine/poll.h"
#include "handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
  PAGE = 4096,
  SPARE = 64,    /* numbers of fds that are left when they are short */
  MESSAGES = 16, /* that are taken in a turn */
  LONG = 1000    /* us, after which no more are */
};

/* What Lua has given: on_socket(what, …), and what must last. */
enum { ON_SOCKET, POLL, VALUES };

/* Who takes the connections of a service: in C, or a function of Lua's. */
struct takes {
  uint32_t service;
  struct orr_taker *taker; /* NULL: `fn` */
  int fn;                  /* in the registry */
};

struct worker {
  struct orr_watch watch; /* of `socket` */
  struct orr_giver giver;
  struct orr_poll *poll; /* NULL: closed */
  int socket;            /* owned */
  struct orr_load *load; /* mapped */
  int refs[VALUES];
  struct takes *takes;
  int count, room;
  int most_fds; /* numbers of fds are below this */
  bool scarce;  /* they have come near that */
  bool paused;  /* until Lua says that there may be room */
};

static struct worker *check_worker(lua_State *L) {
  struct worker *w = orr_check_self(L, ORR_WORKER);
  luaL_argcheck(L, w->poll != NULL, 1, "it is closed");
  return w;
}

static struct takes *find(struct worker *w, uint32_t service) {
  for (int i = 0; i < w->count; i++)
    if (w->takes[i].service == service)
      return &w->takes[i];
  return NULL;
}

/* Calls on_socket(what, …), which never raises. */
static void tell(struct worker *w, lua_State *L, const char *what, uint32_t id,
                 int fd) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, what);
  lua_rawgeti(L, LUA_REGISTRYINDEX, w->refs[ON_SOCKET]);
  lua_pushstring(L, what);
  lua_pushinteger(L, id);
  lua_pushinteger(L, fd);
  lua_call(L, 3, 0);
  lua_settop(L, top);
}

/* Gives back connections that came too late for a service. */
static void give_back(struct worker *w, struct orr_hand_off *message) {
  orr_hand_off_send(w->socket, message);
  orr_hand_off_close(message);
}

/* Gives a connection to a function of Lua's. */
static void call(lua_State *L, int fn, int fd) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 4, "connection");
  lua_rawgeti(L, LUA_REGISTRYINDEX, fn);
  lua_pushinteger(L, fd);
  lua_call(L, 1, 0);
  lua_settop(L, top);
}

/* Takes the connections of a message, of which the primary sends one in each.
   They count as taken before they are begun with: that may take long. */
static void take_connections(struct worker *w, lua_State *L,
                             struct orr_hand_off *message) {
  uint64_t taken = atomic_load_explicit(&w->load->taken, memory_order_relaxed);
  atomic_store_explicit(&w->load->taken, taken + (uint64_t)message->count,
                        memory_order_release);
  while (message->count > 0) {
    const struct takes *takes = find(w, message->id);
    if (takes == NULL) {
      give_back(w, message);
      return;
    }
    int fd = message->fds[--message->count];
    w->scarce = w->scarce || fd > w->most_fds - SPARE;
    if (takes->taker != NULL)
      takes->taker->take(takes->taker, fd, L);
    else
      call(L, takes->fn, fd);
    if (w->poll == NULL)
      orr_hand_off_close(message);
  }
}

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Takes a message. Returns whether there may be another one. */
static bool take(struct worker *w, lua_State *L) {
  struct orr_hand_off message;
  int rc = orr_hand_off_receive(w->socket, &message, w->scarce);
  if (rc == 1 && message.kind == ORR_CONNECTIONS) {
    take_connections(w, L, &message);
  } else if (rc == 1 && message.kind == ORR_LISTENING) {
    for (int i = 1; i < message.count; i++)
      close(message.fds[i]);
    tell(w, L, "listening", message.id, message.fds[0]);
  } else if (rc == -EMFILE || rc == -EPIPE) {
    w->paused = true;
    orr_poll_change(w->poll, w->socket, &w->watch, 0);
    tell(w, L, rc == -EMFILE ? "short" : "end", 0, -1);
  }
  return rc == 1 && w->poll != NULL;
}

/* What a message brings is begun before the next one is taken. If that takes
   long, the others are left: another worker may get them meanwhile. */
static void on_ready(struct orr_watch *watch, uint32_t events, void *context) {
  struct worker *w = (struct worker *)(void *)watch;
  int64_t begun = now_us();
  (void)events;
  for (int i = 0; i < MESSAGES && take(w, context); i++)
    if (now_us() - begun > LONG)
      return;
}

static int give(struct orr_giver *giver, uint32_t service, int fd) {
  struct worker *w =
      (struct worker *)(void *)((char *)giver - offsetof(struct worker, giver));
  struct orr_hand_off message = {
      .kind = ORR_CONNECTIONS, .id = service, .fds = {fd}, .count = 1};
  return w->poll == NULL ? -EPIPE : orr_hand_off_send(w->socket, &message);
}

/* Maps the page; NULL: it is none. */
static struct orr_load *map_page(int fd) {
  struct stat stat;
  if (fstat(fd, &stat) < 0 || stat.st_size < PAGE)
    return NULL;
  void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? NULL : at;
}

static void free_worker(struct worker *w) {
  if (w->load != NULL)
    munmap(w->load, PAGE);
  if (w->socket >= 0)
    close(w->socket);
  w->load = NULL;
  w->socket = -1;
}

/* native.worker(socket, page, poller, on_socket) -> orrery.worker; nil, errno
   (EBADF: what the process was started with is something else). The numbers of
   the two fds are the worker's from now on. on_socket(what, id, fd) is called
   with "listening", the id of the request and the number of a socket that
   listens; with "short": there are no fds for what waits; and with "end": the
   primary has gone. It may not raise. */
static int l_worker(lua_State *L) {
  int socket = orr_check_fd(L, 1), page = orr_check_fd(L, 2);
  struct orr_poll *poll = luaL_checkudata(L, 3, ORR_POLLER);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  struct worker *w = lua_newuserdatauv(L, sizeof *w, 0);
  struct rlimit fds = {.rlim_cur = 1024};
  getrlimit(RLIMIT_NOFILE, &fds);
  *w = (struct worker){.watch = {.ready = on_ready},
                       .giver = {.give = give},
                       .socket = socket,
                       .most_fds = fds.rlim_cur < INT32_MAX ? (int)fds.rlim_cur
                                                            : INT32_MAX};
  luaL_setmetatable(L, ORR_WORKER);
  fcntl(socket, F_SETFD, FD_CLOEXEC);
  w->load = map_page(page);
  close(page);
  int rc =
      w->load == NULL ? -EBADF : orr_poll_add(poll, socket, &w->watch, EPOLLIN);
  if (rc < 0) {
    free_worker(w);
    return orr_fail(L, -rc);
  }
  w->poll = poll;
  poll->turns = &w->load->turns;
  lua_pushvalue(L, 4);
  w->refs[ON_SOCKET] = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, 3);
  w->refs[POLL] = luaL_ref(L, LUA_REGISTRYINDEX);
  return 1;
}

/* worker:serve(service, taker) - has the connections of a service be taken: by
   a function that gets the number of each one's fd, and never raises, or by a
   light userdata, a struct orr_taker. */
static int m_serve(lua_State *L) {
  struct worker *w = check_worker(L);
  uint32_t service = (uint32_t)luaL_checkinteger(L, 2);
  luaL_checkany(L, 3);
  if (w->count == w->room) {
    int room = w->room > 0 ? 2 * w->room : 4;
    struct takes *more = realloc(w->takes, (size_t)room * sizeof *more);
    if (more == NULL)
      return luaL_error(L, "not enough memory");
    w->takes = more;
    w->room = room;
  }
  struct takes takes = {
      .service = service, .taker = lua_touserdata(L, 3), .fn = LUA_NOREF};
  if (takes.taker == NULL) {
    luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 3);
    takes.fn = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  w->takes[w->count++] = takes;
  return 0;
}

/* worker:leave(service) - what comes of it from now on is given back. */
static int m_leave(lua_State *L) {
  struct worker *w = check_worker(L);
  struct takes *takes = find(w, (uint32_t)luaL_checkinteger(L, 2));
  if (takes == NULL)
    return 0;
  luaL_unref(L, LUA_REGISTRYINDEX, takes->fn);
  *takes = w->takes[--w->count];
  return 0;
}

/* worker:count(by) - adds to the connections that are open, for servers that do
   not do so in C. */
static int m_count(lua_State *L) {
  struct worker *w = check_worker(L);
  orr_load_add(&w->load->connections, (int)luaL_checkinteger(L, 2));
  return 0;
}

/* worker:limit(most?) - takes at most so many connections; nil: any number. */
static int m_limit(lua_State *L) {
  struct worker *w = check_worker(L);
  lua_Integer most = luaL_optinteger(L, 2, -1);
  uint32_t limit = most < 0 || most >= UINT32_MAX ? 0 : (uint32_t)most + 1;
  atomic_store_explicit(&w->load->limit, limit, memory_order_release);
  return 0;
}

/* worker:load() -> light userdata, the struct orr_load that servers in C count
   in; the struct orr_giver that they give connections back to. Both last as
   long as the worker. */
static int m_load(lua_State *L) {
  struct worker *w = check_worker(L);
  lua_pushlightuserdata(L, w->load);
  lua_pushlightuserdata(L, &w->giver);
  return 2;
}

/* worker:go_on() - takes connections again after "short". */
static int m_go_on(lua_State *L) {
  struct worker *w = check_worker(L);
  if (w->paused)
    orr_poll_change(w->poll, w->socket, &w->watch, EPOLLIN);
  w->paused = false;
  return 0;
}

/* Closes the socket. The page stays mapped for those that count in it, until
   the state closes. */
static int m_close(lua_State *L) {
  struct worker *w = luaL_checkudata(L, 1, ORR_WORKER);
  if (w->poll == NULL)
    return 0;
  orr_poll_remove_watch(w->poll, w->socket, &w->watch);
  w->poll->turns = NULL;
  w->poll = NULL;
  close(w->socket);
  w->socket = -1;
  for (int i = 0; i < w->count; i++)
    luaL_unref(L, LUA_REGISTRYINDEX, w->takes[i].fn);
  free(w->takes);
  w->takes = NULL;
  w->count = w->room = 0;
  for (int i = 0; i < VALUES; i++)
    luaL_unref(L, LUA_REGISTRYINDEX, w->refs[i]);
  return 0;
}

/* A worker lasts as long as its state: the page is written by servers that are
   collected after it. */
static int m_gc(lua_State *L) {
  return m_close(L);
}

void orr_open_worker(lua_State *L) {
  static const luaL_Reg methods[] = {{"serve", m_serve}, {"leave", m_leave},
                                     {"count", m_count}, {"load", m_load},
                                     {"go_on", m_go_on}, {"limit", m_limit},
                                     {"close", m_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"worker", l_worker}, {NULL, NULL}};
  orr_class(L, ORR_WORKER, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
