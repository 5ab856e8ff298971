/* credentials.c - the users and groups of this process, and what libc knows of
   those by name: core.credentials().

   libc's functions change the ids of all threads; the system calls would change
   one thread's only. */
#include "binding.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <sys/types.h>
#include <unistd.h>

enum { MAX_GROUPS = 65536 }; /* NGROUPS_MAX of Linux */

/* Pushes all groups of a user as a list. Returns false if they are too many,
   and then leaves buffers on the stack. getgrouplist tells how many there are
   when the room is too small. */
static bool push_groups(lua_State *L, const char *name, gid_t gid) {
  int n = 64;
  gid_t *groups = lua_newuserdatauv(L, (size_t)n * sizeof *groups, 0);
  if (getgrouplist(name, gid, groups, &n) < 0) {
    if (n > MAX_GROUPS)
      return false;
    groups = lua_newuserdatauv(L, (size_t)n * sizeof *groups, 0);
    if (getgrouplist(name, gid, groups, &n) < 0)
      return false;
  }
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, groups[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return true;
}

/* What libc reads an entry into: at first, and at most. */
enum { ENTRY_SIZE = 16384, ENTRY_MOST = 1 << 20 };

/* Finds a user by the name or the number at index 1. 0 or an errno. The entry's
   strings are in buffers on the stack. */
static int find_user(lua_State *L, struct passwd *entry) {
  struct passwd *found = NULL;
  size_t size = ENTRY_SIZE;
  int rc;
  do {
    char *buffer = lua_newuserdatauv(L, size, 0);
    rc = lua_isinteger(L, 1)
             ? getpwuid_r((uid_t)lua_tointeger(L, 1), entry, buffer, size,
                          &found)
             : getpwnam_r(orr_check_cstring(L, 1), entry, buffer, size, &found);
    size *= 2;
  } while (rc == ERANGE && size <= ENTRY_MOST);
  return found != NULL ? 0 : rc != 0 ? rc : ENOENT;
}

/* lookup_user(name, gid) -> uid, its own gid, groups; nil, errno (ENOENT:
   there is no such user; ERANGE: its entry or its groups are too large). The
   user may be given by number, too. `groups` is a list of all group ids, and of
   `gid`, which is the user's own if nil. */
static int l_lookup_user(lua_State *L) {
  struct passwd entry;
  lua_settop(L, 2);
  int rc = find_user(L, &entry);
  if (rc != 0)
    return orr_fail(L, rc);
  gid_t gid = (gid_t)luaL_optinteger(L, 2, (lua_Integer)entry.pw_gid);
  if (!push_groups(L, entry.pw_name, gid))
    return orr_fail(L, ERANGE);
  lua_pushinteger(L, entry.pw_uid);
  lua_pushinteger(L, entry.pw_gid);
  lua_rotate(L, -3, 2); /* uid, gid, groups */
  return 3;
}

/* lookup_group(name) -> gid; nil, errno (ENOENT: there is no such group;
   ERANGE: its entry is too large). */
static int l_lookup_group(lua_State *L) {
  const char *name = orr_check_cstring(L, 1);
  struct group entry, *found = NULL;
  size_t size = ENTRY_SIZE;
  int rc;
  do {
    char *buffer = lua_newuserdatauv(L, size, 0);
    rc = getgrnam_r(name, &entry, buffer, size, &found);
    size *= 2;
  } while (rc == ERANGE && size <= ENTRY_MOST);
  if (found == NULL)
    return orr_fail(L, rc != 0 ? rc : ENOENT);
  lua_pushinteger(L, entry.gr_gid);
  return 1;
}

/* users() -> real uid, effective uid. */
static int l_users(lua_State *L) {
  lua_pushinteger(L, getuid());
  lua_pushinteger(L, geteuid());
  return 2;
}

/* user_groups() -> real gid, effective gid. */
static int l_user_groups(lua_State *L) {
  lua_pushinteger(L, getgid());
  lua_pushinteger(L, getegid());
  return 2;
}

/* groups() -> a list of the further groups; nil, errno. */
static int l_groups(lua_State *L) {
  int n = getgroups(0, NULL);
  if (n < 0)
    return orr_fail(L, errno);
  gid_t *groups = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *groups, 0);
  n = getgroups(n, groups);
  if (n < 0)
    return orr_fail(L, errno);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, groups[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* Returns the id at a stack index; raises if it is none. (uid_t)-1 means "as it
   is" to some of the calls. */
static unsigned check_id(lua_State *L, int index) {
  lua_Integer id = luaL_checkinteger(L, index);
  luaL_argcheck(L, id >= 0 && id < UINT_MAX, index, "out of range");
  return (unsigned)id;
}

/* Pushes what a call gave: true; nil, errno. */
static int result(lua_State *L, int rc) {
  if (rc < 0)
    return orr_fail(L, errno);
  lua_pushboolean(L, true);
  return 1;
}

/* setuid(uid) -> true; nil, errno (EPERM, EAGAIN). See setuid(2). */
static int l_setuid(lua_State *L) {
  return result(L, setuid(check_id(L, 1)));
}

/* seteuid(uid) -> true; nil, errno. See seteuid(2). */
static int l_seteuid(lua_State *L) {
  return result(L, seteuid(check_id(L, 1)));
}

/* setgid(gid) -> true; nil, errno. See setgid(2). */
static int l_setgid(lua_State *L) {
  return result(L, setgid(check_id(L, 1)));
}

/* setegid(gid) -> true; nil, errno. See setegid(2). */
static int l_setegid(lua_State *L) {
  return result(L, setegid(check_id(L, 1)));
}

/* setgroups(list) -> true; nil, errno (EPERM, EINVAL: too many). */
static int l_setgroups(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t n = lua_rawlen(L, 1);
  if (n > MAX_GROUPS)
    return orr_fail(L, EINVAL);
  gid_t *groups = lua_newuserdatauv(L, (n + 1) * sizeof *groups, 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    groups[i] = check_id(L, -1);
    lua_pop(L, 1);
  }
  return result(L, setgroups(n, groups));
}

void orr_open_credentials(lua_State *L) {
  static const luaL_Reg functions[] = {{"lookup_user", l_lookup_user},
                                       {"lookup_group", l_lookup_group},
                                       {"users", l_users},
                                       {"user_groups", l_user_groups},
                                       {"groups", l_groups},
                                       {"setuid", l_setuid},
                                       {"seteuid", l_seteuid},
                                       {"setgid", l_setgid},
                                       {"setegid", l_setegid},
                                       {"setgroups", l_setgroups},
                                       {NULL, NULL}};
  orr_add_part(L, "credentials", functions);
}
