/* messages.h - what an engine and a keeper tell each other, by a socket of
   messages (SEQPACKET): struct request and struct adopt one way; the other way
   struct done, struct ended of a kept family, and struct emptied of an adopted
   group. Both are of this machine and of one build, so integers are in its
   order. */
#ifndef ORR_KEEPER_MESSAGES_H
#define ORR_KEEPER_MESSAGES_H

#include <stdint.h>

enum { MARK = 48, MOST_LEFT = 200, GROUP_PATH = 4080 };

enum op {
  OP_SIGNAL = 1,  /* a signal, once to each member */
  OP_END = 2,     /* that, then until none is left; SIGKILL after the grace */
  OP_PROGRAM = 3, /* a signal to the kept program alone; no reply */
  OP_ADOPT = 4,   /* struct adopt: watch a control group; no reply */
  OP_FORGET = 5   /* remove a group that nobody has entered; no reply */
};

struct request {
  uint32_t op, id;
  int32_t root; /* pid that the family descends from; kept: not looked at */
  int32_t signal;
  uint64_t born;   /* nothing that is older is a member, in clock ticks */
  uint32_t grace;  /* ms until SIGKILL */
  uint32_t group;  /* the family is this adopted group; 0: it has a root */
  char mark[MARK]; /* in ORRERY_FAMILY of its members; ends with a NUL */
};

enum {
  ADOPT_DIE = 1,    /* it is to be killed when the engine has gone */
  ADOPT_ENTERED = 2 /* it has had a member: if it is empty, it has ended */
};

/* A control group that is one family, made for it: it is removed once it is
   empty. The message ends with the path's NUL. */
struct adopt {
  uint32_t op, id; /* from 1; small: they are places in a list */
  uint32_t flags;
  uint32_t made; /* how many directories, of which `path` is the last */
  char path[GROUP_PATH];
};

enum reply {
  REPLY_DONE = 1,
  REPLY_EXIT = 2,
  REPLY_EMPTY = 3,
  REPLY_EMPTIED = 4,
  REPLY_LOST = 5 /* struct emptied: the group cannot be watched */
};

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

/* An adopted group is empty, and removed. */
struct emptied {
  uint32_t type, id;
  uint64_t user, system;           /* µs */
  uint64_t memory_peak, pids_peak; /* bytes, processes; 0: not known */
};

#endif
