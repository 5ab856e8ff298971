/* family.h - the members of a family: finding them, and signals to all. */
#ifndef ORR_KEEPER_FAMILY_H
#define ORR_KEEPER_FAMILY_H

#include "map.h"
#include "proc.h"

struct member {
  int pid;
  int pidfd; /* owned; -1: there is none, or it has gone */
  uint64_t start;
  bool living, denied; /* denied: we may not signal it */
  bool stopped;        /* by us */
  bool still;          /* it was seen stopped before its children were read */
  bool killed;         /* it was sent SIGKILL */
};

/* Looking for members: again and again, until there are no others. */
struct look {
  bool active;
  bool fresh;   /* there has been no pass yet */
  bool whole;   /* all are to be stopped, also by groups */
  bool any;     /* it ends with who can be signalled: they are not all wanted */
  int signal;   /* SIGSTOP, SIGKILL, or 0: what members get that are found */
  int parent;   /* whose children are looked at */
  int found;    /* new members */
  int treated;  /* who got the signal, or were seen stopped since */
  int vanished; /* who ended before it was clear whose they are */
  bool open;    /* somebody may yet do what a signal is to keep it from */
  bool moved;   /* the last pass has found, or treated, somebody */
  int passes, quiet, vain;
};

/* The members are found from `root` downwards, and, unless it is a kept family,
   whose orphans come to the keeper, among the children of those who take
   orphans: processes as young as the family that bear its mark, or are in a
   session that a member has made, or have the addresses of a member. */
struct family {
  int root;
  bool kept;
  uint64_t born;
  char mark[MARK];
  struct look look;
  struct vector members; /* of struct member */
  struct map places;     /* of members, by pid: the last that had it */
  struct map sessions;   /* when a member of it began, or 0: not of ours */
  struct map images;     /* hashes, by a part of them */
  struct map groups;     /* that were stopped whole */
  int count;
  int living, denied; /* of those that live */
  int unwatched;      /* living, and no pidfd tells of their end */
  bool led;           /* a session has become known since the last pass */
  int listed;         /* children that the keeper had when it killed them */
  int epoll;          /* tells of ends: data is tag << 32 | place */
  uint32_t tag;
};

/* Begins a family without members. Those found later join the epoll set. */
void family_begin(struct family *f, const struct request *r, bool kept,
                  int epoll, uint32_t tag);

/* Closes what it holds. */
void family_end(struct family *f);

/* Looking ------------------------------------------------------------------ */

/* Begins to look for members, and to send each the signal. `whole`: nobody of
   the family is to stay as it is, so that where SIGSTOP is sent, all of a
   process group may have it at once. `any`: to know of one is enough. */
void family_look(struct family *f, int signal, bool whole, bool any);

/* Looks below the root, and below all who are known. */
void family_pass(struct family *f);

/* Ends a pass. `open`: somebody may be a member who is not known yet. Returns
   whether all have been found, or as many as were wanted: when two passes in a
   row have found nobody, and nobody has to stop or has just done so: a signal
   that is sent is had only when its process runs next. */
bool family_passed(struct family *f, bool open);

/* Returns a pidfd of a process, which is the caller's; -1: there is no such
   process, or there are too few fds. */
int family_hold(int pid);

/* Closes a pidfd, if there is one. */
void family_release(int pidfd);

/* Returns the living member of that pid, or NULL. */
const struct member *family_find(const struct family *f, int pid);

/* Tells whether a process is in a session of which all are members. */
bool family_has_session(struct family *f, int pid, const struct stat_of *stat);

/* Tells whether a process is a fork of the one that a member is a fork of. */
bool family_has_image(const struct family *f, const struct stat_of *stat);

/* Adds a member, and takes over its pidfd; `stat` was read after it was opened.
   Does nothing more if it is known. */
void family_add(struct family *f, int pid, int pidfd,
                const struct stat_of *stat);

/* Adds a child of look.parent, if it is one. */
void family_consider(int pid, void *family);

/* Signals ------------------------------------------------------------------ */

/* Stops a kept family in a row, before it is looked for. */
void family_stop_row(struct family *f);

/* Kills a kept family in a row, from above, and then who has become a child of
   the keeper meanwhile. *sent is how many were sent SIGKILL, also before this
   call, and *denied how many could not be. False: this kernel has no lists of
   children. */
bool family_kill_row(struct family *f, int *sent, int *denied);

/* Sends a signal to each member that is known; they have been stopped for it,
   and go on afterwards, unless the signal is one that stops; with `all_go_on`
   also those that others had stopped. Returns how many have it. */
int family_signal(struct family *f, int signal, bool all_go_on);

/* Kills each member that is known, once. Returns how many were sent SIGKILL. */
int family_kill(struct family *f);

/* Notes that a member has ended, by its place. */
void family_gone(struct family *f, int place);

/* Notes the end of members that no pidfd tells of. */
void family_check(struct family *f);

#endif
