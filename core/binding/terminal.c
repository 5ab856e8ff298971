/* terminal.c - pseudo-terminals, and the size of terminals:
   core.terminal(). */
#include "binding.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MOST = 0xffff }; /* the kernel keeps rows and columns in 16 bits */

/* Returns the size that the arguments from `arg` on say: rows, columns. */
static struct winsize check_size(lua_State *L, int arg) {
  struct winsize size = {0};
  for (int i = arg; i < arg + 2; i++) {
    lua_Integer n = luaL_checkinteger(L, i);
    luaL_argcheck(L, n > 0 && n <= MOST, i, "out of range");
    *(i == arg ? &size.ws_row : &size.ws_col) = (unsigned short)n;
  }
  return size;
}

/* Unlocks the terminal behind `ours`, sets its size and opens the other end.
   Returns the fd or -errno. */
static int open_theirs(int ours, const struct winsize *size) {
  int locked = 0;
  if (ioctl(ours, TIOCSPTLCK, &locked) < 0 || ioctl(ours, TIOCSWINSZ, size) < 0)
    return -errno;
  /* By its path it might be another one, if /dev/pts is mounted anew. */
  int theirs = ioctl(ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return theirs < 0 ? -errno : theirs;
}

/* open(rows, columns) -> two orrery.fd of a new pseudo-terminal: the one that
   controls it, and the one that is a terminal to a program; nil, errno (ENOENT:
   there is no /dev/ptmx; ENOSPC: there are as many terminals as may be). */
static int l_open(lua_State *L) {
  const struct winsize size = check_size(L, 1);
  orr_fd_push(L);
  orr_fd_push(L);
  int ours = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (ours < 0)
    return orr_fail(L, errno);
  orr_fd_set(L, -2, ours, true);
  int theirs = open_theirs(ours, &size);
  if (theirs < 0) {
    close(orr_fd_take(L, -2));
    return orr_fail(L, -theirs);
  }
  orr_fd_set(L, -1, theirs, true);
  return 2;
}

/* size(fd) -> rows, columns of the terminal that is fd, 0 if nobody has said;
   nil, errno (ENOTTY). */
static int l_size(lua_State *L) {
  struct winsize size;
  if (ioctl(orr_check_fd(L, 1), TIOCGWINSZ, &size) < 0)
    return orr_fail(L, errno);
  lua_pushinteger(L, size.ws_row);
  lua_pushinteger(L, size.ws_col);
  return 2;
}

/* resize(fd, rows, columns) -> true; nil, errno (EIO). If that is another size,
   the kernel sends SIGWINCH to the foreground process group. */
static int l_resize(lua_State *L) {
  const struct winsize size = check_size(L, 2);
  if (ioctl(orr_check_fd(L, 1), TIOCSWINSZ, &size) < 0)
    return orr_fail(L, errno);
  lua_pushboolean(L, true);
  return 1;
}

void orr_open_terminal(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"open", l_open}, {"size", l_size}, {"resize", l_resize}, {NULL, NULL}};
  orr_add_part(L, "terminal", functions);
}
