/*
** reaper.h - learns of the end of the children that this library started.
**
** One epoll set of pidfds, so an exit costs the same beside 5 children or
** 5,000. It waits for those and for no other process: never waitpid(-1).
*/
#ifndef ORR_REAPER_H
#define ORR_REAPER_H

#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/types.h>

/* A started child. It stays at its address while it is watched. */
struct orr_child {
  pid_t pid;
  int pidfd;    /* owned, -1 when closed or where there are none */
  bool running; /* watched and not yet reaped */
  bool unknown; /* somebody else took the exit status (ECHILD) */
  int code;     /* exit code, where signal == 0 */
  int signal;   /* the signal that ended it, or 0 */
  struct rusage usage;
  struct orr_child *next, *prev; /* in the reaper's list, without pidfds only */
};

enum { ORR_REAPER_BATCH = 64 };

struct orr_reaper {
  int epoll; /* owned, -1 when closed */
  struct orr_child *list, *cursor;
  struct epoll_event batch[ORR_REAPER_BATCH];
  int count, at;
};

/* 0 or -errno. A SIGCHLD found ignored is set to its default: the kernel would
   throw exit statuses away. */
int orr_reaper_open(struct orr_reaper *r);
void orr_reaper_close(struct orr_reaper *r);

/* Watches a child with pid and pidfd filled in. 0 or -errno. */
int orr_reaper_watch(struct orr_reaper *r, struct orr_child *child);

/* The next child that has ended, its fields filled and its pidfd closed; NULL
   when there is none for now. Never blocks. */
struct orr_child *orr_reaper_next(struct orr_reaper *r);

/* Signals a child, by pidfd where there is one. 0 or -errno; -ESRCH once it is
   reaped, so never another process with its pid. */
int orr_child_signal(const struct orr_child *child, int signal);

#endif
