/* messages.h - what an engine and a keeper tell each other, by a socket of
   messages (SEQPACKET): struct request one way; struct done, and struct ended
   of a kept family, the other way. Both are of this machine and of one build,
   so integers are in its order. */
#ifndef ORR_KEEPER_MESSAGES_H
#define ORR_KEEPER_MESSAGES_H

#include <stdint.h>

enum { MARK = 48, MOST_LEFT = 200 };

enum op {
  OP_SIGNAL = 1, /* a signal, once to each member */
  OP_END = 2,    /* that, then until none is left; SIGKILL after the grace */
  OP_PROGRAM = 3 /* a signal to the kept program alone; no reply */
};

struct request {
  uint32_t op, id;
  int32_t root; /* pid that the family descends from; kept: not looked at */
  int32_t signal;
  uint64_t born;  /* nothing that is older is a member, in clock ticks */
  uint32_t grace; /* ms until SIGKILL */
  uint32_t unused;
  char mark[MARK]; /* in ORRERY_FAMILY of its members; ends with a NUL */
};

enum reply { REPLY_DONE = 1, REPLY_EXIT = 2, REPLY_EMPTY = 3 };

struct done {
  uint32_t type, id;
  uint32_t living;         /* members that had the signal */
  uint32_t forced;         /* members that had SIGKILL after the grace */
  uint32_t count;          /* of `left` */
  int32_t left[MOST_LEFT]; /* living members that may not be signalled */
};

/* What processes have used, as wait4 tells: µs, KiB, counts. */
struct usage {
  uint64_t user, system, max_rss, minor_faults, major_faults, blocks_read,
      blocks_written, voluntary_switches, involuntary_switches;
};

/* REPLY_EXIT: the program itself; REPLY_EMPTY: all that were reaped. */
struct ended {
  uint32_t type;
  int32_t pid, status, unused;
  struct usage usage;
};

#endif
