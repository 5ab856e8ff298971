/* row.h - a signal to all that a keeper keeps, in a row: before anything else
   is looked at, so that those who fork as fast as they can do not get ahead. */
#ifndef ORR_KEEPER_ROW_H
#define ORR_KEEPER_ROW_H

#include "keeper.h"

struct row {
  int signal, sent, denied;
  int parent;        /* whose children get it */
  struct vector had; /* of int: the pids that had it, or were denied it */
  int count;
};

/* Sends the signal to all children of the keeper, who are not reaped but by it:
   their pids are theirs. False: this kernel has no lists of children. */
bool row_send(struct row *row, int keeper);

/* Tells whether all children of the keeper are zombies, if there are any. */
bool row_has_ended(int keeper);

/* Sends it to what is below those who had it. Who is killed ends only when it
   runs next, and what it has forked is nobody's orphan until then. */
void row_send_below(struct row *row);

#endif
