/* poller.c - the userdata orrery.poller: an epoll set, itself to be polled by
   luv. It stands between luv and sockets because libuv takes an error on a
   polled fd, such as a peer that closed without reading all, for a bad fd, and
   luv prints that. */
#include "binding.h"
#include "engine/names.h"
#include "engine/poll.h"

/* What an fd is watched for, and ready for. GONE: its peer has ended its side;
   that both are over, or an error, is reported in any case. */
enum { READ = 1, WRITE = 2, GONE = 4 };

static const struct orr_name ready[] = {
    {"read", READ}, {"write", WRITE}, {"gone", GONE}, {NULL, 0}};

static struct orr_poll *check_poller(lua_State *L) {
  return orr_check_self(L, ORR_POLLER);
}

/* core.poller() -> orrery.poller; nil, errno (EMFILE). The userdata is a struct
   orr_poll: other libraries of ours add watchers to it. */
static int l_poller(lua_State *L) {
  struct orr_poll *poll = lua_newuserdatauv(L, sizeof *poll, 0);
  poll->fd = -1;
  luaL_setmetatable(L, ORR_POLLER);
  int rc = orr_poll_open(poll);
  return rc < 0 ? orr_fail(L, -rc) : 1;
}

/* poller:fileno() -> the number of the epoll set's fd; -1 if it is closed. */
static int m_fileno(lua_State *L) {
  lua_pushinteger(L, check_poller(L)->fd);
  return 1;
}

/* Returns what an fd is watched for, a sum of READ, WRITE and GONE, as epoll's
   events. */
static uint32_t events_of(lua_Integer wanted) {
  uint32_t events = wanted & GONE ? EPOLLRDHUP : 0;
  if (wanted & READ)
    events |= EPOLLIN;
  if (wanted & WRITE)
    events |= EPOLLOUT;
  return events;
}

/* Pushes what a method returns: true, or nil and the errno of `rc`. */
static int answer(lua_State *L, int rc) {
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushboolean(L, true);
  return 1;
}

/* poller:add(fd, key, events) -> true; nil, errno (EPERM: a file that cannot be
   polled). Watches the fd of this number. `key` is an integer that wait gives
   back; `events` is a sum of core.ready.read, .write and .gone: the peer has
   ended its side. That it has gone for good is reported in any case. */
static int m_add(lua_State *L) {
  struct orr_poll *poll = check_poller(L);
  return answer(L, orr_poll_add_key(poll, (int)luaL_checkinteger(L, 2),
                                    luaL_checkinteger(L, 3),
                                    events_of(luaL_checkinteger(L, 4))));
}

/* poller:change(fd, key, events) -> true; nil, errno. From now on. */
static int m_change(lua_State *L) {
  struct orr_poll *poll = check_poller(L);
  return answer(L, orr_poll_change_key(poll, (int)luaL_checkinteger(L, 2),
                                       luaL_checkinteger(L, 3),
                                       events_of(luaL_checkinteger(L, 4))));
}

/* poller:remove(fd) -> true; nil, errno. To be called before the fd is closed:
   a copy of it in another process would keep it in the set. */
static int m_remove(lua_State *L) {
  struct orr_poll *poll = check_poller(L);
  return answer(L, orr_poll_remove(poll, (int)luaL_checkinteger(L, 2)));
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

/* poller:wait(list) -> how many of Lua's fds are ready; how many fds are, which
   is at most core.ready_batch. Fills list[1], list[2], list[3] … with pairs:
   the key of one, and what it is ready for, a sum of the numbers in core.ready.
   Serves the watchers of C's that are ready. Never blocks. */
static int m_wait(lua_State *L) {
  struct orr_poll *poll = check_poller(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  int all = orr_poll_wait(poll), n = 0;
  int64_t key = 0;
  for (uint32_t events; (events = orr_poll_next(poll, &key, L)) != 0; n++) {
    lua_pushinteger(L, key);
    lua_rawseti(L, 2, 2 * n + 1);
    lua_pushinteger(L, ready_for(events));
    lua_rawseti(L, 2, 2 * n + 2);
  }
  lua_pushinteger(L, n);
  lua_pushinteger(L, all);
  return 2;
}

/* Closes the set; what it watches stays open. */
static int m_gc(lua_State *L) {
  orr_poll_close(luaL_checkudata(L, 1, ORR_POLLER));
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
  lua_pushinteger(L, ORR_POLL_BATCH);
  lua_setfield(L, -2, "ready_batch");
}
