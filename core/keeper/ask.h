/* ask.h - helpers that read the environments of processes that may be forking.

   To read it is to wait until its process has forked, if it is at that; and of
   many who fork all the time each lets us wait for as long as the forks of all
   others take. So they are waited for all at once, by a process each, that also
   sends the signal to who bears a mark. */
#ifndef ORR_KEEPER_ASK_H
#define ORR_KEEPER_ASK_H

#include "proc.h"

enum { ASKED = 256 }; /* helpers at a time */

struct question {
  int pid, pidfd; /* the pidfd is the caller's again with the answer */
  struct stat_of stat;
  enum {
    UNKNOWN, /* it ended before anybody could tell */
    NOT_YET, /* it is in execve(2), and has no environment meanwhile */
    NO,
    YES
  } answer;
  char mark[MARK]; /* YES: this one */
  int signal;      /* that it is to get then, or 0 */
  int helper;
};

/* Has a helper call find(q), which fills in the answer, and finds the memory of
   this process as it is by then; false: there can be none. Not more than ASKED
   may be under way. */
bool ask(const struct question *q, void (*find)(struct question *q));

/* Returns how many questions have no answer. */
int asked_count(void);

/* Tells whether there is a question about a pid. */
bool is_asked(int pid);

/* Takes an answer; waits for it if more than `most` are under way. False: there
   is none. */
bool next_answer(struct question *q, int most);

#endif
