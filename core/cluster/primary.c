/* primary.c - the userdata orrery.cluster: a primary's workers and services. */
#include "binding/binding.h"
#include "cluster.h"
#include "dispatch.h"

#include <errno.h>
#include <stddef.h>

/* What Lua has given: ask(service, fd), on_broken(id), and what must last. */
enum { ASK, ON_BROKEN, POLL, VALUES };

struct primary {
  struct orr_dispatch dispatch;
  int refs[VALUES]; /* in the registry */
};

static struct primary *check_primary(lua_State *L) {
  struct primary *p = orr_check_self(L, ORR_CLUSTER);
  luaL_argcheck(L, p->dispatch.poll != NULL, 1, "the cluster is closed");
  return p;
}

/* Calls ask(service, fd), which never raises. */
static uint32_t ask(struct orr_dispatch *dispatch, struct orr_service *service,
                    int fd, void *context) {
  const struct primary *p = (struct primary *)(void *)dispatch;
  lua_State *L = context;
  int top = lua_gettop(L);
  uint32_t id = 0;
  if (!lua_checkstack(L, 4))
    return 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->refs[ASK]);
  lua_pushinteger(L, service->id);
  lua_pushinteger(L, fd);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK)
    id = (uint32_t)lua_tointeger(L, -1);
  lua_settop(L, top);
  return id;
}

static void broken(struct orr_dispatch *dispatch, struct orr_slot *slot,
                   void *context) {
  const struct primary *p = (struct primary *)(void *)dispatch;
  lua_State *L = context;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 4))
    return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->refs[ON_BROKEN]);
  lua_pushinteger(L, slot->id);
  lua_pcall(L, 1, 0, 0);
  lua_settop(L, top);
}

static const struct orr_dispatch_calls calls = {ask, broken};

/* native.primary(poller, ask, on_broken) -> orrery.cluster; nil, errno
   (EMFILE). ask(service, fd) is called for each connection of a service whose
   policy is "ask": it returns the worker's id, or nil: none is to have it.
   on_broken(id) is called when a worker's hand-off socket is of no use any
   more. Neither may raise. */
static int l_primary(lua_State *L) {
  struct orr_poll *poll = luaL_checkudata(L, 1, ORR_POLLER);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  struct primary *p = lua_newuserdatauv(L, sizeof *p, 0);
  p->dispatch.poll = NULL;
  luaL_setmetatable(L, ORR_CLUSTER);
  int rc = orr_dispatch_open(&p->dispatch, poll, &calls);
  if (rc < 0)
    return orr_fail(L, -rc);
  static const int from[] = {[ASK] = 2, [ON_BROKEN] = 3, [POLL] = 1};
  for (int i = 0; i < VALUES; i++) {
    lua_pushvalue(L, from[i]);
    p->refs[i] = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  return 1;
}

static struct orr_slot *check_slot(lua_State *L, struct primary *p) {
  struct orr_slot *slot =
      orr_slot_find(&p->dispatch, (uint32_t)luaL_checkinteger(L, 2));
  luaL_argcheck(L, slot != NULL, 2, "there is no such worker");
  return slot;
}

static struct orr_service *check_service(lua_State *L, struct primary *p,
                                         int arg) {
  struct orr_service *service =
      orr_service_find(&p->dispatch, (uint32_t)luaL_checkinteger(L, arg));
  luaL_argcheck(L, service != NULL, arg, "there is no such service");
  return service;
}

static int answer(lua_State *L, int rc) {
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushboolean(L, true);
  return 1;
}

/* cluster:set(credit, stall) - how many connections may wait in a worker, and
   for how many ms. */
static int m_set(lua_State *L) {
  struct primary *p = check_primary(L);
  p->dispatch.credit = (int)luaL_checkinteger(L, 2);
  p->dispatch.stall = luaL_checkinteger(L, 3);
  return 0;
}

/* cluster:add(id) -> the numbers of the two fds that the worker is to be
   started with, which stay the cluster's: its hand-off socket, and its page;
   nil, errno (EMFILE). */
static int m_add(lua_State *L) {
  struct primary *p = check_primary(L);
  struct orr_slot *slot = NULL;
  int rc =
      orr_slot_open(&p->dispatch, (uint32_t)luaL_checkinteger(L, 2), &slot);
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushinteger(L, slot->back);
  lua_pushinteger(L, slot->page);
  return 2;
}

/* cluster:remove(id) - the worker has ended: what waits for it goes to others.
 */
static int m_remove(lua_State *L) {
  struct primary *p = check_primary(L);
  orr_slot_close(check_slot(L, p), L);
  return 0;
}

/* cluster:load(id) -> how many connections the worker has, how many requests
   are in progress there, and how many connections wait for it; whether it is
   stalled. */
static int m_load(lua_State *L) {
  struct primary *p = check_primary(L);
  const struct orr_slot *slot = check_slot(L, p);
  lua_pushinteger(L, atomic_load(&slot->load->connections));
  lua_pushinteger(L, atomic_load(&slot->load->requests));
  lua_pushinteger(L, orr_slot_waiting(slot));
  lua_pushboolean(L, slot->stalled);
  return 4;
}

/* cluster:send_listening(id, request, fd) -> true; nil, errno. Sends a worker
   the listening socket that it has asked for. */
static int m_send_listening(lua_State *L) {
  struct primary *p = check_primary(L);
  struct orr_slot *slot = check_slot(L, p);
  uint32_t request = (uint32_t)luaL_checkinteger(L, 3);
  return answer(L, orr_slot_send_listening(slot, request, orr_check_fd(L, 4)));
}

/* cluster:open(service, fd?, policy) -> true; nil, errno. Begins a service,
   whose listening socket stays the caller's; without one, what its workers give
   back is all that is divided. `policy` is "least", "rr" or "ask". */
static int m_open(lua_State *L) {
  static const char *const policies[] = {
      [ORR_LEAST] = "least", [ORR_ROTATE] = "rr", [ORR_ASK] = "ask", NULL};
  struct primary *p = check_primary(L);
  uint32_t id = (uint32_t)luaL_checkinteger(L, 2);
  int fd = lua_isnil(L, 3) ? -1 : orr_check_fd(L, 3);
  int policy = luaL_checkoption(L, 4, NULL, policies);
  luaL_argcheck(L, orr_service_find(&p->dispatch, id) == NULL, 2, "it exists");
  return answer(
      L, orr_service_open(&p->dispatch, id, fd, (enum orr_policy)policy));
}

/* cluster:shut(service) - ends it. To be called before its socket is closed. */
static int m_shut(lua_State *L) {
  struct primary *p = check_primary(L);
  orr_service_close(check_service(L, p, 2));
  return 0;
}

/* cluster:join(id, service) -> true; nil, errno. The worker takes connections
   of it from now on. */
static int m_join(lua_State *L) {
  struct primary *p = check_primary(L);
  struct orr_slot *slot = check_slot(L, p);
  return answer(L, orr_service_join(check_service(L, p, 3), slot));
}

/* cluster:leave(id, service) - the worker takes no more of them. */
static int m_leave(lua_State *L) {
  struct primary *p = check_primary(L);
  struct orr_slot *slot = check_slot(L, p);
  orr_service_leave(check_service(L, p, 3), slot, L);
  return 0;
}

/* Closes all, without a word to Lua. */
static int m_close(lua_State *L) {
  struct primary *p = luaL_checkudata(L, 1, ORR_CLUSTER);
  if (p->dispatch.poll == NULL)
    return 0;
  orr_dispatch_close(&p->dispatch);
  for (int i = 0; i < VALUES; i++)
    luaL_unref(L, LUA_REGISTRYINDEX, p->refs[i]);
  return 0;
}

void orr_open_primary(lua_State *L) {
  static const luaL_Reg methods[] = {{"set", m_set},
                                     {"add", m_add},
                                     {"remove", m_remove},
                                     {"load", m_load},
                                     {"send_listening", m_send_listening},
                                     {"open", m_open},
                                     {"shut", m_shut},
                                     {"join", m_join},
                                     {"leave", m_leave},
                                     {"close", m_close},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"primary", l_primary}, {NULL, NULL}};
  orr_class(L, ORR_CLUSTER, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
