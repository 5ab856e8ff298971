/*
** counts.c - a Lua module that counts what this process does: VM instructions
** by a hook, allocations of Lua by wrapping its allocator, and what
** children used by getrusage. It counts for one Lua state and is never
*unloaded.
*/
#include <lauxlib.h>
#include <lua.h>
#include <sys/resource.h>

static lua_Integer instructions, allocations;
static lua_Alloc allocate;

static void count_instruction(lua_State *L, lua_Debug *ar) {
  (void)L;
  (void)ar;
  instructions++;
}

static void *count_allocation(void *ud, void *ptr, size_t old, size_t size) {
  if (ptr == NULL && size > 0)
    allocations++;
  return allocate(ud, ptr, old, size);
}

/* counts.start() - counts from now on. Coroutines inherit the hook from the one
   that creates them; those that exist already are the caller's and the main
   one. */
static int l_start(lua_State *L) {
  void *ud;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lua_sethook(lua_tothread(L, -1), count_instruction, LUA_MASKCOUNT, 1);
  lua_sethook(L, count_instruction, LUA_MASKCOUNT, 1);
  if (allocate == NULL) {
    allocate = lua_getallocf(L, &ud);
    lua_setallocf(L, count_allocation, ud);
  }
  return 0;
}

/* counts.read() -> VM instructions and allocations since the first start, and
   page faults of all children that were reaped. */
static int l_read(lua_State *L) {
  struct rusage children;
  getrusage(RUSAGE_CHILDREN, &children);
  lua_pushinteger(L, instructions);
  lua_pushinteger(L, allocations);
  lua_pushinteger(L, children.ru_minflt + children.ru_majflt);
  return 3;
}

static lua_Integer us(const struct timeval *t) {
  return (lua_Integer)t->tv_sec * 1000000 + t->tv_usec;
}

/* counts.children_cpu() -> CPU time in us of all children that were reaped, and
   of those whom they reaped. */
static int l_children_cpu(lua_State *L) {
  struct rusage children;
  getrusage(RUSAGE_CHILDREN, &children);
  lua_pushinteger(L, us(&children.ru_utime) + us(&children.ru_stime));
  return 1;
}

int luaopen_counts(lua_State *L);

int luaopen_counts(lua_State *L) {
  static const luaL_Reg functions[] = {{"start", l_start},
                                       {"read", l_read},
                                       {"children_cpu", l_children_cpu},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
