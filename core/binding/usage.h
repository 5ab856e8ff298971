/* usage.h - what a process has used, for Lua. */
#ifndef ORR_BINDING_USAGE_H
#define ORR_BINDING_USAGE_H

#include <lua.h>
#include <sys/resource.h>

/* Pushes a table of what getrusage(2) tells, with Node's names; CPU times in
   µs, max_rss in bytes.

   Linux counts the memory that a process had *before* its exec, and a child
   starts in its parent's: a max_rss that does not exceed what this process had
   at its own peak, `floor` KiB, only says "not more than that". max_rss_exact
   is true if it does exceed that. */
void orr_push_usage(lua_State *L, const struct rusage *usage, long floor);

#endif
