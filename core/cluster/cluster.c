/* cluster.c - opens the library that lua/orrery/cluster/native.lua loads: for
   processes that are of a cluster, and for no others. */
#include "cluster.h"

/* All else is hidden if the build can hide it. */
__attribute__((visibility("default"))) int luaopen_orrery_cluster(lua_State *L);

/* luaopen_orrery_cluster() -> the module: primary and worker. */
int luaopen_orrery_cluster(lua_State *L) {
  lua_createtable(L, 0, 2);
  orr_open_primary(L);
  orr_open_worker(L);
  return 1;
}
