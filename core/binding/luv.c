/* luv.c - makes the loaded luv hand its callbacks to our loop.

   luv answers an error in a callback with exit(-1). Its C interface can replace
   the function that calls callbacks, but Lua loads modules privately and there
   may be two luvs on a machine, so the one in use is found by the address of
   uv.run. */
#include "binding.h"

#include <dlfcn.h>

typedef int (*luv_pcall)(lua_State *L, int nargs, int nresults, int flags);
typedef void (*luv_set_callback)(lua_State *L, luv_pcall pcall);

/* The addresses are keys of the registry, for what l_hook_luv was given. */
static const char run_key, handler_key, recover_key;

/* Calls the function below `nargs` arguments as run(function, ...). For luv,
   whose contract is: takes function and arguments off the stack, leaves the
   results and returns their number, or a negative status. */
static int dispatch(lua_State *L, int nargs, int nresults, int flags) {
  int base = lua_gettop(L) - nargs;
  (void)flags;
  luaL_checkstack(L, 3, "a luv callback");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &handler_key);
  lua_insert(L, base);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &run_key);
  lua_insert(L, base + 1);
  int status = lua_pcall(L, nargs + 1, nresults, base);
  if (status != LUA_OK) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &recover_key);
    lua_insert(L, -2);
    status = lua_pcall(L, 1, nresults, 0);
  }
  if (status != LUA_OK)
    lua_settop(L, base);
  lua_remove(L, base);
  return status == LUA_OK ? lua_gettop(L) - base + 1 : -status;
}

/* core.hook_luv(uv.run, run, handler, recover) -> whether it worked; not if the
   luv that uv.run is of has no such interface. From then on luv calls
   run(callback, ...) for each event, with `handler` as its message handler; if
   that raises, it calls recover(error), which itself must not raise. */
static int l_hook_luv(lua_State *L) {
  Dl_info info;
  lua_CFunction run = lua_tocfunction(L, 1);
  luaL_argcheck(L, run != NULL, 1, "uv.run expected");
  for (int i = 2; i <= 4; i++)
    luaL_checktype(L, i, LUA_TFUNCTION);
  luv_set_callback set = NULL;
  if (dladdr((void *)(size_t)run, &info) != 0) {
    void *luv = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (luv != NULL) {
      set = (luv_set_callback)(size_t)dlsym(luv, "luv_set_callback");
      dlclose(luv);
    }
  }
  if (set != NULL) {
    lua_settop(L, 4);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &recover_key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handler_key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &run_key);
    set(L, dispatch);
  }
  lua_pushboolean(L, set != NULL);
  return 1;
}

void orr_open_luv(lua_State *L) {
  static const luaL_Reg functions[] = {{"hook_luv", l_hook_luv}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
