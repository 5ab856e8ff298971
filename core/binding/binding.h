/* binding.h - what the binding files share. Each opens one part of the module
   table that is on top of the stack. */
#ifndef ORR_BINDING_H
#define ORR_BINDING_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

_Static_assert(sizeof(lua_Integer) == 8, "Orrery needs 64-bit Lua integers");

#define ORR_FD "orrery.fd"
#define ORR_SPAWN "orrery.spawn"
#define ORR_PROCESS "orrery.process"
#define ORR_FORK "orrery.fork"
#define ORR_POLLER "orrery.poller"
#define ORR_COMPILED "orrery.compiled"
#define ORR_ENGINE "orrery.engine"

void orr_open_fd(lua_State *L);
void orr_open_spawn(lua_State *L);
void orr_open_process(lua_State *L);
void orr_open_luv(lua_State *L);
void orr_open_fork(lua_State *L);
void orr_open_poller(lua_State *L);
void orr_open_socket(lua_State *L);
void orr_open_compiled(lua_State *L, const char *core); /* the core's path */

/* Makes metatable `name` once: methods behind __index, `meta` in itself. */
void orr_class(lua_State *L, const char *name, const luaL_Reg *methods,
               const luaL_Reg *meta);

/* The userdata of class `name` that a method was called on: luaL_checkudata
   without a search by name. For what was given to orr_class only. */
void *orr_check_self(lua_State *L, const char *name);

/* Pushes nil, errno: how the world failing looks to Lua. Returns 2. */
int orr_fail(lua_State *L, int error);

/* Pushes an fd object; `owned` ones are closed when they are collected. The
   object is made first and filled with orr_fd_set: a raise leaks nothing. */
void orr_fd_push(lua_State *L);
void orr_fd_set(lua_State *L, int index, int fd, bool owned);

/* The number of the fd object at `index`, the caller's from now on; -1: none.
 */
int orr_fd_take(lua_State *L, int index);

/* A string argument without NUL bytes. */
const char *orr_check_cstring(lua_State *L, int arg);

/* The process is about to give up its soft limit on fds: children get `old`. */
struct rlimit;
void orr_remember_nofile(lua_State *L, const struct rlimit *old);

#endif
