/* image.c - what this process is to others: its title, the mask of its files,
   and another program in its place: core.image(). */
#include "binding.h"
#include "engine/launch.h"
#include "engine/title.h"
#include "program.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

#define TITLE "orrery.title"

/* set_title(text) -> true; nil, errno. What is shown is kept in the
   registry, without a finalizer: the kernel shows it until the process ends. */
static int l_set_title(lua_State *L) {
  const char *text = orr_check_cstring(L, 1);
  if (lua_getfield(L, LUA_REGISTRYINDEX, TITLE) == LUA_TNIL) {
    struct orr_title *made = lua_newuserdatauv(L, sizeof *made, 0);
    memset(made, 0, sizeof *made);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, TITLE);
  }
  int rc = orr_title_set(lua_touserdata(L, -1), text, strlen(text),
                         !orr_forbids(getenv("ORRERY_FORCE"), "no_mm_map"));
  if (rc < 0)
    return orr_fail(L, -rc);
  lua_pushboolean(L, true);
  return 1;
}

/* umask(mask) -> the mask before. nil only asks: the mask is set to 0 for
   a moment, since no call merely tells it. */
static int l_umask(lua_State *L) {
  lua_Integer mask = luaL_optinteger(L, 1, 0);
  luaL_argcheck(L, mask >= 0 && mask <= 0777, 1, "out of range");
  mode_t old = umask((mode_t)mask);
  if (lua_isnoneornil(L, 1))
    umask(old);
  lua_pushinteger(L, old);
  return 1;
}

/* Becomes another program; returns the errno if that fails. The program gets
   back what this library has changed: the limit of fds, and SIGPIPE, which it
   ignores. (execve(2) itself resets what has a handler.) */
static int replace(lua_State *L, const char *file, const char **argv,
                   const char **envp) {
  static const char *empty[] = {NULL};
  const struct rlimit *original = orr_original_nofile(L);
  struct rlimit raised;
  struct sigaction action, ours;
  if (envp == NULL)
    envp = environ != NULL ? (const char **)environ : empty;
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_DFL;
  sigaction(SIGPIPE, &action, &ours);
  if (original != NULL && getrlimit(RLIMIT_NOFILE, &raised) == 0)
    setrlimit(RLIMIT_NOFILE, original);
  else
    original = NULL;
  execve(file, (char *const *)argv, (char *const *)envp); // NOLINT
  int error = errno;
  if (original != NULL)
    setrlimit(RLIMIT_NOFILE, &raised);
  sigaction(SIGPIPE, &ours, NULL);
  return error;
}

/* execve(file, argv, env) -> nil, errno (ENOENT, EACCES, E2BIG). argv is a
   list of strings, the first of which is argv[0]; env a list of "NAME=value",
   or nil for ours. Flushes C's streams. Does not return if it succeeds. */
static int l_execve(lua_State *L) {
  const char *file = orr_check_cstring(L, 1);
  const char **envp = NULL;
  lua_settop(L, 3);
  if (!lua_isnil(L, 3))
    envp = orr_read_strings(L, "env", 0);
  lua_pushvalue(L, 2);
  const char **argv = orr_read_strings(L, "argv", 0);
  orr_flush_all();
  return orr_fail(L, replace(L, file, argv, envp));
}

void orr_open_image(lua_State *L) {
  static const luaL_Reg functions[] = {{"set_title", l_set_title},
                                       {"umask", l_umask},
                                       {"execve", l_execve},
                                       {NULL, NULL}};
  orr_add_part(L, "image", functions);
}
