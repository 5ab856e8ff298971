/* keeper.h - what the start of a program does with orrery.keeper. */
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

#endif
