/*
** lua_fd.c - the userdata orrery.fd: one fd number and who closes it, and the
** few calls that make fds. All are CLOEXEC at birth.
*/
#include "binding.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fd {
  int number; /* -1 when closed or taken */
  bool owned; /* closed when collected */
};

void orr_fd_push(lua_State *L) {
  struct fd *fd = lua_newuserdatauv(L, sizeof *fd, 0);
  fd->number = -1;
  fd->owned = false;
  luaL_setmetatable(L, ORR_FD);
}

void orr_fd_set(lua_State *L, int index, int number, bool owned) {
  struct fd *fd = lua_touserdata(L, index);
  fd->number = number;
  fd->owned = owned;
}

static struct fd *check_fd(lua_State *L) {
  return luaL_checkudata(L, 1, ORR_FD);
}

/* fd(n) -> an object that borrows n: it is not closed on collection. */
static int l_fd(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 0 && n <= 0x7fffffff, 1, "not an fd number");
  orr_fd_push(L);
  orr_fd_set(L, -1, (int)n, false);
  return 1;
}

/* fd:fileno() -> the number, or nil when it is closed or taken. */
static int l_fileno(lua_State *L) {
  struct fd *fd = check_fd(L);
  if (fd->number < 0)
    luaL_pushfail(L);
  else
    lua_pushinteger(L, fd->number);
  return 1;
}

/* fd:take() -> the number, which is the caller's from now on; nil if none. */
static int l_take(lua_State *L) {
  int n = l_fileno(L);
  check_fd(L)->number = -1;
  return n;
}

/* fd:close() - closes the number, borrowed or not. Again: nothing. */
static int l_close(lua_State *L) {
  struct fd *fd = check_fd(L);
  if (fd->number >= 0)
    close(fd->number);
  fd->number = -1;
  return 0;
}

static int l_gc(lua_State *L) {
  return check_fd(L)->owned ? l_close(L) : 0;
}

static int l_tostring(lua_State *L) {
  struct fd *fd = check_fd(L);
  if (fd->number < 0)
    lua_pushliteral(L, "fd (closed)");
  else
    lua_pushfstring(L, "fd %d", fd->number);
  return 1;
}

/* Two fd objects, closed still. */
static void push_pair(lua_State *L) {
  orr_fd_push(L);
  orr_fd_push(L);
}

static int set_pair(lua_State *L, const int fds[2]) {
  orr_fd_set(L, -2, fds[0], true);
  orr_fd_set(L, -1, fds[1], true);
  return 2;
}

/* pipe(size) -> reading fd, writing fd; nil, errno. `size` in bytes is what
   the kernel is asked for and may refuse: a pipe of 64 KiB, its default, costs
   throughput between two processors. */
static int l_pipe(lua_State *L) {
  lua_Integer size = luaL_optinteger(L, 1, 0);
  int fds[2];
  push_pair(L);
  if (pipe2(fds, O_CLOEXEC) < 0)
    return orr_fail(L, errno);
  if (size > 0 && size <= 0x7fffffff)
    fcntl(fds[1], F_SETPIPE_SZ, (int)size);
  return set_pair(L, fds);
}

/* socketpair() -> two connected Unix stream sockets; nil, errno. */
static int l_socketpair(lua_State *L) {
  int fds[2];
  push_pair(L);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return orr_fail(L, errno);
  return set_pair(L, fds);
}

/* open(path, mode) -> fd; nil, errno. mode: "r" "w" "a" "r+". Neither a FIFO
   without a peer nor a terminal can hold the caller up. */
static int l_open(lua_State *L) {
  static const char *const modes[] = {"r", "w", "a", "r+", NULL};
  static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC,
                              O_WRONLY | O_CREAT | O_APPEND, O_RDWR};
  const char *path = orr_check_cstring(L, 1);
  int mode = flags[luaL_checkoption(L, 2, "r", modes)];
  orr_fd_push(L);
  int fd = open(path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  if (fd < 0)
    return orr_fail(L, errno);
  fcntl(fd, F_SETFL, mode & O_APPEND); /* a child expects it to block */
  orr_fd_set(L, -1, fd, true);
  return 1;
}

/* dup(n) -> an fd of its own for the same open file; nil, errno. */
static int l_dup(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 0 && n <= 0x7fffffff, 1, "not an fd number");
  orr_fd_push(L);
  int fd = fcntl((int)n, F_DUPFD_CLOEXEC, 3);
  if (fd < 0)
    return orr_fail(L, errno);
  orr_fd_set(L, -1, fd, true);
  return 1;
}

void orr_open_fd(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"fileno", l_fileno}, {"take", l_take}, {"close", l_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", l_gc},
                                  {"__close", l_gc},
                                  {"__tostring", l_tostring},
                                  {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"fd", l_fd},     {"pipe", l_pipe}, {"socketpair", l_socketpair},
      {"open", l_open}, {"dup", l_dup},   {NULL, NULL}};
  orr_class(L, ORR_FD, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
