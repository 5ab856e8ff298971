/* reaper.h - learns of the end of the children that this library started.
   Engine: no Lua.

   One epoll set of pidfds, so an exit costs the same beside 5 children or
   5,000. It waits for those and for no other process: never waitpid(-1). */
#ifndef ORR_REAPER_H
#define ORR_REAPER_H

#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/types.h>

/* A started child. It stays at its address while it is watched. */
struct orr_child {
  pid_t pid;
  int pidfd;    /* owned, -1 when closed or if the kernel has none */
  bool running; /* watched and not yet reaped */
  bool unknown; /* other code of this process took the exit status (ECHILD) */
  int code;     /* exit code, if signal == 0 */
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

/* Opens a reaper that watches no child yet. 0 or -errno. If SIGCHLD is ignored
   it is set to its default, for the kernel would throw exit statuses away. */
int orr_reaper_open(struct orr_reaper *r);

/* Closes it; children that run go on. Does nothing to one that is closed. */
void orr_reaper_close(struct orr_reaper *r);

/* Watches a child whose pid and pidfd are filled in. 0 or -errno: the child is
   not watched. */
int orr_reaper_watch(struct orr_reaper *r, struct orr_child *child);

/* Reaps the next child that has ended and returns it, its fields filled and its
   pidfd closed; NULL if there is none now. Never blocks. */
struct orr_child *orr_reaper_next(struct orr_reaper *r);

/* Signals a child, by its pidfd if it has one. 0 or -errno; -ESRCH once it is
   reaped, so that no other process with its pid is ever hit. */
int orr_child_signal(const struct orr_child *child, int signal);

#endif
