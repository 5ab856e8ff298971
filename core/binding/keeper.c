/* keeper.c - the userdata orrery.keeper: our side of a keeper (core/keeper),
   and of the program that it keeps. */
#include "keeper.h"

#include "binding.h"
#include "engine/io.h"
#include "keeper/messages.h"
#include "usage.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct orr_keeper *check_self(lua_State *L) {
  return luaL_checkudata(L, 1, ORR_KEEPER);
}

static void close_fd(int *fd) {
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
}

/* core.keeper(exe, no_children) -> orrery.keeper, with both ends of its socket;
   nil, errno (EMFILE, ENFILE). `exe` is the orrery.fd of the keeper's program,
   which stays the caller's and open. */
static int l_keeper(lua_State *L) {
  int ends[2], exe = orr_fd_number(L, 1);
  struct orr_keeper *self = lua_newuserdatauv(L, sizeof *self, 1);
  memset(self, 0, sizeof *self);
  self->socket = self->peer = self->keep.pidfd = -1;
  luaL_setmetatable(L, ORR_KEEPER);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1); /* keeps `exe` open */
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return orr_fail(L, errno);
  self->socket = ends[0];
  self->peer = ends[1];
  self->keep.socket = ends[1];
  self->keep.exe = exe;
  self->keep.no_children = lua_toboolean(L, 2);
  return 1;
}

void orr_keeper_started(struct orr_keeper *keeper, long floor) {
  keeper->floor = floor;
  keeper->running = true;
  close_fd(&keeper->peer);
}

/* Sends a signal to the program. 0 or -errno; -ESRCH once it has ended. */
static int send_signal(const struct orr_keeper *keeper, int signal) {
  struct request request = {.op = OP_PROGRAM, .signal = signal};
  if (!keeper->running)
    return -ESRCH;
  if (keeper->keep.pidfd >= 0)
    return syscall(SYS_pidfd_send_signal, keeper->keep.pidfd, signal, NULL, 0) <
                   0
               ? -errno
               : 0;
  ssize_t n = orr_send(keeper->socket, &request, sizeof request);
  return n < 0 ? (int)n : 0;
}

void orr_keeper_signal_all(const struct orr_keeper *keeper, int signal) {
  struct request request = {.op = OP_SIGNAL, .signal = signal}; /* id 0 */
  orr_send(keeper->socket, &request, sizeof request);
}

/* keeper:fileno() -> the number of our end; nil if it is closed. */
static int m_fileno(lua_State *L) {
  const struct orr_keeper *self = check_self(L);
  if (self->socket < 0)
    return 0;
  lua_pushinteger(L, self->socket);
  return 1;
}

/* keeper:peer() -> the number of the other end, for a start; nil if the keeper
   has it. */
static int m_peer(lua_State *L) {
  const struct orr_keeper *self = check_self(L);
  if (self->peer < 0)
    return 0;
  lua_pushinteger(L, self->peer);
  return 1;
}

/* keeper:close_peer(): closes the other end, once the keeper has it. */
static int m_close_peer(lua_State *L) {
  close_fd(&check_self(L)->peer);
  return 0;
}

/* keeper:close(): closes the socket. Does nothing when called again. A program
   that still runs can be signalled all the same, if there are pidfds. */
static int m_close(lua_State *L) {
  struct orr_keeper *self = check_self(L);
  close_fd(&self->socket);
  close_fd(&self->peer);
  return 0;
}

static int m_gc(lua_State *L) {
  struct orr_keeper *self = check_self(L);
  close_fd(&self->keep.pidfd);
  self->running = false;
  return m_close(L);
}

static uint32_t check_u32(lua_State *L, int arg) {
  lua_Integer n = luaL_checkinteger(L, arg);
  luaL_argcheck(L, n >= 0 && n <= UINT32_MAX, arg, "out of range");
  return (uint32_t)n;
}

/* Sends a message. Returns what the method does: true; nil, errno. */
static int send_message(lua_State *L, const struct orr_keeper *self,
                        const void *message, size_t size) {
  ssize_t n = orr_send(self->socket, message, size);
  if (n < 0)
    return orr_fail(L, (int)-n);
  lua_pushboolean(L, true);
  return 1;
}

/* keeper:adopt(id, path, made, die, entered) -> true; nil, errno (EPIPE): has a
   keeper that serves watch a control group, the last of `made` directories. It
   is killed with this process if `die`. With `entered` it has had a member. */
static int m_adopt(lua_State *L) {
  const struct orr_keeper *self = check_self(L);
  struct adopt r;
  size_t size;
  memset(&r, 0, offsetof(struct adopt, path));
  r.op = OP_ADOPT;
  r.id = check_u32(L, 2);
  const char *path = luaL_checklstring(L, 3, &size);
  luaL_argcheck(L, size < sizeof r.path, 3, "too long");
  r.made = check_u32(L, 4);
  r.flags = (lua_toboolean(L, 5) ? ADOPT_DIE : 0) |
            (lua_toboolean(L, 6) ? ADOPT_ENTERED : 0);
  memcpy(r.path, path, size + 1);
  return send_message(L, self, &r, offsetof(struct adopt, path) + size + 1);
}

/* keeper:forget(id) -> true; nil, errno (EPIPE): has a group removed that
   nobody has entered. */
static int m_forget(lua_State *L) {
  struct request r;
  memset(&r, 0, sizeof r);
  r.op = OP_FORGET;
  r.group = check_u32(L, 2);
  return send_message(L, check_self(L), &r, sizeof r);
}

/* keeper:request(op, id, signal, grace, group, root, born, mark) -> true; nil,
   errno (EPIPE: the keeper has gone). `op` is "signal" or "end". The last four
   tell a keeper that serves which family is meant: a group that it has adopted,
   by its id, or, with 0 for it, one that it must look for. See messages.h. */
static int m_request(lua_State *L) {
  static const char *const names[] = {"signal", "end", NULL};
  const struct orr_keeper *self = check_self(L);
  struct request r;
  memset(&r, 0, sizeof r);
  r.op = luaL_checkoption(L, 2, NULL, names) == 0 ? OP_SIGNAL : OP_END;
  r.id = check_u32(L, 3);
  r.signal = (int32_t)check_u32(L, 4);
  r.grace = check_u32(L, 5);
  r.group = (uint32_t)luaL_optinteger(L, 6, 0);
  r.root = (int32_t)luaL_optinteger(L, 7, 0);
  r.born = (uint64_t)luaL_optinteger(L, 8, 0);
  const char *mark = luaL_optstring(L, 9, "");
  luaL_argcheck(L, strlen(mark) < sizeof r.mark, 9, "too long");
  memcpy(r.mark, mark, strlen(mark));
  return send_message(L, self, &r, sizeof r);
}

union message {
  uint32_t type;
  struct done done;
  struct ended ended;
  struct emptied emptied;
};

/* Pushes "done", id, living, forced, the list of pids left. Returns how many
   values that are. */
static int push_done(lua_State *L, const struct done *done, size_t size) {
  uint32_t count = done->count;
  if (size < offsetof(struct done, left) || count > MOST_LEFT ||
      count > (size - offsetof(struct done, left)) / sizeof *done->left)
    return orr_fail(L, EPROTO);
  lua_pushliteral(L, "done");
  lua_pushinteger(L, done->id);
  lua_pushinteger(L, done->living);
  lua_pushinteger(L, done->forced);
  lua_createtable(L, (int)count, 0);
  for (uint32_t i = 0; i < count; i++) {
    lua_pushinteger(L, done->left[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 5;
}

static void set_known(lua_State *L, const char *name, uint64_t value) {
  if (value == 0)
    return;
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

/* Pushes "emptied", id, usage; or "lost", id. Returns how many values that
   is. */
static int push_emptied(lua_State *L, const struct emptied *e) {
  bool lost = e->type == REPLY_LOST;
  lua_pushstring(L, lost ? "lost" : "emptied");
  lua_pushinteger(L, e->id);
  if (lost)
    return 2;
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, (lua_Integer)e->user);
  lua_setfield(L, -2, "user");
  lua_pushinteger(L, (lua_Integer)e->system);
  lua_setfield(L, -2, "system");
  set_known(L, "memory_peak", e->memory_peak);
  set_known(L, "pids_peak", e->pids_peak);
  return 3;
}

static struct rusage rusage_of(const struct usage *u) {
  struct rusage r;
  memset(&r, 0, sizeof r);
  r.ru_utime.tv_sec = (time_t)(u->user / 1000000);
  r.ru_utime.tv_usec = (suseconds_t)(u->user % 1000000);
  r.ru_stime.tv_sec = (time_t)(u->system / 1000000);
  r.ru_stime.tv_usec = (suseconds_t)(u->system % 1000000);
  r.ru_maxrss = (long)u->max_rss;
  r.ru_minflt = (long)u->minor_faults;
  r.ru_majflt = (long)u->major_faults;
  r.ru_inblock = (long)u->blocks_read;
  r.ru_oublock = (long)u->blocks_written;
  r.ru_nvcsw = (long)u->voluntary_switches;
  r.ru_nivcsw = (long)u->involuntary_switches;
  return r;
}

/* keeper:receive() -> "exit": the program has ended; "empty", usage: so has all
   of its family, and this is what all of them have used; "done", id, living,
   forced, left: a request is done; "emptied", id, usage: an adopted group is
   empty and removed; "lost", id: it cannot be watched; nil, errno (EAGAIN:
   nothing has come; EPIPE: the keeper has gone; EPROTO: no keeper says
   that). */
static int m_receive(lua_State *L) {
  struct orr_keeper *self = check_self(L);
  union message m;
  ssize_t n = recv(self->socket, &m, sizeof m, MSG_DONTWAIT);
  if (n <= 0)
    return orr_fail(L, n == 0 || errno == ECONNRESET ? EPIPE : errno);
  if ((size_t)n >= sizeof m.type && m.type == REPLY_DONE)
    return push_done(L, &m.done, (size_t)n);
  if ((size_t)n == sizeof m.emptied &&
      (m.type == REPLY_EMPTIED || m.type == REPLY_LOST))
    return push_emptied(L, &m.emptied);
  if ((size_t)n < sizeof m.ended ||
      !(m.type == REPLY_EXIT ? self->running
                             : m.type == REPLY_EMPTY && self->keep.program > 0))
    return orr_fail(L, EPROTO);
  struct rusage usage = rusage_of(&m.ended.usage);
  if (m.type == REPLY_EMPTY) {
    lua_pushliteral(L, "empty");
    orr_push_usage(L, &usage, self->floor);
    return 2;
  }
  self->usage = usage;
  self->status = m.ended.status;
  self->known = true;
  self->running = false;
  close_fd(&self->keep.pidfd);
  lua_pushliteral(L, "exit");
  return 1;
}

/* The program, as orrery.spawn has it ---------------------------------------
 */

/* keeper:pid() -> the program's pid, also after its end. */
static int m_pid(lua_State *L) {
  lua_pushinteger(L, check_self(L)->keep.program);
  return 1;
}

/* keeper:kill(signal) -> true; nil, errno (EPERM; ESRCH: it has ended). */
static int m_kill(lua_State *L) {
  const struct orr_keeper *self = check_self(L);
  lua_Integer signal = luaL_checkinteger(L, 2);
  luaL_argcheck(L, signal >= 0 && signal <= 64, 2, "not a signal");
  int rc = send_signal(self, (int)signal);
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushboolean(L, true);
  return 1;
}

/* keeper:status() -> exit code or nil, number of the signal or nil, whether it
   runs: as spawned:status(). Nothing is known if the keeper has gone before. */
static int m_status(lua_State *L) {
  const struct orr_keeper *self = check_self(L);
  if (self->known && WIFEXITED(self->status))
    lua_pushinteger(L, WEXITSTATUS(self->status));
  else
    lua_pushnil(L);
  if (self->known && WIFSIGNALED(self->status))
    lua_pushinteger(L, WTERMSIG(self->status));
  else
    lua_pushnil(L);
  lua_pushboolean(L, self->running);
  return 3;
}

/* keeper:usage() -> a table, as spawned:usage(). */
static int m_usage(lua_State *L) {
  const struct orr_keeper *self = check_self(L);
  orr_push_usage(L, &self->usage, self->floor);
  return 1;
}

/* tostring(keeper) -> "orrery.keeper 1234: running". */
static int m_tostring(lua_State *L) {
  const struct orr_keeper *self = check_self(L);
  lua_pushfstring(L, "%s %d: %s", ORR_KEEPER, (int)self->keep.program,
                  self->running ? "running" : "ended");
  return 1;
}

void orr_open_keeper(lua_State *L) {
  static const luaL_Reg methods[] = {{"fileno", m_fileno},
                                     {"peer", m_peer},
                                     {"close_peer", m_close_peer},
                                     {"close", m_close},
                                     {"request", m_request},
                                     {"adopt", m_adopt},
                                     {"forget", m_forget},
                                     {"receive", m_receive},
                                     {"pid", m_pid},
                                     {"kill", m_kill},
                                     {"status", m_status},
                                     {"usage", m_usage},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__gc", m_gc}, {"__tostring", m_tostring}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"keeper", l_keeper}, {NULL, NULL}};
  orr_class(L, ORR_KEEPER, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
