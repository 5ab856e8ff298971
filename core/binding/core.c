/* core.c - the module orrery.core: tables of names, libc's texts of
   errnos, and the parts that the other files open.

   It may be opened twice in a state and in several states: there are no
   globals, and what lives as long as a state is in its registry. */
#include "binding.h"
#include "engine/launch.h"
#include "engine/names.h"
#include "msgpack.h"
#include "values.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

static const struct orr_name limits[] = {
    {"as", RLIMIT_AS},
    {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},
    {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK},
    {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},
    {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},
    {"stack", RLIMIT_STACK},
    {"sigpending", RLIMIT_SIGPENDING},
    {NULL, 0},
};

/* Adds core.signal_names, {[number] = name}. */
static void add_signal_names(lua_State *L) {
  lua_createtable(L, 31, 0);
  for (int number = 1; number < 32; number++) {
    const char *name = orr_name_of(orr_signals, number);
    if (name == NULL)
      continue;
    lua_pushstring(L, name);
    lua_rawseti(L, -2, number);
  }
  lua_setfield(L, -2, "signal_names");
}

/* Adds core.errnos, {[name] = number, [number] = name}. */
static void add_errnos(lua_State *L) {
  lua_createtable(L, 128, 128); /* growing it took half of the time */
  for (const struct orr_name *e = orr_errnos; e->name != NULL; e++) {
    lua_pushinteger(L, e->number);
    lua_setfield(L, -2, e->name);
    lua_pushstring(L, e->name);
    lua_rawseti(L, -2, e->number);
  }
  lua_setfield(L, -2, "errnos");
}

/* core.strerror(errno) -> libc's text for it. */
static int l_strerror(lua_State *L) {
  lua_Integer error = luaL_checkinteger(L, 1);
  luaL_argcheck(L, error == (int)error, 1, "out of range");
  lua_pushstring(L, strerror((int)error));
  return 1;
}

/* Adds core.shared: a table that is the same one each time this module is
   opened in a state. The modules of Lua keep in it what may exist only once
   there, as what polls the reaper's fd. */
static void add_shared(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "orrery.shared");
  lua_setfield(L, -2, "shared");
}

static const luaL_Reg functions[] = {{"strerror", l_strerror}, {NULL, NULL}};

/* All else is hidden if the build can hide it. */
__attribute__((visibility("default"))) int luaopen_orrery_core(lua_State *L);

/* Opens those of fds 0 to 2 that are closed. What is opened next would take
   their numbers: luv, whose fds these must not be, is loaded after the core. */
static void open_std_fds(lua_State *L) {
  int rc = orr_fill_std_fds();
  if (rc < 0)
    luaL_error(L,
               "orrery: one of fds 0 to 2 is closed and cannot be opened: %s",
               strerror(-rc));
}

/* require "orrery.core" -> the module. `require` gives the name and the path of
   this library; without the path there is no bytecode to be found beside it. */
int luaopen_orrery_core(lua_State *L) {
  const char *path = luaL_optstring(L, 2, "");
  open_std_fds(L);
  luaL_newlib(L, functions);
  orr_add_names(L, "signals", orr_signals);
  add_signal_names(L);
  add_errnos(L);
  orr_add_names(L, "rlimits", limits);
  add_shared(L);
  lua_pushstring(L, path);
  lua_setfield(L, -2, "library");
  orr_open_fd(L);
  orr_open_spawn(L);
  orr_open_process(L);
  orr_open_credentials(L);
  orr_open_image(L);
  orr_open_terminal(L);
  orr_open_luv(L);
  orr_open_values(L);
  orr_open_pack(L);
  orr_open_unpack(L);
  orr_open_fork(L);
  orr_open_keeper(L);
  orr_open_poller(L);
  orr_open_socket(L);
  orr_open_ending(L);
  orr_open_output(L);
  orr_open_bytecode(L, path);
  return 1;
}
