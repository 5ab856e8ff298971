/* fd.c - the userdata orrery.fd: one fd number and who closes it, and the few
   calls that make fds. All are CLOEXEC at birth. */
#include "binding.h"
#include "engine/io.h"
#include "engine/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
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

int orr_fd_take(lua_State *L, int index) {
  struct fd *fd = luaL_checkudata(L, index, ORR_FD);
  int number = fd->number;
  fd->number = -1;
  return number;
}

int orr_fd_number(lua_State *L, int index) {
  const struct fd *fd = luaL_checkudata(L, index, ORR_FD);
  luaL_argcheck(L, fd->number >= 0, index, "it is closed");
  return fd->number;
}

static struct fd *check_self(lua_State *L) {
  return orr_check_self(L, ORR_FD);
}

/* core.fd(n) -> an orrery.fd that borrows fd n: n is not closed when the object
   is collected. */
static int l_fd(lua_State *L) {
  int n = orr_check_fd(L, 1);
  orr_fd_push(L);
  orr_fd_set(L, -1, n, false);
  return 1;
}

/* core.own(n) -> an orrery.fd that owns fd n, from now on CLOEXEC, and how it
   was opened: "r", "w" or "rw"; nil, errno (EBADF). */
static int l_own(lua_State *L) {
  static const char *const modes[] = {
      [O_RDONLY] = "r", [O_WRONLY] = "w", [O_RDWR] = "rw"};
  int n = orr_check_fd(L, 1);
  orr_fd_push(L);
  int flags = fcntl(n, F_GETFL);
  int mode = flags & O_ACCMODE;
  if (flags < 0 || mode > O_RDWR)
    return orr_fail(L, flags < 0 ? errno : EBADF);
  fcntl(n, F_SETFD, FD_CLOEXEC);
  orr_fd_set(L, -1, n, true);
  lua_pushstring(L, modes[mode]);
  return 2;
}

/* core.is_fd(value) -> whether it is an orrery.fd. */
static int l_is_fd(lua_State *L) {
  lua_pushboolean(L, luaL_testudata(L, 1, ORR_FD) != NULL);
  return 1;
}

/* fd:fileno() -> the number; nil if it is closed or taken. */
static int m_fileno(lua_State *L) {
  struct fd *fd = check_self(L);
  if (fd->number < 0)
    luaL_pushfail(L);
  else
    lua_pushinteger(L, fd->number);
  return 1;
}

/* fd:take() -> the number, which the caller owns from now on; nil if it is
   closed or taken. */
static int m_take(lua_State *L) {
  int n = m_fileno(L);
  check_self(L)->number = -1;
  return n;
}

/* fd:close(): closes the fd, also a borrowed one. Does nothing if it is closed
   or taken. */
static int m_close(lua_State *L) {
  struct fd *fd = check_self(L);
  if (fd->number >= 0)
    close(fd->number);
  fd->number = -1;
  return 0;
}

/* Closes an fd that is owned and not taken. */
static int m_gc(lua_State *L) {
  return check_self(L)->owned ? m_close(L) : 0;
}

/* Reading and writing without luv ------------------------------------------ */

enum { READ_SIZE = 65536, MAX_POLLED = 1024 };

/* fd:set_nonblocking(on): for ends of pipes and sockets that no other process
   has, whose other flags need not be kept. For others, there are read_now and
   try_write. */
static int m_set_nonblocking(lua_State *L) {
  int fd = check_self(L)->number;
  fcntl(fd, F_SETFL, lua_toboolean(L, 2) ? O_NONBLOCK : 0);
  return 0;
}

/* Pushes and returns a buffer of READ_SIZE bytes, one for the Lua state: a
   stack may be as small as that. */
static char *push_buffer(lua_State *L) {
  static const char key;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) != LUA_TUSERDATA) {
    lua_newuserdatauv(L, READ_SIZE, 0);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
  }
  return lua_touserdata(L, -1);
}

static int read_by(lua_State *L, ssize_t (*call)(int, void *, size_t)) {
  const struct fd *self = check_self(L);
  char *data = push_buffer(L); /* may collect, and a finalizer may close it */
  int fd = self->number;
  ssize_t n = call(fd, data, READ_SIZE);
  if (n < 0)
    return orr_fail(L, (int)-n);
  lua_pushlstring(L, data, (size_t)n);
  return 1;
}

/* fd:read() -> a string of up to core.read_size bytes, "" at the end; nil,
   errno (EAGAIN: nothing is there). */
static int m_read(lua_State *L) {
  return read_by(L, orr_read);
}

/* fd:read_now() -> as fd:read, which it only differs from if the file blocks:
   EAGAIN then, too. */
static int m_read_now(lua_State *L) {
  return read_by(L, orr_read_now);
}

/* Returns the bytes of argument 2 from the place on that argument 3 says. */
static const char *check_rest(lua_State *L, size_t *length) {
  const char *data = luaL_checklstring(L, 2, length);
  lua_Integer from = luaL_optinteger(L, 3, 1);
  luaL_argcheck(L, from >= 1 && (size_t)from <= *length + 1, 3, "out of range");
  *length -= (size_t)(from - 1);
  return data + from - 1;
}

/* fd:write(data, from) -> how many bytes were written, of those from place
   `from` on (default 1); nil, errno (EAGAIN, EPIPE). */
static int m_write(lua_State *L) {
  int fd = check_self(L)->number;
  size_t length;
  const char *data = check_rest(L, &length);
  ssize_t n = orr_write(fd, data, length);
  if (n < 0)
    return orr_fail(L, (int)-n);
  lua_pushinteger(L, n);
  return 1;
}

/* fd:try_write(data, from) -> how many bytes the file took at once, of those
   from place `from` on (default 1), whether it blocks or not; nil, text, name
   of the errno ("EAGAIN": none). Like the method of luv's streams, for which it
   may stand. */
static int m_try_write(lua_State *L) {
  int fd = check_self(L)->number;
  size_t length;
  const char *data = check_rest(L, &length);
  ssize_t n = orr_write_now(fd, data, length);
  int error = (int)-n;
  if (n >= 0) {
    lua_pushinteger(L, n);
    return 1;
  }
  luaL_pushfail(L);
  lua_pushstring(L, strerror(error));
  const char *name = orr_name_of(orr_errnos, error);
  if (name != NULL)
    lua_pushstring(L, name);
  else
    lua_pushfstring(L, "errno %d", error);
  return 3;
}

/* fd:shut_down(): ends the writing side of a socket. Does nothing to another
   file. */
static int m_shut_down(lua_State *L) {
  shutdown(check_self(L)->number, SHUT_WR);
  return 0;
}

/* fd:lacks_writer() -> whether it is a FIFO, opened for reading, that no
   process has open for writing, and that is empty: a reader would be at its end
   at once, without having waited for a writer as open(2) does. Not so a pipe
   without a name (/dev/fd/63): that is at its end for good. Only tee(2) tells.
 */
static int m_lacks_writer(lua_State *L) {
  int fd = check_self(L)->number, ends[2];
  struct stat st;
  struct statfs system;
  ssize_t n = -1;
  if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
      fstatfs(fd, &system) == 0 && system.f_type != PIPEFS_MAGIC &&
      pipe2(ends, O_CLOEXEC) == 0) {
    n = tee(fd, ends[1], 1, SPLICE_F_NONBLOCK);
    close(ends[0]);
    close(ends[1]);
  }
  lua_pushboolean(L, n == 0);
  return 1;
}

/* core.poll(readers, writers, timeout) -> true; nil, errno. Waits until one of
   the fds may be read or written, a signal comes, or `timeout` ms are over (-1:
   never). `readers` and `writers` are lists of fd numbers. */
static int l_poll(lua_State *L) {
  struct pollfd polled[MAX_POLLED];
  nfds_t count = 0;
  lua_Integer timeout = luaL_checkinteger(L, 3);
  for (int list = 1; list <= 2; list++) {
    luaL_checktype(L, list, LUA_TTABLE);
    lua_Unsigned n = lua_rawlen(L, list);
    luaL_argcheck(L, n <= MAX_POLLED - count, list, "too many fds");
    for (lua_Unsigned i = 1; i <= n; i++, count++) {
      lua_rawgeti(L, list, (lua_Integer)i);
      polled[count].fd = (int)luaL_checkinteger(L, -1);
      polled[count].events = list == 1 ? POLLIN : POLLOUT;
      lua_pop(L, 1);
    }
  }
  if (timeout > INT_MAX)
    timeout = INT_MAX;
  if (poll(polled, count, (int)timeout) < 0 && errno != EINTR)
    return orr_fail(L, errno);
  lua_pushboolean(L, true);
  return 1;
}

/* tostring(fd) -> "fd 7" or "fd (closed)". */
static int m_tostring(lua_State *L) {
  struct fd *fd = check_self(L);
  if (fd->number < 0)
    lua_pushliteral(L, "fd (closed)");
  else
    lua_pushfstring(L, "fd %d", fd->number);
  return 1;
}

/* Making fds --------------------------------------------------------------- */

/* Pushes two closed fd objects, which set_pair fills. */
static void push_pair(lua_State *L) {
  orr_fd_push(L);
  orr_fd_push(L);
}

static int set_pair(lua_State *L, const int fds[2]) {
  orr_fd_set(L, -2, fds[0], true);
  orr_fd_set(L, -1, fds[1], true);
  return 2;
}

/* core.pipe(size) -> the orrery.fd to read from, the one to write to; nil,
   errno. `size`, in bytes, is what the kernel is asked for, and may refuse: a
   pipe of 64 KiB, its default, costs throughput between two processors. */
static int l_pipe(lua_State *L) {
  lua_Integer size = luaL_optinteger(L, 1, 0);
  int fds[2];
  push_pair(L);
  if (pipe2(fds, O_CLOEXEC) < 0)
    return orr_fail(L, errno);
  if (size > 0 && size <= INT_MAX)
    fcntl(fds[1], F_SETPIPE_SZ, (int)size);
  return set_pair(L, fds);
}

/* core.socketpair() -> two orrery.fd, connected Unix stream sockets; nil,
   errno. */
static int l_socketpair(lua_State *L) {
  int fds[2];
  push_pair(L);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return orr_fail(L, errno);
  return set_pair(L, fds);
}

/* core.open(path, mode) -> orrery.fd; nil, errno. mode: "r" (default), "w",
   "a", "r+", as in io.open. Never waits, as open(2) does for the peer of a
   FIFO. */
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

/* core.dup(n) -> an orrery.fd for the same open file as fd n; nil, errno. */
static int l_dup(lua_State *L) {
  int n = orr_check_fd(L, 1);
  orr_fd_push(L);
  int fd = fcntl(n, F_DUPFD_CLOEXEC, 3);
  if (fd < 0)
    return orr_fail(L, errno);
  orr_fd_set(L, -1, fd, true);
  return 1;
}

/* core.adopt(n) -> an orrery.fd that owns fd n, from now on CLOEXEC: a Unix
   stream socket that this process has inherited; nil, errno (ENOTSOCK: n is
   something else, and is left alone; EBADF). */
static int l_adopt(lua_State *L) {
  int n = orr_check_fd(L, 1);
  int domain = 0, type = 0;
  socklen_t size = sizeof domain;
  orr_fd_push(L);
  if (getsockopt(n, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
      getsockopt(n, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
    return orr_fail(L, errno);
  if (domain != AF_UNIX || type != SOCK_STREAM)
    return orr_fail(L, ENOTSOCK);
  fcntl(n, F_SETFD, FD_CLOEXEC);
  orr_fd_set(L, -1, n, true);
  return 1;
}

void orr_open_fd(lua_State *L) {
  static const luaL_Reg methods[] = {{"fileno", m_fileno},
                                     {"take", m_take},
                                     {"close", m_close},
                                     {"read", m_read},
                                     {"write", m_write},
                                     {"set_nonblocking", m_set_nonblocking},
                                     {"try_write", m_try_write},
                                     {"read_now", m_read_now},
                                     {"shut_down", m_shut_down},
                                     {"lacks_writer", m_lacks_writer},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_gc},
                                  {"__close", m_gc},
                                  {"__tostring", m_tostring},
                                  {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"fd", l_fd},       {"pipe", l_pipe},   {"socketpair", l_socketpair},
      {"open", l_open},   {"dup", l_dup},     {"poll", l_poll},
      {"is_fd", l_is_fd}, {"adopt", l_adopt}, {"own", l_own},
      {NULL, NULL}};
  orr_class(L, ORR_FD, methods, meta);
  luaL_setfuncs(L, functions, 0);
  lua_pushinteger(L, READ_SIZE);
  lua_setfield(L, -2, "read_size");
}
