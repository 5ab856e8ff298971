/* spawn.c - the userdata orrery.spawn: one started child.

   Everything that can raise comes before the start: program.c turns the
   description into arrays that live in userdata on the Lua stack, the child's
   userdata is made closed and anchored, and only then does a process exist. */
#include "binding.h"
#include "engine/ending.h"
#include "engine/io.h"
#include "engine/mark.h"
#include "engine/reaper.h"
#include "program.h"
#include "usage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* The engine of a Lua state ------------------------------------------------ */

/* The launcher and the reaper of one Lua state: a userdata in its registry. Its
   user value is a table that keeps the running children, by their address. */
struct engine {
  struct orr_launcher launcher;
  struct orr_reaper reaper;
  struct orr_marks marks;
  bool open;
  bool finalized; /* the Lua state is closing */
};

/* A started child, and what only Lua needs of it. */
struct spawned {
  struct orr_child child;
  struct orr_keeper *keeper; /* its user value, if a program is kept: then this
                                is the keeper */
  uint64_t born;             /* no member of its family is older */
  uint32_t family;           /* its number, see mark.h; 0: it has no mark */
  long floor;                /* KiB; see orr_push_usage */
  bool held;                 /* it runs, and is to die with this process */
};

/* Closes launcher and reaper when the Lua state closes; children go on. */
static int m_engine_gc(lua_State *L) {
  struct engine *e = luaL_checkudata(L, 1, ORR_ENGINE);
  if (e->open) {
    orr_reaper_close(&e->reaper);
    orr_launcher_close(&e->launcher);
  }
  orr_marks_free(&e->marks);
  e->open = false;
  e->finalized = true;
  return 0;
}

/* Makes the engine of this state, closed, unless the state has one. */
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

/* Pushes and returns the engine. For this file's module functions only, which
   have it as an upvalue. */
static struct engine *push_engine(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return lua_touserdata(L, -1);
}

/* Opens the engine, if it is not open yet; what orr_remember_nofile was told
   before stays. Returns 0, or -errno with `f` filled (ECANCELED: the Lua state
   is closing). */
static int open_engine(struct engine *e, struct orr_failure *f) {
  struct orr_launcher fresh;
  if (e->open)
    return 0;
  int rc = e->finalized ? -ECANCELED
                        : orr_launcher_open(&fresh, getenv("ORRERY_FORCE"));
  if (rc == 0) {
    rc = orr_reaper_open(&e->reaper);
    if (rc < 0)
      orr_launcher_close(&fresh);
  }
  if (rc < 0) {
    *f = (struct orr_failure){-rc, ORR_STAGE_FORK, 0};
    return rc;
  }
  fresh.old_nofile = e->launcher.old_nofile;
  fresh.nofile_raised = e->launcher.nofile_raised;
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

const struct rlimit *orr_original_nofile(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, ORR_ENGINE ".state");
  const struct engine *e = luaL_checkudata(L, -1, ORR_ENGINE);
  lua_pop(L, 1);
  return e->launcher.nofile_raised ? &e->launcher.old_nofile : NULL;
}

/* Starting and reaping ----------------------------------------------------- */

static int fail_start(lua_State *L, const struct orr_failure *f) {
  orr_fail(L, f->error);
  lua_pushstring(L, orr_stage_name(f->stage));
  lua_pushinteger(L, f->index);
  return 4;
}

/* Starts a child and watches it. Returns 0, or -errno with `f` filled. A child
   that cannot be watched is killed, for its end would never be noticed. */
static int start(struct engine *e, struct orr_description *d,
                 struct spawned *sp, struct orr_failure *f) {
  static const char *empty[] = {NULL};
  struct orr_program *program = &d->program;
  struct orr_child *child = &sp->child;
  struct rusage ours;
  int rc = open_engine(e, f);
  if (rc < 0)
    return rc;
  getrusage(RUSAGE_SELF, &ours);
  sp->floor = ours.ru_maxrss;
  /* Not read earlier: a finalizer may have changed the environment, which moves
     it, when Lua allocated memory. */
  if (program->envp == NULL)
    program->envp = environ != NULL ? (const char **)environ : empty;
  if (!d->unmarked)
    program->envp = orr_mark(&e->marks, program->envp, &sp->family);
  sp->born = orr_start_ticks();
  rc = orr_launch(&e->launcher, program, &child->pid, &child->pidfd, f);
  if (rc < 0)
    return rc;
  rc = orr_reaper_watch(&e->reaper, child);
  if (rc < 0) {
    *f = (struct orr_failure){-rc, ORR_STAGE_FORK, 0};
    if (d->keeper != NULL)
      kill(d->keeper->keep.program, SIGKILL);
    kill(child->pid, SIGKILL);
    orr_waitid(P_PID, (id_t)child->pid, NULL, WEXITED, NULL);
    close(child->pidfd);
    child->pidfd = -1;
  }
  return rc;
}

/* Keeps the userdata at index `value` alive, under the address `key`, in the
   user value of the engine at index `engine`. value 0: no longer. */
static void anchor(lua_State *L, int engine, const void *key, int value) {
  lua_getiuservalue(L, engine, 1);
  if (value != 0)
    lua_pushvalue(L, value);
  else
    lua_pushnil(L);
  lua_rawsetp(L, -2, key);
  lua_pop(L, 1);
}

/* core.spawn(file, argv, fds, env, attributes) -> orrery.spawn; nil, errno,
   stage, index. Starts a program and watches it; returns when the child is past
   its exec.

   `file` is a path, or a name to be found in the child's PATH. `argv` is a list
   of strings. `fds` is a list of our fd numbers: fds[1] becomes the child's fd
   0; -1 is a closed one. `env` is a list of "NAME=value", or nil for ours.
   `attributes` is a table of what `fields` of program.c names, or nil.

   `stage` is the name of the step that failed, see orr_stage_name; `index` the
   child's fd, or the place in `rlimits`, that it failed at. Raises if an
   argument is wrong. */
static int l_spawn(lua_State *L) {
  struct orr_description description;
  struct orr_failure failure = {0, ORR_STAGE_NONE, 0};
  orr_read_description(L, &description);
  struct engine *e = push_engine(L);
  int engine = lua_gettop(L);
  struct spawned *sp = lua_newuserdatauv(L, sizeof *sp, 1);
  memset(sp, 0, sizeof *sp);
  sp->child.pidfd = -1;
  luaL_setmetatable(L, ORR_SPAWN);
  anchor(L, engine, sp, lua_gettop(L));
  if (description.keeper != NULL) {
    sp->keeper = description.keeper;
    lua_pushvalue(L, description.keeper_index);
    lua_setiuservalue(L, -2, 1);
  }
  if (start(e, &description, sp, &failure) < 0) {
    anchor(L, engine, sp, 0);
    return fail_start(L, &failure);
  }
  if (sp->keeper != NULL)
    orr_keeper_started(sp->keeper, sp->floor);
  sp->held = description.program.die_with_parent;
  if (sp->held)
    orr_ending_hold(1);
  return 1;
}

/* core.reap() -> the orrery.spawn of the next child that has ended; nothing if
   there is none now. Never blocks. */
static int l_reap(lua_State *L) {
  struct engine *e = push_engine(L);
  int engine = lua_gettop(L);
  struct orr_child *child = e->open ? orr_reaper_next(&e->reaper) : NULL;
  if (child == NULL)
    return 0;
  struct spawned *sp = (struct spawned *)child; /* its first member */
  if (sp->held)
    orr_ending_hold(-1);
  sp->held = false;
  lua_getiuservalue(L, engine, 1);
  lua_rawgetp(L, -1, child);
  anchor(L, engine, child, 0);
  return 1;
}

/* Returns the pid of the program. */
static pid_t pid_of(const struct spawned *sp) {
  return sp->keeper != NULL ? sp->keeper->keep.program : sp->child.pid;
}

void orr_signal_held(lua_State *L, int signal, bool only_others) {
  lua_getfield(L, LUA_REGISTRYINDEX, ORR_ENGINE ".state");
  lua_getiuservalue(L, -1, 1);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    const struct spawned *sp = lua_touserdata(L, -1);
    if (!sp->held || (only_others && getpgid(pid_of(sp)) == getpgrp()))
      continue;
    if (sp->keeper != NULL)
      orr_keeper_signal_all(sp->keeper, signal);
    else
      orr_child_signal(&sp->child, signal);
  }
  lua_pop(L, 2);
}

/* Pushes the engine and returns it, open and with its roads known; or NULL,
   with `f` filled. */
static struct engine *ready_engine(lua_State *L, struct orr_failure *f) {
  struct engine *e = push_engine(L);
  int rc = open_engine(e, f);
  if (rc == 0)
    rc = orr_launcher_probe(&e->launcher, f);
  return rc < 0 ? NULL : e;
}

/* core.reaper_fd() -> the number of the fd that is readable when reap() has
   something to give; false if this kernel has no pidfds, so that SIGCHLD must
   tell; nil, errno, stage, index as of spawn. */
static int l_reaper_fd(lua_State *L) {
  struct orr_failure failure;
  struct engine *e = ready_engine(L, &failure);
  if (e == NULL)
    return fail_start(L, &failure);
  if (e->launcher.roads.pidfd)
    lua_pushinteger(L, e->reaper.epoll);
  else
    lua_pushboolean(L, false);
  return 1;
}

/* Adds the roads to a child's family to the table on top of the stack. Only Lua
   knows of them; nothing is added if it is not there. */
static void add_family_features(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "orrery.child_process.family");
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
    lua_getfield(L, -1, "add_features");
    lua_pushvalue(L, -3);
    lua_call(L, 1, 0);
  }
  lua_pop(L, 1);
}

/* core.features() -> {clone_vm=, pidfd=, close_range=, cgroup=, keeper=,
   children=}: which roads are in use, into a child and to its family; nil,
   errno, stage, index as of spawn. ORRERY_FORCE=no_clone_vm,no_pidfd,… forbids
   them. */
static int l_features(lua_State *L) {
  struct orr_failure failure;
  struct engine *e = ready_engine(L, &failure);
  if (e == NULL)
    return fail_start(L, &failure);
  lua_createtable(L, 0, 6);
  lua_pushboolean(L, e->launcher.roads.clone_vm);
  lua_setfield(L, -2, "clone_vm");
  lua_pushboolean(L, e->launcher.roads.pidfd);
  lua_setfield(L, -2, "pidfd");
  lua_pushboolean(L, e->launcher.roads.close_range);
  lua_setfield(L, -2, "close_range");
  add_family_features(L);
  return 1;
}

/* core.null_fd() -> the number of an fd of /dev/null, which stays open as long
   as the Lua state; nil, errno. */
static int l_null_fd(lua_State *L) {
  struct orr_failure failure;
  struct engine *e = push_engine(L);
  if (open_engine(e, &failure) < 0)
    return orr_fail(L, failure.error);
  if (e->launcher.null_missing != 0)
    return orr_fail(L, e->launcher.null_missing);
  lua_pushinteger(L, e->launcher.slots[0]);
  return 1;
}

/* The userdata orrery.spawn ------------------------------------------------ */

static struct spawned *check_spawned(lua_State *L) {
  return luaL_checkudata(L, 1, ORR_SPAWN);
}

/* spawned:pid() -> the pid, also after the child's end. */
static int m_pid(lua_State *L) {
  lua_pushinteger(L, pid_of(check_spawned(L)));
  return 1;
}

/* spawned:kill(signal) -> true; nil, errno (EPERM; ESRCH: it has been reaped).
   It never reaches another process that has got the pid. */
static int m_kill(lua_State *L) {
  struct spawned *sp = check_spawned(L);
  lua_Integer signal = luaL_checkinteger(L, 2);
  luaL_argcheck(L, signal >= 0 && signal <= 64, 2, "not a signal");
  int rc = orr_child_signal(&sp->child, (int)signal);
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushboolean(L, true);
  return 1;
}

/* spawned:status() -> exit code or nil, number of the signal that ended it or
   nil, whether it runs. Neither code nor signal is known while it runs, and
   when other code in this process has taken the status. */
static int m_status(lua_State *L) {
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

/* spawned:usage() -> a table: getrusage(2) of the child and of those it waited
   for. */
static int m_usage(lua_State *L) {
  const struct spawned *sp = check_spawned(L);
  orr_push_usage(L, &sp->child.usage, sp->floor);
  return 1;
}

/* spawned:family() -> the id of the mark that its family bears, the start of
   the oldest possible member in clock ticks. The id is "" if there is none. */
static int m_family(lua_State *L) {
  const struct spawned *sp = check_spawned(L);
  char id[ORR_MARK_SIZE] = "";
  lua_getfield(L, LUA_REGISTRYINDEX, ORR_ENGINE ".state");
  const struct engine *e = luaL_checkudata(L, -1, ORR_ENGINE);
  if (sp->family != 0)
    orr_mark_id(&e->marks, sp->family, id);
  lua_pushstring(L, id);
  lua_pushinteger(L, (lua_Integer)sp->born);
  return 2;
}

/* Closes the pidfd of a child that has ended. Nothing is done to one that runs:
   the reaper has it, or, when the Lua state is closing, its next parent. */
static int m_release(lua_State *L) {
  struct orr_child *child = &check_spawned(L)->child;
  if (!child->running && child->pidfd >= 0) {
    close(child->pidfd);
    child->pidfd = -1;
  }
  return 0;
}

/* A child that runs is anchored, so it has ended or the Lua state is closing:
   then nothing of this state may signal it any more. */
static int m_gc(lua_State *L) {
  check_spawned(L)->child.running = false;
  return m_release(L);
}

/* tostring(spawned) -> "orrery.spawn 1234: running" or "...: ended". */
static int m_tostring(lua_State *L) {
  struct orr_child *child = &check_spawned(L)->child;
  lua_pushfstring(L, "%s %d: %s", ORR_SPAWN, (int)child->pid,
                  child->running ? "running" : "ended");
  return 1;
}

void orr_open_spawn(lua_State *L) {
  static const luaL_Reg methods[] = {{"pid", m_pid},       {"kill", m_kill},
                                     {"status", m_status}, {"usage", m_usage},
                                     {"family", m_family}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_gc},
                                  {"__close", m_release},
                                  {"__tostring", m_tostring},
                                  {NULL, NULL}};
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg engine_meta[] = {{"__gc", m_engine_gc}, {NULL, NULL}};
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
