/* output.c - what this process prints: C streams for stdout and stderr that
   lose nothing, and notice that their reader has gone.

   libc throws its buffer away when a non-blocking file is full: of 400 kB that
   were printed into such a pipe 64 kB arrived. And it goes on for ever when
   there is no reader any more, for SIGPIPE is ignored. So a process that this
   library owns prints through streams of ours over the same fds: they wait
   while the file is full, and EPIPE ends the process as SIGPIPE would (see
   engine/ending.h). */
#include "binding.h"
#include "engine/ending.h"
#include "engine/io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <unistd.h>

static bool owned; /* the output is this library's: own_output was called */

/* Waits until the file takes bytes, or a signal comes. 0 or -errno. */
static int poll_writable(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

int orr_write_all(int fd, const char *data, size_t length) {
  while (length > 0) {
    ssize_t n = orr_write(fd, data, length);
    if (n == -EAGAIN)
      n = poll_writable(fd);
    if (n < 0)
      return (int)n;
    data += n;
    length -= (size_t)n;
  }
  return 0;
}

/* libc's own stdout waits only before it is flushed. A pipe that is writable
   takes PIPE_BUF bytes, which is libc's buffer for one. */
void orr_flush_stdout(void) {
  if (__fpending(stdout) > 0) {
    poll_writable(STDOUT_FILENO);
    fflush(stdout);
  }
}

void orr_flush_all(void) {
  orr_flush_stdout();
  fflush(stderr);
  if (ftrylockfile(stdin) == 0) {
    funlockfile(stdin);
    fflush(NULL);
  }
}

/* The write function of our streams, fopencookie(3): 0 is an error. */
static ssize_t write_stream(void *cookie, const char *data, size_t length) {
  const int *fd = cookie;
  int rc = orr_write_all(*fd, data, length);
  if (rc == -EPIPE)
    orr_ending_note(SIGPIPE);
  errno = -rc;
  return rc < 0 ? 0 : (ssize_t)length;
}

/* Makes the Lua file `name` of the table `io` on top of the stack write to fd
   through a stream of ours, and returns that; NULL: want of memory. */
static FILE *replace(lua_State *L, const char *name, const int *fd, int mode) {
  const cookie_io_functions_t functions = {.write = write_stream};
  FILE *file = fopencookie((void *)(uintptr_t)fd, "w", functions);
  if (file == NULL)
    return NULL;
  setvbuf(file, NULL, mode, BUFSIZ);
  lua_getfield(L, -1, name);
  luaL_Stream *stream = luaL_testudata(L, -1, LUA_FILEHANDLE);
  if (stream != NULL)
    stream->f = file;
  lua_pop(L, 1);
  return file;
}

/* own_output(io): makes io.stdout, io.stderr, and print if libc lets its stdout
   be replaced, write through streams of ours. Returns whether print does. */
static int l_own_output(lua_State *L) {
  static const int out = STDOUT_FILENO, err = STDERR_FILENO;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  owned = true;
  fflush(stdout);
  FILE *file = replace(L, "stdout", &out, isatty(out) ? _IOLBF : _IOFBF);
  replace(L, "stderr", &err, _IONBF);
#ifdef __GLIBC__
  if (file != NULL)
    stdout = file;
  lua_pushboolean(L, true);
#else
  lua_pushboolean(L, file == NULL);
#endif
  return 1;
}

/* lost_reader(): ends this process as SIGPIPE does, children first, because an
   output of it has no reader. Does nothing in a process that is not ours. */
static int l_lost_reader(lua_State *L) {
  (void)L;
  if (owned)
    orr_ending_note(SIGPIPE);
  return 0;
}

void orr_open_output(lua_State *L) {
  static const luaL_Reg functions[] = {{"own_output", l_own_output},
                                       {"lost_reader", l_lost_reader},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
