/* binding.h - what the files of the binding share: the names of the userdata,
   the helpers of binding.c, and what fd.c and spawn.c do for others.

   Each file of the binding opens one part of the module orrery.core: its
   orr_open_ function adds functions to the table on top of the stack. */
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
#define ORR_KEEPER "orrery.keeper"
#define ORR_POLLER "orrery.poller"
#define ORR_BYTECODE "orrery.bytecode"
#define ORR_ENGINE "orrery.engine"

void orr_open_fd(lua_State *L);
void orr_open_spawn(lua_State *L);
void orr_open_process(lua_State *L);
void orr_open_credentials(lua_State *L);
void orr_open_image(lua_State *L);
void orr_open_terminal(lua_State *L);
void orr_open_luv(lua_State *L);
void orr_open_fork(lua_State *L);
void orr_open_keeper(lua_State *L);
void orr_open_poller(lua_State *L);
void orr_open_socket(lua_State *L);
void orr_open_ending(lua_State *L);
void orr_open_output(lua_State *L);
void orr_open_bytecode(lua_State *L, const char *core); /* the core's path */

/* binding.c --------------------------------------------------------------- */

/* Makes the metatable of class `name`: `methods` behind its __index, `meta` in
   the metatable itself. Called again, it fills the same metatable again: the
   first call may have failed half-way. */
void orr_class(lua_State *L, const char *name, const luaL_Reg *methods,
               const luaL_Reg *meta);

/* Adds a part to the module table on top that few programs ask for:
   core.`name`() -> a table of `functions`, which must last. The table is made
   when it is first asked for, and is the same one each time. */
void orr_add_part(lua_State *L, const char *name, const luaL_Reg *functions);

/* Returns the userdata of class `name` that a method was called on, or raises.
   Does what luaL_checkudata does without its search by name, and works only in
   functions that were given to orr_class: the metatable is their upvalue. */
void *orr_check_self(lua_State *L, const char *name);

/* Returns a string argument that has no NUL bytes, or raises. */
const char *orr_check_cstring(lua_State *L, int arg);

/* Returns an argument that may be the number of an fd (0 to INT_MAX), or
   raises. Whether such an fd is open, the system call will tell. */
int orr_check_fd(lua_State *L, int arg);

/* Pushes nil and the errno `error`, which is how Lua sees a failing system
   call. Returns 2, the number of results. */
int orr_fail(lua_State *L, int error);

/* Adds a table {name = number} to the module table on top, as its `field`. Lua
   takes from such tables the numbers that it shares with C. */
struct orr_name;
void orr_add_names(lua_State *L, const char *field,
                   const struct orr_name *names);

/* fd.c -------------------------------------------------------------------- */

/* Pushes an orrery.fd that is closed; orr_fd_set gives it the number. In this
   order, because making the object may raise, and an fd without an owner would
   leak. An `owned` fd is closed when its object is collected. */
void orr_fd_push(lua_State *L);
void orr_fd_set(lua_State *L, int index, int fd, bool owned);

/* Returns the number of the orrery.fd at `index`, which the caller owns from
   now on; -1 if it is closed. Raises if it is something else. */
int orr_fd_take(lua_State *L, int index);

/* Returns the number of the orrery.fd at `index`, whose it stays; raises if it
   is closed, or something else. */
int orr_fd_number(lua_State *L, int index);

/* output.c ---------------------------------------------------------------- */

/* Writes all of it, and waits while the file is full, for another process that
   shares it may have made it non-blocking, and its flags are not ours to
   change. 0 or -errno. */
int orr_write_all(int fd, const char *data, size_t length);

/* Writes what C has buffered for stdout. */
void orr_flush_stdout(void);

/* Writes what C has buffered for all its streams. Of stdin, which a thread may
   hold while it reads, fflush(NULL) would wait for the lock: then only stdout
   and stderr are flushed. */
void orr_flush_all(void);

/* spawn.c ----------------------------------------------------------------- */

/* Tells the launcher of this state that the process is about to raise its soft
   limit of fds: children get the limits `old`. */
struct rlimit;
void orr_remember_nofile(lua_State *L, const struct rlimit *old);

/* Returns those limits; NULL if the process has not raised them. */
const struct rlimit *orr_original_nofile(lua_State *L);

/* Sends a signal to each running child of this state that is to die with this
   process, and to the families of those that have a keeper; with `only_others`
   to those that are not in its process group. */
void orr_signal_held(lua_State *L, int signal, bool only_others);

#endif
