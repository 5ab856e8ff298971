/*
** lua_json.c - the module orrery.json, a library of its own: libjansson is
** loaded where JSON is spoken, and nowhere else.
*/
#include "json.h"

#include <jansson.h>
#include <sys/random.h>

/* jansson's tables are seeded against keys made to collide. By itself it opens
   /dev/urandom for that, without O_CLOEXEC. Only the first seed counts. */
static void seed(void) {
  size_t number;
  if (getrandom(&number, sizeof number, GRND_NONBLOCK) == sizeof number)
    json_object_seed(number);
}

/* All else is hidden where the build can. */
__attribute__((visibility("default"))) int luaopen_orrery_json(lua_State *L);

int luaopen_orrery_json(lua_State *L) {
  static const luaL_Reg functions[] = {{"encode", orr_json_encode},
                                       {NULL, NULL}};
  seed();
  luaL_newlib(L, functions);
  orr_json_open_decode(L);
  return 1;
}
