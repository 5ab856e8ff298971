/*
** core.c - the module orrery.core: tables of names, and the other parts.
**
** It may be opened twice in a state and in several states: there are no
** globals, and what lives as long as a state is a userdata in its registry.
*/
#include "binding.h"
#include "engine/errnos.h"
#include "engine/signals.h"
#include "msgpack.h"
#include "values.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>

void orr_class(lua_State *L, const char *name, const luaL_Reg *methods,
               const luaL_Reg *meta) {
  luaL_newmetatable(L, name); /* filled again: a first try may have failed */
  lua_pushvalue(L, -1);       /* for orr_check_self, here and below */
  luaL_setfuncs(L, meta, 1);
  lua_newtable(L);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, methods, 1);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, false);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

void *orr_check_self(lua_State *L, const char *name) {
  void *self = lua_touserdata(L, 1);
  if (self == NULL || !lua_getmetatable(L, 1))
    return luaL_checkudata(L, 1, name);
  bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
  lua_pop(L, 1);
  return same ? self : luaL_checkudata(L, 1, name);
}

int orr_fail(lua_State *L, int error) {
  luaL_pushfail(L);
  lua_pushinteger(L, error);
  return 2;
}

const char *orr_check_cstring(lua_State *L, int arg) {
  size_t length;
  const char *s = luaL_checklstring(L, arg, &length);
  luaL_argcheck(L, strlen(s) == length, arg, "contains a NUL byte");
  return s;
}

static void push_signals(lua_State *L) {
  lua_newtable(L);
  for (const struct orr_signal *s = orr_signals; s->name != NULL; s++) {
    lua_pushinteger(L, s->number);
    lua_setfield(L, -2, s->name);
  }
  lua_setfield(L, -2, "signals");
}

/* A number's first name wins: SIGABRT is not SIGIOT. */
static void push_signal_names(lua_State *L) {
  lua_newtable(L);
  for (int number = 1; number < 32; number++) {
    const char *name = orr_signal_name(number);
    if (name == NULL)
      continue;
    lua_pushstring(L, name);
    lua_rawseti(L, -2, number);
  }
  lua_setfield(L, -2, "signal_names");
}

static void push_errnos(lua_State *L) {
  lua_createtable(L, 128, 128); /* growing it took half of the time */
  for (const struct orr_errno *e = orr_errnos; e->name != NULL; e++) {
    lua_pushinteger(L, e->number);
    lua_setfield(L, -2, e->name);
    lua_pushstring(L, e->name);
    lua_rawseti(L, -2, e->number);
  }
  lua_setfield(L, -2, "errnos");
}

static void push_limits(lua_State *L) {
  static const struct {
    const char *name;
    int resource;
  } limits[] = {
      {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},
      {"cpu", RLIMIT_CPU},         {"data", RLIMIT_DATA},
      {"fsize", RLIMIT_FSIZE},     {"locks", RLIMIT_LOCKS},
      {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE},
      {"nice", RLIMIT_NICE},       {"nofile", RLIMIT_NOFILE},
      {"nproc", RLIMIT_NPROC},     {"rss", RLIMIT_RSS},
      {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},
      {"stack", RLIMIT_STACK},     {"sigpending", RLIMIT_SIGPENDING},
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
    lua_pushinteger(L, limits[i].resource);
    lua_setfield(L, -2, limits[i].name);
  }
  lua_setfield(L, -2, "rlimits");
}

/* strerror(errno) -> text. */
static int l_strerror(lua_State *L) {
  lua_Integer error = luaL_checkinteger(L, 1);
  luaL_argcheck(L, error == (int)error, 1, "out of range");
  lua_pushstring(L, strerror((int)error));
  return 1;
}

enum { MAX_GROUPS = 65536 }; /* NGROUPS_MAX of Linux */

/* All groups of a user as a list on the stack; false when they are too many.
   getgrouplist says how many there are. */
static bool push_groups(lua_State *L, const char *name, gid_t gid) {
  int n = 64;
  gid_t *groups = lua_newuserdatauv(L, (size_t)n * sizeof *groups, 0);
  if (getgrouplist(name, gid, groups, &n) < 0) {
    if (n > MAX_GROUPS)
      return false;
    groups = lua_newuserdatauv(L, (size_t)n * sizeof *groups, 0);
    if (getgrouplist(name, gid, groups, &n) < 0)
      return false;
  }
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, groups[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return true;
}

/* lookup_user(name) -> uid, gid, groups; nil, errno (ENOENT: no such user). */
static int l_lookup_user(lua_State *L) {
  const char *name = orr_check_cstring(L, 1);
  struct passwd entry, *found = NULL;
  size_t size = 16384;
  int rc;
  do {
    char *buffer = lua_newuserdatauv(L, size, 0);
    rc = getpwnam_r(name, &entry, buffer, size, &found);
    size *= 2;
  } while (rc == ERANGE && size <= (1U << 20));
  if (found == NULL)
    return orr_fail(L, rc != 0 ? rc : ENOENT);
  if (!push_groups(L, name, entry.pw_gid))
    return orr_fail(L, ERANGE);
  lua_pushinteger(L, entry.pw_uid);
  lua_pushinteger(L, entry.pw_gid);
  lua_rotate(L, -3, 2); /* uid, gid, groups */
  return 3;
}

static const luaL_Reg functions[] = {
    {"lookup_user", l_lookup_user}, {"strerror", l_strerror}, {NULL, NULL}};

/* All else is hidden where the build can. */
__attribute__((visibility("default"))) int luaopen_orrery_core(lua_State *L);

int luaopen_orrery_core(lua_State *L) {
  const char *path = luaL_optstring(L, 2, ""); /* require's, of this library */
  luaL_newlib(L, functions);
  push_signals(L);
  push_signal_names(L);
  push_errnos(L);
  push_limits(L);
  orr_open_fd(L);
  orr_open_spawn(L);
  orr_open_process(L);
  orr_open_luv(L);
  orr_open_shape(L);
  orr_open_msgpack(L);
  orr_open_fork(L);
  orr_open_poller(L);
  orr_open_socket(L);
  orr_open_compiled(L, path);
  return 1;
}
