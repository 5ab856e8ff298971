/* family.h - the members of a family: finding them, and signals to all. */
#ifndef ORR_KEEPER_FAMILY_H
#define ORR_KEEPER_FAMILY_H

#include "keeper.h"

struct member {
  int pid;
  int pidfd; /* owned; -1: there is none, or it has gone */
  uint64_t start;
  bool living, denied; /* denied: we may not signal it */
  bool leads;          /* a session */
  bool stopped;        /* by us */
  bool still;          /* it was seen stopped before its children were read */
  bool killed;         /* it was sent SIGKILL */
};

/* Who takes orphans, and who of its children is no member. A list of children
   keeps its order, and has new ones at its end, so that two of them are
   compared by going through both once. */
struct taker {
  int pid;
  struct vector strangers; /* of int: pids */
  int count, known, at;    /* now; before this look; how far that has come */
};

/* A process that bears no mark of ours, as a helper has found. */
struct other {
  int pid;
  uint64_t start;
};

/* The members are found from `root` downwards, and, unless it is a kept family,
   whose orphans come to the keeper, among the children of those who take
   orphans: processes as young as the family that bear its mark or are in a
   session that a member has made. */
struct family {
  int root;
  bool kept;
  uint64_t born;
  char mark[MARK];
  struct vector members; /* of struct member */
  struct vector table;   /* of int: places by pid, hashed; 0: none, else + 1 */
  struct vector takers;  /* of struct taker */
  struct vector others;  /* of struct other */
  int count, taker_count, other_count;
  int living, denied; /* of those that live */
  int unwatched;      /* living, and no pidfd tells of their end */
  bool led;           /* a session has become known since the last look */
  int listed;         /* children that the keeper had when it killed them */
  int epoll;          /* tells of ends: data is tag << 32 | place */
  uint32_t tag;
  int64_t most_fds; /* pidfds are below that */
};

/* Begins a family without members. Those found later join the epoll set. */
void family_begin(struct family *f, const struct request *r, bool kept,
                  int epoll, uint32_t tag);

/* Closes what it holds. */
void family_end(struct family *f);

/* Looks for members once. Returns how many are new. */
int family_look(struct family *f);

/* Sends a signal to each living member, so that who is born meanwhile has it as
   well. All are stopped for that, and go on afterwards, unless the signal is
   one that stops; with `all_go_on` also those that others had stopped. Signal 0
   only counts. Returns how many have it. */
int family_signal(struct family *f, int signal, bool all_go_on);

/* Kills all members that can be found. Returns how many were sent SIGKILL; of a
   kept family also those that had it before. */
int family_kill(struct family *f);

/* Notes that a member has ended, by its place. */
void family_gone(struct family *f, int place);

/* Notes the end of members that no pidfd tells of. */
void family_check(struct family *f);

#endif
