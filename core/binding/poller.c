/* poller.c - the userdata orrery.poller: an epoll set, itself to be polled by
   luv. It stands between luv and sockets because libuv takes an error on a
   polled fd, such as a peer that closed without reading all, for a bad fd, and
   luv prints that. */
#include "binding.h"
#include "engine/names.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 64 }; /* events of one wait; those left are of the next */

/* What an fd is watched for, and ready for. GONE: its peer has ended its side;
   that both are over, or an error, is reported in any case. */
enum { READ = 1, WRITE = 2, GONE = 4 };

static const struct orr_name ready[] = {
    {"read", READ}, {"write", WRITE}, {"gone", GONE}, {NULL, 0}};

struct poller {
  int fd; /* owned; -1: closed */
};

static struct poller *check_poller(lua_State *L) {
  return orr_check_self(L, ORR_POLLER);
}

/* core.poller() -> orrery.poller; nil, errno (EMFILE). */
static int l_poller(lua_State *L) {
  struct poller *poller = lua_newuserdatauv(L, sizeof *poller, 0);
  poller->fd = -1;
  luaL_setmetatable(L, ORR_POLLER);
  poller->fd = epoll_create1(EPOLL_CLOEXEC);
  return poller->fd < 0 ? orr_fail(L, errno) : 1;
}

/* poller:fileno() -> the number of the epoll set's fd; -1 if it is closed. */
static int m_fileno(lua_State *L) {
  lua_pushinteger(L, check_poller(L)->fd);
  return 1;
}

/* epoll_ctl with the arguments of the method: fd, key, events. */
static int control(lua_State *L, int operation) {
  struct poller *poller = check_poller(L);
  int fd = (int)luaL_checkinteger(L, 2);
  lua_Integer key = luaL_optinteger(L, 3, 0), wanted = luaL_optinteger(L, 4, 0);
  struct epoll_event event = {.data = {.u64 = (uint64_t)key}};
  if (wanted & GONE)
    event.events |= EPOLLRDHUP;
  if (wanted & READ)
    event.events |= EPOLLIN;
  if (wanted & WRITE)
    event.events |= EPOLLOUT;
  if (epoll_ctl(poller->fd, operation, fd, &event) < 0)
    return orr_fail(L, errno);
  lua_pushboolean(L, true);
  return 1;
}

/* poller:add(fd, key, events) -> true; nil, errno (EPERM: a file that cannot be
   polled). Watches the fd of this number. `key` is an integer that wait gives
   back; `events` is a sum of core.ready.read, .write and .gone: the peer has
   ended its side. That it has gone for good is reported in any case. */
static int m_add(lua_State *L) {
  return control(L, EPOLL_CTL_ADD);
}

/* poller:change(fd, key, events) -> true; nil, errno. From now on. */
static int m_change(lua_State *L) {
  return control(L, EPOLL_CTL_MOD);
}

/* poller:remove(fd) -> true; nil, errno. To be called before the fd is closed:
   a copy of it in another process would keep it in the set. */
static int m_remove(lua_State *L) {
  return control(L, EPOLL_CTL_DEL);
}

/* Returns what epoll's events mean, as a sum of READ, WRITE and GONE. */
static int ready_for(uint32_t events) {
  int what = events & EPOLLIN ? READ : 0;
  if (events & EPOLLOUT)
    what |= WRITE;
  if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
    what |= GONE;
  return what;
}

/* poller:wait(list) -> how many fds are ready, at most core.ready_batch. Fills
   list[1], list[2], list[3] … with pairs: the key of one, and what it is ready
   for, a sum of the numbers in core.ready. Never blocks. */
static int m_wait(lua_State *L) {
  struct poller *poller = check_poller(L);
  struct epoll_event events[BATCH];
  luaL_checktype(L, 2, LUA_TTABLE);
  int n = epoll_wait(poller->fd, events, BATCH, 0);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, (lua_Integer)events[i].data.u64);
    lua_rawseti(L, 2, 2 * i + 1);
    lua_pushinteger(L, ready_for(events[i].events));
    lua_rawseti(L, 2, 2 * i + 2);
  }
  lua_pushinteger(L, n < 0 ? 0 : n);
  return 1;
}

/* Closes the set; what it watches stays open. */
static int m_gc(lua_State *L) {
  struct poller *poller = luaL_checkudata(L, 1, ORR_POLLER);
  if (poller->fd >= 0)
    close(poller->fd);
  poller->fd = -1;
  return 0;
}

void orr_open_poller(lua_State *L) {
  static const luaL_Reg methods[] = {{"fileno", m_fileno}, {"add", m_add},
                                     {"change", m_change}, {"remove", m_remove},
                                     {"wait", m_wait},     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"poller", l_poller}, {NULL, NULL}};
  orr_class(L, ORR_POLLER, methods, meta);
  luaL_setfuncs(L, functions, 0);
  orr_add_names(L, "ready", ready);
  lua_pushinteger(L, BATCH);
  lua_setfield(L, -2, "ready_batch");
}
