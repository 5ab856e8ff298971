/* orphans.h - the children of those who take orphans: pid 1, and our own
   ancestors, who may be subreapers. Who of them is a member of a family, all
   families that look are told in one go. */
#ifndef ORR_KEEPER_ORPHANS_H
#define ORR_KEEPER_ORPHANS_H

#include "family.h"

/* Notes the session that the engine is in, and its children were born in. To be
   called once, before this process makes one. */
void orphans_begin(void);

/* Looks for members of the families that look, of which all are kept, or none.
   Without lists of children in this kernel, this finds all other members, too.
 */
void orphans_look(struct family **families, int count);

/* Waits for half of what is still being found out about children: who finds it
   needs the CPU as well. Returns whether there was anything, so that somebody
   may be a member who is not known yet. */
bool orphans_settle(void);

/* Tells whether a process takes orphans. */
bool is_taker(int pid);

/* Tells whether a session is one that our ancestors are in. */
bool is_own_session(int session);

#endif
