/*
** spawn.c - the userdata orrery.spawn: one started child.
**
** Everything that can raise comes before the start: the description is turned
** into arrays that live in userdata on the Lua stack, the child's userdata is
** made closed and anchored, and only then does a process exist.
*/
#include "binding.h"
#include "engine/launch.h"
#include "engine/reaper.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* {{{ the engine: launcher and reaper of one Lua state, in its registry */

struct engine {
  struct orr_launcher launcher;
  struct orr_reaper reaper;
  bool open;
  bool finalized; /* the Lua state is closing */
};

/* A running child and what only Lua needs of it. */
struct spawned {
  struct orr_child child;
  long floor; /* KiB; see l_usage */
};

static int engine_gc(lua_State *L) {
  struct engine *e = luaL_checkudata(L, 1, ORR_ENGINE);
  if (e->open) {
    orr_reaper_close(&e->reaper);
    orr_launcher_close(&e->launcher);
  }
  e->open = false;
  e->finalized = true;
  return 0;
}

/* Makes the engine of this state, closed still. Its user value anchors the
   running children by their address. */
static void make_engine(lua_State *L) {
  int type = lua_getfield(L, LUA_REGISTRYINDEX, ORR_ENGINE ".state");
  lua_pop(L, 1);
  if (type == LUA_TUSERDATA)
    return;
  struct engine *e = lua_newuserdatauv(L, sizeof *e, 1);
  memset(e, 0, sizeof *e);
  luaL_setmetatable(L, ORR_ENGINE);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, ORR_ENGINE ".state");
}

/* For this file's module functions, whose upvalue it is. */
static struct engine *push_engine(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return lua_touserdata(L, -1);
}

/* Opens it where that is still to be done. 0 or -errno. */
static int open_engine(struct engine *e) {
  struct orr_launcher fresh;
  if (e->open)
    return 0;
  if (e->finalized)
    return -ECANCELED;
  int rc = orr_launcher_open(&fresh, getenv("ORRERY_FORCE"));
  if (rc < 0)
    return rc;
  fresh.old_nofile = e->launcher.old_nofile;
  fresh.nofile_raised = e->launcher.nofile_raised;
  rc = orr_reaper_open(&e->reaper);
  if (rc < 0) {
    orr_launcher_close(&fresh);
    return rc;
  }
  e->launcher = fresh;
  e->open = true;
  return 0;
}

void orr_remember_nofile(lua_State *L, const struct rlimit *old) {
  lua_getfield(L, LUA_REGISTRYINDEX, ORR_ENGINE ".state");
  struct engine *e = luaL_checkudata(L, -1, ORR_ENGINE);
  e->launcher.old_nofile = *old;
  e->launcher.nofile_raised = true;
  lua_pop(L, 1);
}

/* }}} */

/* {{{ the description of a start */

/* Where a description is being read into. Buffers made on the way stay on the
   Lua stack until the start is over. */
struct spec {
  struct orr_program program;
  cpu_set_t affinity;
};

static int bad_field(lua_State *L, const char *name, const char *why) {
  return luaL_error(L, "bad field '%s' (%s)", name, why);
}

static lua_Integer field_integer(lua_State *L, const char *name,
                                 lua_Integer low, lua_Integer high) {
  int ok;
  lua_Integer n = lua_tointegerx(L, -1, &ok);
  if (!ok || n < low || n > high)
    bad_field(L, name, "integer out of range");
  return n;
}

static const char *field_string(lua_State *L, const char *name) {
  size_t length;
  const char *s =
      lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
  if (s == NULL)
    bad_field(L, name, "string expected");
  else if (strlen(s) != length)
    bad_field(L, name, "contains a NUL byte");
  return s;
}

/* The length of the list on top, which must fit an int. */
static int list_length(lua_State *L, const char *name) {
  if (lua_type(L, -1) != LUA_TTABLE)
    bad_field(L, name, "list expected");
  lua_Unsigned n = lua_rawlen(L, -1);
  if (n > INT_MAX / 64)
    bad_field(L, name, "too long");
  return (int)n;
}

/* A buffer under the value on top, which stays on top. */
static void *new_buffer(lua_State *L, size_t size) {
  void *buffer = lua_newuserdatauv(L, size > 0 ? size : 1, 0);
  lua_insert(L, -2);
  return buffer;
}

/* A NULL-terminated array of a list of strings, with `spare` slots in front.
   The strings stay anchored in the list. */
static const char **read_strings(lua_State *L, const char *name, int spare) {
  int n = list_length(L, name);
  const char **out =
      new_buffer(L, ((size_t)n + (size_t)spare + 1) * sizeof *out);
  out += spare;
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, -1, i + 1);
    out[i] = field_string(L, name);
    lua_pop(L, 1);
  }
  out[n] = NULL;
  return out;
}

static lua_Integer list_integer(lua_State *L, const char *name, int i,
                                lua_Integer low, lua_Integer high) {
  lua_rawgeti(L, -1, i + 1);
  lua_Integer value = field_integer(L, name, low, high);
  lua_pop(L, 1);
  return value;
}

static void set_cwd(lua_State *L, const char *name, struct spec *s) {
  s->program.cwd = field_string(L, name);
}

static void set_groups(lua_State *L, const char *name, struct spec *s) {
  int n = list_length(L, name);
  gid_t *groups = new_buffer(L, (size_t)n * sizeof *groups);
  for (int i = 0; i < n; i++)
    groups[i] = (gid_t)list_integer(L, name, i, 0, UINT_MAX - 1);
  s->program.groups = groups;
  s->program.ngroups = n;
  s->program.has_groups = true;
}

/* A soft or hard limit; math.huge is "unlimited". */
static rlim_t limit_value(lua_State *L, const char *name, int i) {
  lua_rawgeti(L, -1, i);
  rlim_t value = RLIM_INFINITY;
  if (lua_isinteger(L, -1) || lua_tonumber(L, -1) != HUGE_VAL)
    value = (rlim_t)field_integer(L, name, 0, LLONG_MAX);
  lua_pop(L, 1);
  return value;
}

/* A flat list: resource, soft, hard, resource, ... */
static void set_limits(lua_State *L, const char *name, struct spec *s) {
  int n = list_length(L, name) / 3;
  struct orr_limit *limits = new_buffer(L, (size_t)n * sizeof *limits);
  for (int i = 0; i < n; i++) {
    limits[i].resource = (int)list_integer(L, name, 3 * i, 0, INT_MAX);
    limits[i].value.rlim_cur = limit_value(L, name, 3 * i + 2);
    limits[i].value.rlim_max = limit_value(L, name, 3 * i + 3);
  }
  s->program.limits = limits;
  s->program.nlimits = n;
}

static void set_affinity(lua_State *L, const char *name, struct spec *s) {
  int n = list_length(L, name);
  CPU_ZERO(&s->affinity);
  for (int i = 0; i < n; i++)
    CPU_SET((size_t)list_integer(L, name, i, 0, CPU_SETSIZE - 1), &s->affinity);
  s->program.affinity = &s->affinity;
}

static void set_pgroup(lua_State *L, const char *name, struct spec *s) {
  s->program.pgroup = (pid_t)field_integer(L, name, 0, INT_MAX);
  s->program.has_pgroup = true;
}

static void set_nice(lua_State *L, const char *name, struct spec *s) {
  s->program.nice = (int)field_integer(L, name, -20, 19);
  s->program.has_nice = true;
}

static void set_umask(lua_State *L, const char *name, struct spec *s) {
  s->program.umask = (mode_t)field_integer(L, name, 0, 0777);
  s->program.has_umask = true;
}

static void set_uid(lua_State *L, const char *name, struct spec *s) {
  s->program.uid = (uid_t)field_integer(L, name, 0, UINT_MAX - 1);
  s->program.has_uid = true;
}

static void set_gid(lua_State *L, const char *name, struct spec *s) {
  s->program.gid = (gid_t)field_integer(L, name, 0, UINT_MAX - 1);
  s->program.has_gid = true;
}

static void set_setsid(lua_State *L, const char *name, struct spec *s) {
  (void)name;
  s->program.setsid = lua_toboolean(L, -1);
}

static void set_die_with_parent(lua_State *L, const char *name,
                                struct spec *s) {
  (void)name;
  s->program.die_with_parent = lua_toboolean(L, -1);
}

static const struct field {
  const char *name;
  void (*set)(lua_State *L, const char *name, struct spec *spec);
} fields[] = {
    {"cwd", set_cwd},
    {"groups", set_groups},
    {"rlimits", set_limits},
    {"cpu_affinity", set_affinity},
    {"pgroup", set_pgroup},
    {"nice", set_nice},
    {"umask", set_umask},
    {"uid", set_uid},
    {"gid", set_gid},
    {"setsid", set_setsid},
    {"die_with_parent", set_die_with_parent},
};

static void read_attributes(lua_State *L, int index, struct spec *s) {
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushstring(L, fields[i].name);
    if (lua_rawget(L, index) != LUA_TNIL)
      fields[i].set(L, fields[i].name, s);
    lua_pop(L, 1);
  }
}

/* The child's fds, from fd 0 on: ours, or -1. */
static void read_fds(lua_State *L, const char *name, struct spec *s) {
  int n = list_length(L, name);
  s->program.fds = new_buffer(L, (size_t)n * sizeof *s->program.fds);
  s->program.nfds = n;
  for (int i = 0; i < n; i++)
    s->program.fds[i] = (int)list_integer(L, name, i, -1, INT_MAX);
}

/* The arguments of core.spawn. */
static void read_spec(lua_State *L, struct spec *s) {
  memset(s, 0, sizeof *s);
  lua_settop(L, 5);
  luaL_checkstack(L, 2 * (int)(sizeof fields / sizeof *fields) + 16, NULL);
  s->program.file = orr_check_cstring(L, 1);
  lua_pushvalue(L, 2);
  s->program.argv = read_strings(L, "argv", 1);
  if (s->program.argv[0] == NULL)
    bad_field(L, "argv", "empty");
  lua_pushvalue(L, 3);
  read_fds(L, "fds", s);
  if (!lua_isnoneornil(L, 4)) {
    lua_pushvalue(L, 4);
    s->program.envp = read_strings(L, "env", 0);
  }
  if (!lua_isnoneornil(L, 5)) {
    luaL_checktype(L, 5, LUA_TTABLE);
    read_attributes(L, 5, s);
  }
}

/* }}} */

/* {{{ core.spawn and the reaper */

static int fail_start(lua_State *L, const struct orr_failure *f) {
  orr_fail(L, f->error);
  lua_pushstring(L, orr_stage_name(f->stage));
  lua_pushinteger(L, f->index);
  return 4;
}

/* Starts and watches. What cannot be watched may not live. */
static int start(struct engine *e, struct spec *s, struct spawned *sp,
                 struct orr_failure *f) {
  static const char *empty[] = {NULL};
  struct orr_child *child = &sp->child;
  struct rusage ours;
  int rc = open_engine(e);
  if (rc < 0) {
    *f = (struct orr_failure){-rc, ORR_STAGE_FORK, 0};
    return rc;
  }
  getrusage(RUSAGE_SELF, &ours);
  sp->floor = ours.ru_maxrss;
  /* Not earlier: a finalizer may have moved it. */
  if (s->program.envp == NULL)
    s->program.envp = environ != NULL ? (const char **)environ : empty;
  rc = orr_launch(&e->launcher, &s->program, &child->pid, &child->pidfd, f);
  if (rc < 0)
    return rc;
  rc = orr_reaper_watch(&e->reaper, child);
  if (rc < 0) {
    *f = (struct orr_failure){-rc, ORR_STAGE_FORK, 0};
    kill(child->pid, SIGKILL);
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
      ;
    close(child->pidfd);
    child->pidfd = -1;
  }
  return rc;
}

static void anchor(lua_State *L, int engine, const void *key, int value) {
  lua_getiuservalue(L, engine, 1);
  if (value != 0)
    lua_pushvalue(L, value);
  else
    lua_pushnil(L);
  lua_rawsetp(L, -2, key);
  lua_pop(L, 1);
}

/* spawn(file, argv, fds, env, attributes) -> orrery.spawn;
   nil, errno, stage, index. fds[1] is for the child's fd 0; env is a list of
   NAME=value, or nil for ours; attributes are the fields above, or nil. */
static int l_spawn(lua_State *L) {
  struct spec spec;
  struct orr_failure failure = {0, ORR_STAGE_NONE, 0};
  read_spec(L, &spec);
  struct engine *e = push_engine(L);
  int engine = lua_gettop(L);
  struct spawned *sp = lua_newuserdatauv(L, sizeof *sp, 0);
  memset(sp, 0, sizeof *sp);
  sp->child.pidfd = -1;
  luaL_setmetatable(L, ORR_SPAWN);
  anchor(L, engine, sp, lua_gettop(L));
  if (start(e, &spec, sp, &failure) < 0) {
    anchor(L, engine, sp, 0);
    return fail_start(L, &failure);
  }
  return 1;
}

/* reap() -> the next child that has ended, or nil when there is none now. */
static int l_reap(lua_State *L) {
  struct engine *e = push_engine(L);
  int engine = lua_gettop(L);
  struct orr_child *child = e->open ? orr_reaper_next(&e->reaper) : NULL;
  if (child == NULL)
    return 0;
  lua_getiuservalue(L, engine, 1);
  lua_rawgetp(L, -1, child);
  anchor(L, engine, child, 0);
  return 1;
}

/* The engine, open and with its roads known; NULL with *error set. Pushes it.
 */
static struct engine *ready_engine(lua_State *L, int *error) {
  struct engine *e = push_engine(L);
  int rc = open_engine(e);
  if (rc == 0)
    rc = orr_launcher_probe(&e->launcher);
  *error = -rc;
  return rc < 0 ? NULL : e;
}

/* reaper_fd() -> the fd that is readable when reap() has something; false
   where there are no pidfds and SIGCHLD must tell; nil, errno. */
static int l_reaper_fd(lua_State *L) {
  int error;
  struct engine *e = ready_engine(L, &error);
  if (e == NULL)
    return orr_fail(L, error);
  if (e->launcher.roads.pidfd)
    lua_pushinteger(L, e->reaper.epoll);
  else
    lua_pushboolean(L, false);
  return 1;
}

/* features() -> {clone_vm=, pidfd=, close_range=}: the roads in use; nil,
   errno. Forced off by ORRERY_FORCE=no_clone_vm,no_pidfd,no_close_range. */
static int l_features(lua_State *L) {
  int error;
  struct engine *e = ready_engine(L, &error);
  if (e == NULL)
    return orr_fail(L, error);
  lua_createtable(L, 0, 3);
  lua_pushboolean(L, e->launcher.roads.clone_vm);
  lua_setfield(L, -2, "clone_vm");
  lua_pushboolean(L, e->launcher.roads.pidfd);
  lua_setfield(L, -2, "pidfd");
  lua_pushboolean(L, e->launcher.roads.close_range);
  lua_setfield(L, -2, "close_range");
  return 1;
}

/* null_fd() -> an fd of /dev/null that stays open; nil, errno. */
static int l_null_fd(lua_State *L) {
  struct engine *e = push_engine(L);
  int rc = open_engine(e);
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushinteger(L, e->launcher.slots[0]);
  return 1;
}

/* }}} */

/* {{{ methods */

static struct spawned *check_spawned(lua_State *L) {
  return luaL_checkudata(L, 1, ORR_SPAWN);
}

static int l_pid(lua_State *L) {
  lua_pushinteger(L, check_spawned(L)->child.pid);
  return 1;
}

/* child:kill(signal) -> true; nil, errno. ESRCH once it is reaped. */
static int l_kill(lua_State *L) {
  struct spawned *sp = check_spawned(L);
  lua_Integer signal = luaL_checkinteger(L, 2);
  luaL_argcheck(L, signal >= 0 && signal <= 64, 2, "not a signal");
  int rc = orr_child_signal(&sp->child, (int)signal);
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushboolean(L, true);
  return 1;
}

/* child:status() -> code or nil, signal number or nil, whether it runs. Both
   nil while it runs, and where somebody else took the status. */
static int l_status(lua_State *L) {
  struct orr_child *child = &check_spawned(L)->child;
  lua_settop(L, 0);
  if (!child->running && !child->unknown && child->signal == 0)
    lua_pushinteger(L, child->code);
  else
    lua_pushnil(L);
  if (!child->running && child->signal != 0)
    lua_pushinteger(L, child->signal);
  else
    lua_pushnil(L);
  lua_pushboolean(L, child->running);
  return 3;
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static lua_Integer microseconds(const struct timeval *t) {
  return (lua_Integer)t->tv_sec * 1000000 + t->tv_usec;
}

/*
** child:usage() -> getrusage(2) of the child and of those it waited for: CPU
** times in µs, max_rss in bytes, Node's names otherwise.
**
** Linux counts the memory that a process had *before* its exec, and a child
** starts in its parent's: a max_rss that does not exceed what this process had
** at its own peak only says "not more than that". max_rss_exact tells which;
** the kernel's counters are batched per CPU, hence the slack.
*/
enum { RSS_SLACK = 1024 }; /* KiB */

static int l_usage(lua_State *L) {
  struct spawned *sp = check_spawned(L);
  const struct rusage *u = &sp->child.usage;
  lua_createtable(L, 0, 10);
  set_integer(L, "user", microseconds(&u->ru_utime));
  set_integer(L, "system", microseconds(&u->ru_stime));
  set_integer(L, "max_rss", (lua_Integer)u->ru_maxrss * 1024);
  lua_pushboolean(L, u->ru_maxrss > sp->floor + RSS_SLACK);
  lua_setfield(L, -2, "max_rss_exact");
  set_integer(L, "minor_page_fault", u->ru_minflt);
  set_integer(L, "major_page_fault", u->ru_majflt);
  set_integer(L, "fs_read", u->ru_inblock);
  set_integer(L, "fs_write", u->ru_oublock);
  set_integer(L, "voluntary_context_switches", u->ru_nvcsw);
  set_integer(L, "involuntary_context_switches", u->ru_nivcsw);
  return 1;
}

/* Only the fd goes: a child that still runs is the reaper's, and one whose Lua
   state is closing is its next parent's. */
static int l_release(lua_State *L) {
  struct orr_child *child = &check_spawned(L)->child;
  if (!child->running && child->pidfd >= 0) {
    close(child->pidfd);
    child->pidfd = -1;
  }
  return 0;
}

static int l_gc(lua_State *L) {
  check_spawned(L)->child.running = false;
  return l_release(L);
}

static int l_tostring(lua_State *L) {
  struct orr_child *child = &check_spawned(L)->child;
  lua_pushfstring(L, "%s %d: %s", ORR_SPAWN, (int)child->pid,
                  child->running ? "running" : "ended");
  return 1;
}

/* }}} */

void orr_open_spawn(lua_State *L) {
  static const luaL_Reg methods[] = {{"pid", l_pid},
                                     {"kill", l_kill},
                                     {"status", l_status},
                                     {"usage", l_usage},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", l_gc},
                                  {"__close", l_release},
                                  {"__tostring", l_tostring},
                                  {NULL, NULL}};
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg engine_meta[] = {{"__gc", engine_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"spawn", l_spawn},         {"reap", l_reap},
      {"reaper_fd", l_reaper_fd}, {"features", l_features},
      {"null_fd", l_null_fd},     {NULL, NULL}};
  orr_class(L, ORR_SPAWN, methods, meta);
  orr_class(L, ORR_ENGINE, none, engine_meta);
  make_engine(L);
  lua_getfield(L, LUA_REGISTRYINDEX, ORR_ENGINE ".state");
  luaL_setfuncs(L, functions, 1);
}
