/* keeper.h - what spawn.c does with the userdata orrery.keeper. */
#ifndef ORR_BINDING_KEEPER_H
#define ORR_BINDING_KEEPER_H

#include "engine/launch.h"

#include <lua.h>

/* A keeper: of a program, or one that serves. */
struct orr_keeper {
  struct orr_keep keep; /* of the program, if there is one */
  int socket;           /* owned, ours; -1: closed */
  int peer;             /* owned, the other side's end until it has it; -1 */
  int exe;              /* owned, the keeper's program; -1 */
  bool running, known;  /* the program; how it ended */
  int status;           /* as waitpid's */
  struct rusage usage;  /* of the program */
  long floor;           /* KiB; see orr_push_usage */
};

/* Takes note that the program runs, and that the keeper has its end. */
void orr_keeper_started(struct orr_keeper *keeper, long floor);

/* Sends a signal to the family, once to each member. */
void orr_keeper_signal_all(const struct orr_keeper *keeper, int signal);

/* Pushes a table of what getrusage(2) tells, with Node's names; CPU times in
   µs, max_rss in bytes.

   Linux counts the memory that a process had *before* its exec, and a child
   starts in its parent's: a max_rss that does not exceed what this process had
   at its own peak, `floor` KiB, only says "not more than that". max_rss_exact
   is true if it does exceed that. */
void orr_push_usage(lua_State *L, const struct rusage *usage, long floor);

#endif
