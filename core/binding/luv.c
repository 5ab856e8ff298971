/* luv.c - makes the loaded luv hand its callbacks to our loop, and mends what
   is wrong in old ones.

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

/* Returns the function `name` of the library that uv.run, at index 1, is in, or
   NULL: there is none, or it is hidden. Lua keeps the library loaded. */
static void *luv_function(lua_State *L, const char *name) {
  Dl_info info;
  lua_CFunction run = lua_tocfunction(L, 1);
  void *luv = NULL, *function = NULL;
  if (run != NULL && dladdr((void *)(size_t)run, &info) != 0)
    luv = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (luv != NULL) {
    function = dlsym(luv, name);
    dlclose(luv);
  }
  return function;
}

/* core.hook_luv(uv.run, run, handler, recover) -> whether it worked; not if the
   luv that uv.run is of has no such interface. From then on luv calls
   run(callback, ...) for each event, with `handler` as its message handler; if
   that raises, it calls recover(error), which itself must not raise. */
static int l_hook_luv(lua_State *L) {
  luv_set_callback set =
      (luv_set_callback)(size_t)luv_function(L, "luv_set_callback");
  for (int i = 2; i <= 4; i++)
    luaL_checktype(L, i, LUA_TFUNCTION);
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

/* The beginning of luv_ctx_t in luv.h: what luv keeps for a Lua state. */
struct luv_context {
  void *loop;
  lua_State *L; /* that it calls callbacks on */
};

typedef struct luv_context *(*luv_context_of)(lua_State *L);
typedef lua_State *(*luv_state_of)(lua_State *L);

/* luv before 1.52 calls callbacks on the thread that loaded it. That may have
   been a coroutine, which is collected some time: they shall come on the main
   thread. luv_set_loop does that too, and forgets that the loop runs. */
static void call_on_main_thread(lua_State *L) {
  luv_context_of context_of =
      (luv_context_of)(size_t)luv_function(L, "luv_context");
  luv_state_of state_of = (luv_state_of)(size_t)luv_function(L, "luv_state");
  if (context_of == NULL || state_of == NULL)
    return;
  struct luv_context *context = context_of(L);
  if (context->L != state_of(L))
    return; /* it begins otherwise now */
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  context->L = lua_tothread(L, -1);
  lua_pop(L, 1);
}

/* Returns whether the loop still has the handle at index 1. luv keeps what the
   loop has in the registry, and the handle's `data`, its first member, begins
   with the place there. (So it is in the versions this is asked for, which
   change no more.) */
static bool loop_has_handle(lua_State *L) {
  int ***handle = lua_touserdata(L, 1);
  if (*handle == NULL || **handle == NULL)
    return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, ***handle);
  bool same = lua_rawequal(L, -1, 1);
  lua_pop(L, 1);
  return same;
}

/* __gc of luv's handles, with luv's own and a list as upvalues. What the loop
   still has is finalized only when the Lua state closes; it joins the list. */
static int m_handle_gc(lua_State *L) {
  if (!loop_has_handle(L))
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
  lua_settop(L, 1);
  lua_rawseti(L, lua_upvalueindex(2),
              (lua_Integer)lua_rawlen(L, lua_upvalueindex(2)) + 1);
  return 0;
}

/* __gc of luv's loop, with luv's own and the list as upvalues. luv's own closes
   all that the loop still has. */
static int m_loop_gc(lua_State *L) {
  lua_tocfunction(L, lua_upvalueindex(1))(L);
  lua_Integer n = (lua_Integer)lua_rawlen(L, lua_upvalueindex(2));
  for (lua_Integer i = 1; i <= n; i++) {
    lua_settop(L, 0);
    lua_rawgeti(L, lua_upvalueindex(2), i);
    luaL_callmeta(L, 1, "__gc");
  }
  return 0;
}

/* Puts `gc` in the place of the finalizer of luv's in the metatable on top; the
   list at index `list` becomes its upvalue. Does nothing if that is done. */
static void replace_gc(lua_State *L, lua_CFunction gc, int list) {
  lua_getfield(L, -1, "__gc");
  lua_CFunction own = lua_tocfunction(L, -1);
  if (own != NULL && own != gc) {
    lua_pushvalue(L, list);
    lua_pushcclosure(L, gc, 2);
    lua_setfield(L, -2, "__gc");
  } else {
    lua_pop(L, 1);
  }
}

/* The finalizer of a handle frees it, in luv before 1.46 also one that the loop
   still has. As in later ones, the finalizer of the loop shall do that, which
   is older than all handles. */
static void free_handles_late(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "orrery.luv_handles");
  int list = lua_gettop(L);
  if (luaL_getmetatable(L, "uv_loop.meta") != LUA_TTABLE ||
      lua_getfield(L, LUA_REGISTRYINDEX, "uv_handle") != LUA_TTABLE)
    return; /* the loop is not luv's own */
  for (lua_pushnil(L); lua_next(L, list + 2);) {
    lua_pop(L, 1);
    replace_gc(L, m_handle_gc, list); /* the keys are the metatables */
  }
  lua_settop(L, list + 1);
  replace_gc(L, m_loop_gc, list);
}

/* core.mend_luv(uv.run, old): mends what is wrong in the luv that is loaded;
   `old`: it is older than 1.46. To be called again when luv has been opened
   again, which sets its finalizers again. */
static int l_mend_luv(lua_State *L) {
  bool old = lua_toboolean(L, 2);
  lua_settop(L, 1);
  call_on_main_thread(L);
  if (old)
    free_handles_late(L);
  return 0;
}

void orr_open_luv(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"hook_luv", l_hook_luv}, {"mend_luv", l_mend_luv}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
