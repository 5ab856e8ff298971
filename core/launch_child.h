/* launch_child.h - between launch.c and launch_child.c only. */
#ifndef ORR_LAUNCH_CHILD_H
#define ORR_LAUNCH_CHILD_H

#include "launch.h"

#include <stdint.h>

/* What the child needs beyond the program: made by the parent, on its stack. */
struct orr_start {
  const struct orr_program *program;
  const char *path; /* PATH of the child's environment */
  int cut;          /* share the fd table, keep fds below this; 0: no */
  bool close_range; /* may be used */
  int report;       /* write end of the error pipe, or -1 */
  uint64_t mask;    /* the signal mask to start with */
  pid_t parent;     /* for die_with_parent */
  const struct rlimit *nofile; /* restored just before exec, or NULL */
  struct orr_failure failure;  /* filled by the child where memory is shared */
};

/* The child: never returns to anything of the parent's. */
int orr_child_main(void *start);

#endif
