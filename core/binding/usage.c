/* usage.c - what a process has used, for Lua. */
#include "usage.h"

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static lua_Integer microseconds(const struct timeval *t) {
  return (lua_Integer)t->tv_sec * 1000000 + t->tv_usec;
}

enum { RSS_SLACK = 1024 }; /* KiB: the kernel batches its counters per CPU */

void orr_push_usage(lua_State *L, const struct rusage *u, long floor) {
  lua_createtable(L, 0, 10);
  set_integer(L, "user", microseconds(&u->ru_utime));
  set_integer(L, "system", microseconds(&u->ru_stime));
  set_integer(L, "max_rss", (lua_Integer)u->ru_maxrss * 1024);
  lua_pushboolean(L, u->ru_maxrss > floor + RSS_SLACK);
  lua_setfield(L, -2, "max_rss_exact");
  set_integer(L, "minor_page_fault", u->ru_minflt);
  set_integer(L, "major_page_fault", u->ru_majflt);
  set_integer(L, "fs_read", u->ru_inblock);
  set_integer(L, "fs_write", u->ru_oublock);
  set_integer(L, "voluntary_context_switches", u->ru_nvcsw);
  set_integer(L, "involuntary_context_switches", u->ru_nivcsw);
}
