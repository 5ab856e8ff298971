/* cluster.h - the parts of the module orrery.cluster. */
#ifndef ORR_CLUSTER_H
#define ORR_CLUSTER_H

#include <lauxlib.h>
#include <lua.h>

_Static_assert(sizeof(lua_Integer) == 8, "Orrery needs 64-bit Lua integers");

#define ORR_CLUSTER "orrery.cluster"
#define ORR_WORKER "orrery.worker"

/* Add primary(poller, ask, on_broken) and worker(fd, page, poller, on_socket)
   to the module table on top. */
void orr_open_primary(lua_State *L);
void orr_open_worker(lua_State *L);

#endif
