/* program.h - from the arguments of core.spawn to a struct orr_program. */
#ifndef ORR_BINDING_PROGRAM_H
#define ORR_BINDING_PROGRAM_H

#include "engine/launch.h"
#include "keeper.h"

#include <lua.h>

/* What a start is described by. It points into strings and userdata that lie on
   the Lua stack, so it is good until the C function that made it returns. */
struct orr_description {
  struct orr_program program; /* envp: NULL if Lua gave no environment */
  cpu_set_t affinity;         /* what program.affinity points to */
  struct orr_keeper *keeper;  /* of the userdata that Lua gave, or NULL */
  int keeper_index;           /* the stack index of `keeper` */
  bool unmarked;              /* the environment is to stay as it is */
};

/* Fills `d` from the five arguments on the stack: file, argv, fds, env,
   attributes; see l_spawn. Raises, naming the field, if one is wrong. What it
   pushes must stay on the stack until the start is over. */
void orr_read_description(lua_State *L, struct orr_description *d);

/* Returns the list of strings on top as an array that ends in NULL and has
   `spare` slots in front of it; raises, naming the argument, if it is none.
   Both stay on the stack, and keep array and strings alive. */
const char **orr_read_strings(lua_State *L, const char *name, int spare);

#endif
