/* json.c - opens the library that lua/orrery/json.lua loads. It is not part of
   the core: libjansson is loaded by processes that speak JSON, and by no
   others. */
#include "json.h"

#include <jansson.h>
#include <sys/random.h>

/* Seeds jansson's tables, against keys that are made to collide. By itself it
   opens /dev/urandom for that, without O_CLOEXEC. Only the first seed
   counts. */
static void seed(void) {
  size_t number;
  if (getrandom(&number, sizeof number, GRND_NONBLOCK) == sizeof number)
    json_object_seed(number);
}

/* All else is hidden if the build can hide it. */
__attribute__((visibility("default"))) int luaopen_orrery_json(lua_State *L);

/* luaopen_orrery_json() -> the module: encode and decode. */
int luaopen_orrery_json(lua_State *L) {
  seed();
  lua_createtable(L, 0, 2);
  orr_json_open_encode(L);
  orr_json_open_decode(L);
  return 1;
}
