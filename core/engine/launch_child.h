/* launch_child.h - between launch.c, which starts a child, and launch_child.c,
   which is the child until its exec. */
#ifndef ORR_LAUNCH_CHILD_H
#define ORR_LAUNCH_CHILD_H

#include "launch.h"

#include <stdint.h>
#include <sys/syscall.h>

_Static_assert(sizeof(long) == 8, "32-bit system calls have other numbers");

/* For kernel headers and libcs older than these calls. Their numbers are the
   same on all architectures. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

/* What the child needs beyond the program. The parent makes it, on its
   stack. */
struct orr_start {
  const struct orr_program *program;
  const char *path; /* PATH of the child's environment */
  int cut; /* the fd table is shared: keep fds below this; 0: it is not */
  bool close_range;            /* may be used */
  int report;                  /* write end of the error pipe, or -1 */
  pid_t parent;                /* for die_with_parent */
  const struct rlimit *nofile; /* the limit of fds to end with, or NULL */
  int nofile_index;            /* its place in the program's limits */
  struct orr_failure failure;  /* filled by the child, if memory is shared */
};

/* The child, from clone to exec: prepares itself as `start` (a struct
   orr_start) says, and runs the program. If a step fails it reports it and
   ends. Never returns. */
int orr_child_main(void *start);

/* As orr_child_main, with a keeper in between, which the cloned child becomes
   once the program is past its exec. `failure.index` is then the program's
   pid. Never returns. */
int orr_keeper_main(void *start);

/* In a child: closes every fd from `first` on but the error pipe. */
void orr_close_from(const struct orr_start *s, int first);

#endif
