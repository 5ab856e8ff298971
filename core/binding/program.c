/* program.c - reads the description of a start that Lua gives to core.spawn.

   All that can raise happens here, before there is a process: arrays become
   userdata that stay on the Lua stack, so that an error leaks nothing. */
#include "program.h"

#include "binding.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* Raises: `name` is the argument or attribute that is wrong. The functions
   below read the value on top of the stack, and leave it there. */
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

/* Returns the length of the list on top. It is small enough for the sizes that
   are computed from it to fit an int. */
static int list_length(lua_State *L, const char *name) {
  if (lua_type(L, -1) != LUA_TTABLE)
    bad_field(L, name, "list expected");
  lua_Unsigned n = lua_rawlen(L, -1);
  if (n > INT_MAX / 64)
    bad_field(L, name, "too long");
  return (int)n;
}

/* Makes a buffer and puts it under the value on top, which stays on top. */
static void *new_buffer(lua_State *L, size_t size) {
  void *buffer = lua_newuserdatauv(L, size > 0 ? size : 1, 0);
  lua_insert(L, -2);
  return buffer;
}

const char **orr_read_strings(lua_State *L, const char *name, int spare) {
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

/* Returns item `i` of the list on top; the first is 0. */
static lua_Integer list_integer(lua_State *L, const char *name, int i,
                                lua_Integer low, lua_Integer high) {
  lua_rawgeti(L, -1, i + 1);
  lua_Integer value = field_integer(L, name, low, high);
  lua_pop(L, 1);
  return value;
}

static void set_cwd(lua_State *L, const char *name, struct orr_description *d) {
  d->program.cwd = field_string(L, name);
}

static void set_groups(lua_State *L, const char *name,
                       struct orr_description *d) {
  int n = list_length(L, name);
  gid_t *groups = new_buffer(L, (size_t)n * sizeof *groups);
  for (int i = 0; i < n; i++)
    groups[i] = (gid_t)list_integer(L, name, i, 0, UINT_MAX - 1);
  d->program.groups = groups;
  d->program.ngroups = n;
  d->program.has_groups = true;
}

/* Returns item `i` of the list on top, the first being 1, as a soft or hard
   limit; math.huge means "unlimited". */
static rlim_t limit_value(lua_State *L, const char *name, int i) {
  lua_rawgeti(L, -1, i);
  rlim_t value = RLIM_INFINITY;
  if (lua_isinteger(L, -1) || lua_tonumber(L, -1) != HUGE_VAL)
    value = (rlim_t)field_integer(L, name, 0, LLONG_MAX);
  lua_pop(L, 1);
  return value;
}

/* rlimits is a flat list: resource, soft, hard, resource, soft, hard, ... */
static void set_limits(lua_State *L, const char *name,
                       struct orr_description *d) {
  int n = list_length(L, name) / 3;
  struct orr_limit *limits = new_buffer(L, (size_t)n * sizeof *limits);
  for (int i = 0; i < n; i++) {
    limits[i].resource = (int)list_integer(L, name, 3 * i, 0, INT_MAX);
    limits[i].value.rlim_cur = limit_value(L, name, 3 * i + 2);
    limits[i].value.rlim_max = limit_value(L, name, 3 * i + 3);
  }
  d->program.limits = limits;
  d->program.nlimits = n;
}

static void set_affinity(lua_State *L, const char *name,
                         struct orr_description *d) {
  int n = list_length(L, name);
  CPU_ZERO(&d->affinity);
  for (int i = 0; i < n; i++)
    CPU_SET((size_t)list_integer(L, name, i, 0, CPU_SETSIZE - 1), &d->affinity);
  d->program.affinity = &d->affinity;
}

static void set_pgroup(lua_State *L, const char *name,
                       struct orr_description *d) {
  d->program.pgroup = (pid_t)field_integer(L, name, 0, INT_MAX);
  d->program.has_pgroup = true;
}

static void set_nice(lua_State *L, const char *name,
                     struct orr_description *d) {
  d->program.nice = (int)field_integer(L, name, -20, 19);
  d->program.has_nice = true;
}

static void set_umask(lua_State *L, const char *name,
                      struct orr_description *d) {
  d->program.umask = (mode_t)field_integer(L, name, 0, 0777);
  d->program.has_umask = true;
}

static void set_uid(lua_State *L, const char *name, struct orr_description *d) {
  d->program.uid = (uid_t)field_integer(L, name, 0, UINT_MAX - 1);
  d->program.has_uid = true;
}

static void set_gid(lua_State *L, const char *name, struct orr_description *d) {
  d->program.gid = (gid_t)field_integer(L, name, 0, UINT_MAX - 1);
  d->program.has_gid = true;
}

static void set_setsid(lua_State *L, const char *name,
                       struct orr_description *d) {
  (void)name;
  d->program.setsid = lua_toboolean(L, -1);
}

static void set_cgroup(lua_State *L, const char *name,
                       struct orr_description *d) {
  d->program.cgroup = (int)field_integer(L, name, 0, INT_MAX);
  d->program.has_cgroup = true;
}

static void set_keeper(lua_State *L, const char *name,
                       struct orr_description *d) {
  d->keeper = luaL_testudata(L, -1, ORR_KEEPER);
  if (d->keeper == NULL || d->keeper->peer < 0)
    bad_field(L, name, "a fresh orrery.keeper expected");
  lua_pushvalue(L, -1);
  lua_insert(L, -2);
  d->keeper_index = lua_gettop(L) - 1;
  d->program.keep = &d->keeper->keep;
}

static void set_unmarked(lua_State *L, const char *name,
                         struct orr_description *d) {
  (void)name;
  d->unmarked = lua_toboolean(L, -1);
}

static void set_no_script(lua_State *L, const char *name,
                          struct orr_description *d) {
  (void)name;
  d->program.no_script = lua_toboolean(L, -1);
}

static void set_terminal(lua_State *L, const char *name,
                         struct orr_description *d) {
  d->program.terminal = (int)field_integer(L, name, 0, INT_MAX);
  d->program.has_terminal = true;
}

static void set_die_with_parent(lua_State *L, const char *name,
                                struct orr_description *d) {
  (void)name;
  d->program.die_with_parent = lua_toboolean(L, -1);
}

/* The attributes that Lua may give, and what reads the one on top. */
static const struct field {
  const char *name;
  void (*set)(lua_State *L, const char *name, struct orr_description *d);
} fields[] = {
    {"cwd", set_cwd},           {"groups", set_groups},
    {"rlimits", set_limits},    {"cpu_affinity", set_affinity},
    {"pgroup", set_pgroup},     {"nice", set_nice},
    {"umask", set_umask},       {"uid", set_uid},
    {"gid", set_gid},           {"setsid", set_setsid},
    {"terminal", set_terminal}, {"die_with_parent", set_die_with_parent},
    {"cgroup", set_cgroup},     {"keeper", set_keeper},
    {"unmarked", set_unmarked}, {"no_script", set_no_script},
};

/* Reads the attributes that the table at `index` has. Others in it are not
   looked at: lua/orrery/child_process checks the names that users give. */
static void read_attributes(lua_State *L, int index,
                            struct orr_description *d) {
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushstring(L, fields[i].name);
    if (lua_rawget(L, index) != LUA_TNIL)
      fields[i].set(L, fields[i].name, d);
    lua_pop(L, 1);
  }
}

/* Reads the list of our fds that become the child's 0, 1, ...; -1: closed. */
static void read_fds(lua_State *L, const char *name,
                     struct orr_description *d) {
  int n = list_length(L, name);
  d->program.fds = new_buffer(L, (size_t)n * sizeof *d->program.fds);
  d->program.nfds = n;
  for (int i = 0; i < n; i++)
    d->program.fds[i] = (int)list_integer(L, name, i, -1, INT_MAX);
}

void orr_read_description(lua_State *L, struct orr_description *d) {
  memset(d, 0, sizeof *d);
  lua_settop(L, 5);
  luaL_checkstack(L, 2 * (int)(sizeof fields / sizeof *fields) + 16, NULL);
  d->program.file = orr_check_cstring(L, 1);
  lua_pushvalue(L, 2);
  d->program.argv = orr_read_strings(L, "argv", 1);
  if (d->program.argv[0] == NULL)
    bad_field(L, "argv", "empty");
  lua_pushvalue(L, 3);
  read_fds(L, "fds", d);
  if (!lua_isnoneornil(L, 4)) {
    lua_pushvalue(L, 4);
    d->program.envp = orr_read_strings(L, "env", 0);
  }
  if (!lua_isnoneornil(L, 5)) {
    luaL_checktype(L, 5, LUA_TTABLE);
    read_attributes(L, 5, d);
  }
}
