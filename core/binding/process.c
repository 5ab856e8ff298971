/* process.c - the userdata orrery.process: what Lua cannot ask of this process
   through luv. */
#include "binding.h"
#include "engine/buffer.h"
#include "engine/ending.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* core.process() -> orrery.process, the same one each time in a Lua state. */
static int l_process(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, ORR_PROCESS ".self") == LUA_TUSERDATA)
    return 1;
  lua_newuserdatauv(L, 0, 0);
  luaL_setmetatable(L, ORR_PROCESS);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, ORR_PROCESS ".self");
  return 1;
}

static void check_self(lua_State *L) {
  luaL_checkudata(L, 1, ORR_PROCESS);
}

/* self:pid() -> the pid: this process's own, also after a fork. */
static int m_pid(lua_State *L) {
  check_self(L);
  lua_pushinteger(L, getpid());
  return 1;
}

/* self:ppid() -> the pid of the parent now. */
static int m_ppid(lua_State *L) {
  check_self(L);
  lua_pushinteger(L, getppid());
  return 1;
}

/* self:hrtime() -> monotonic time in integer ns (clock_gettime(2)). */
static int m_hrtime(lua_State *L) {
  struct timespec t;
  check_self(L);
  clock_gettime(CLOCK_MONOTONIC, &t);
  lua_pushinteger(L, (lua_Integer)t.tv_sec * 1000000000 + t.tv_nsec);
  return 1;
}

/* Pushes true, or nil and the errno if `rc` is -errno. */
static int result(lua_State *L, int rc) {
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushboolean(L, true);
  return 1;
}

/* self:kill(pid, signal) -> true; nil, errno (ESRCH, EPERM, EINVAL). As
   kill(2): a negative pid is a process group. */
static int m_kill(lua_State *L) {
  check_self(L);
  lua_Integer pid = luaL_checkinteger(L, 2), sig = luaL_checkinteger(L, 3);
  if (pid != (pid_t)pid || sig != (int)sig)
    return orr_fail(L, pid != (pid_t)pid ? ESRCH : EINVAL);
  return result(L, kill((pid_t)pid, (int)sig) < 0 ? -errno : 0);
}

/* self:flush(): writes what C has buffered for stdout. */
static int m_flush(lua_State *L) {
  check_self(L);
  orr_flush_stdout();
  return 0;
}

/* self:exit(code): flushes C's streams, puts the terminal back, and ends the
   process (code 0 by default). No finalizer runs: threads of luv's pool may be
   inside a call, and handles half closed. */
static int m_exit(lua_State *L) {
  check_self(L);
  int code = (int)luaL_optinteger(L, 2, 0);
  orr_flush_all();
  orr_ending_restore_terminal();
  _exit(code);
  return 0;
}

/* self:abort(): flushes C's streams, puts the terminal back, and ends the
   process by SIGABRT. */
static int m_abort(lua_State *L) {
  check_self(L);
  orr_flush_all();
  orr_ending_restore_terminal();
  signal(SIGABRT, SIG_DFL);
  abort();
  return 0;
}

/* self:write(fd, data) -> true; nil, errno (EPIPE, EBADF). Writes all of data
   to the fd number, and waits for that; before it, what C has buffered for
   stdout, so that print and this keep their order. */
static int m_write(lua_State *L) {
  size_t length;
  check_self(L);
  int fd = orr_check_fd(L, 2);
  const char *data = luaL_checklstring(L, 3, &length);
  orr_flush_stdout();
  return result(L, orr_write_all(fd, data, length));
}

/* self:raise_nofile(): raises the soft limit of fds to the hard one. Children
   start with the old one. Does nothing if they are the same. */
static int m_raise_nofile(lua_State *L) {
  struct rlimit old, raised;
  check_self(L);
  if (getrlimit(RLIMIT_NOFILE, &old) < 0)
    return 0;
  raised = old;
  raised.rlim_cur = raised.rlim_max;
  if (old.rlim_cur != old.rlim_max) {
    orr_remember_nofile(L, &old);
    setrlimit(RLIMIT_NOFILE, &raised);
  }
  return 0;
}

/* self:ignore_sigpipe(): ignores SIGPIPE, unless there is a handler for it, so
   that a write to a peer that has gone is EPIPE. Children get the default. */
static int m_ignore_sigpipe(lua_State *L) {
  struct sigaction action;
  check_self(L);
  if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
    signal(SIGPIPE, SIG_IGN);
  return 0;
}

/* __GLIBC_PREREQ is no macro elsewhere, and does not parse beside &&. */
#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 33)
#define HAS_MALLINFO2
#endif
#endif

#define BALLAST "orrery.ballast"

/* self:ballast(bytes): allocates memory that is never touched, so that it takes
   up none. It only counts for the collector, which begins a new round when the
   memory in use has doubled: the more, the later. */
static int m_ballast(lua_State *L) {
  check_self(L);
  lua_Integer bytes = luaL_checkinteger(L, 2);
  luaL_argcheck(L, bytes > 0 && bytes <= INT32_MAX, 2, "out of range");
  lua_newuserdatauv(L, (size_t)bytes, 0);
  lua_setfield(L, LUA_REGISTRYINDEX, BALLAST);
  return 0;
}

/* self:heap() -> bytes that malloc has from the system, bytes of ballast. The
   first is 0 if libc does not tell (mallinfo2 is glibc's, since 2.33). */
static int m_heap(lua_State *L) {
  lua_Integer total = 0;
  check_self(L);
#ifdef HAS_MALLINFO2
  struct mallinfo2 info = mallinfo2();
  total = (lua_Integer)info.arena + (lua_Integer)info.hblkhd;
#endif
  lua_pushinteger(L, total);
  lua_getfield(L, LUA_REGISTRYINDEX, BALLAST);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
  lua_replace(L, -2);
  return 2;
}

/* self:buffered() -> bytes of the core's buffers, in all of the process. */
static int m_buffered(lua_State *L) {
  check_self(L);
  lua_pushinteger(L, (lua_Integer)orr_buffers_size());
  return 1;
}

/* tostring(self) -> "orrery.process 1234". */
static int m_tostring(lua_State *L) {
  lua_pushfstring(L, "%s %d", ORR_PROCESS, (int)getpid());
  return 1;
}

void orr_open_process(lua_State *L) {
  static const luaL_Reg methods[] = {{"pid", m_pid},
                                     {"ppid", m_ppid},
                                     {"hrtime", m_hrtime},
                                     {"kill", m_kill},
                                     {"flush", m_flush},
                                     {"exit", m_exit},
                                     {"abort", m_abort},
                                     {"write", m_write},
                                     {"raise_nofile", m_raise_nofile},
                                     {"ignore_sigpipe", m_ignore_sigpipe},
                                     {"heap", m_heap},
                                     {"ballast", m_ballast},
                                     {"buffered", m_buffered},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", m_tostring}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"process", l_process}, {NULL, NULL}};
  orr_class(L, ORR_PROCESS, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
