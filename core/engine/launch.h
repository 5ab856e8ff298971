/* launch.h - starts a program. Engine: no Lua, and no libuv.

   A launcher owns what outlives one start: which roads this kernel allows, the
   stack that children run on until exec, and a few reserved low fds. It is used
   by one thread at a time. */
#ifndef ORR_LAUNCH_H
#define ORR_LAUNCH_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Where a start can fail. The names are part of the public contract. */
enum orr_stage {
  ORR_STAGE_NONE,
  ORR_STAGE_PIPE,
  ORR_STAGE_OPEN,
  ORR_STAGE_DUP,
  ORR_STAGE_FORK,
  ORR_STAGE_SETSID,
  ORR_STAGE_PGROUP,
  ORR_STAGE_CGROUP,
  ORR_STAGE_RLIMIT,
  ORR_STAGE_NICE,
  ORR_STAGE_AFFINITY,
  ORR_STAGE_UMASK,
  ORR_STAGE_GROUPS,
  ORR_STAGE_GID,
  ORR_STAGE_UID,
  ORR_STAGE_CHDIR,
  ORR_STAGE_EXEC,
  ORR_STAGE_WAIT, /* waitid is refused: ends of children could not be noticed */
  ORR_STAGE_COUNT
};

/* Returns the name of a stage: "exec" for ORR_STAGE_EXEC. */
const char *orr_stage_name(enum orr_stage stage);

/* Which ways into a child work on this machine; one probe finds it out. */
struct orr_roads {
  bool clone_vm;    /* CLONE_VM really shares memory */
  bool pidfd;       /* CLONE_PIDFD, waitid(P_PIDFD), pidfd_send_signal */
  bool close_range; /* with CLOSE_RANGE_UNSHARE */
};

enum { ORR_SLOTS = 4 }; /* reserved low fds; the first stays /dev/null */

struct orr_launcher {
  struct orr_roads roads;
  bool probed;
  struct orr_roads forbidden; /* ORRERY_FORCE: roads not to be taken */
  void *stack;                /* owned: one mapping, guard page at its foot */
  size_t stack_size;
  int slots[ORR_SLOTS];     /* owned, CLOEXEC, -1 when closed */
  int null_missing;         /* errno: the first is not /dev/null; or 0 */
  struct rlimit old_nofile; /* what children start with ... */
  bool nofile_raised;       /* ... if this process raised its own */
};

struct orr_limit {
  int resource;
  struct rlimit value;
};

/* A keeper between this process and the program (core/keeper). */
struct orr_keep {
  int socket;       /* its end; CLOEXEC, the caller's */
  int exe;          /* the keeper's program, open; the caller's */
  bool no_children; /* it is to act as if there were no lists of children */
  pid_t program;    /* filled: the program's pid */
  int pidfd;        /* filled: the program's, the caller's; -1: not known */
  /* For the start itself. */
  void *stack;
  int flags, null;
};

/* What to start. Strings and arrays belong to the caller and are only read, but
   for two: `fds` is scratch afterwards, and argv[-1] is a spare slot that the
   caller leaves, for a script without "#!" becomes an argument of /bin/sh. */
struct orr_program {
  const char *file;  /* a path, or a name to be found in the child's PATH */
  const char **argv; /* NULL at the end */
  const char **envp; /* NULL at the end */
  const char *cwd;   /* NULL: ours */
  int *fds;          /* child fd i is our fd fds[i]; -1: closed */
  int nfds;
  const struct orr_limit *limits;
  int nlimits;
  const gid_t *groups;
  int ngroups;
  const cpu_set_t *affinity; /* NULL: ours */
  struct orr_keep *keep;     /* NULL: no keeper */
  pid_t pgroup;              /* with has_pgroup; 0: a group of its own */
  int cgroup;                /* with has_cgroup: its file cgroup.procs */
  int nice;                  /* with has_nice; absolute */
  mode_t umask;              /* with has_umask */
  uid_t uid;                 /* with has_uid */
  gid_t gid;                 /* with has_gid */
  int terminal;              /* with has_terminal and setsid: the child's fd of
                                its controlling terminal */
  bool setsid, die_with_parent, has_terminal, has_cgroup;
  bool no_script; /* what the kernel cannot run is not given to /bin/sh */
  bool has_pgroup, has_nice, has_umask, has_uid, has_gid, has_groups;
};

struct orr_failure {
  int error; /* errno */
  enum orr_stage stage;
  int index; /* dup: the child fd; rlimit: the place in `limits` */
};

/* Tells whether ORRERY_FORCE, a list that is separated by commas, forbids a
   road: "no_pidfd". `force` is its value, or NULL. */
bool orr_forbids(const char *force, const char *road);

/* Opens /dev/null for those of fds 0 to 2 that are closed: what a process opens
   next would take their place, and its children would have it as stdio. If
   there is no /dev/null, they get an end of a pipe that gives and takes
   nothing. 0 or -errno. */
int orr_fill_std_fds(void);

/* Opens a launcher; the roads are found out later. 0 or -errno: fds or memory
   are short, and the launcher is closed. `force` is the value of ORRERY_FORCE,
   a list of no_clone_vm, no_pidfd, no_close_range, or NULL. */
int orr_launcher_open(struct orr_launcher *l, const char *force);

/* Closes it. Does nothing to one that is closed. */
void orr_launcher_close(struct orr_launcher *l);

/* Finds out the roads by starting a child, if they are not known yet. 0 or
   -errno with `failure` filled (EAGAIN, ENOMEM: ask again later). */
int orr_launcher_probe(struct orr_launcher *l, struct orr_failure *failure);

/* Starts `p`. With a keeper, pid and pidfd are the keeper's, and those of the
   program are in p->keep. Returns 0 with the pid, and with a CLOEXEC pidfd (-1
   if this kernel has none), both the caller's; the program is then past its
   exec. Otherwise returns -errno with `failure` filled, and nothing is left
   behind. Blocks until the exec is done, as vfork does. */
int orr_launch(struct orr_launcher *l, const struct orr_program *p, pid_t *pid,
               int *pidfd, struct orr_failure *failure);

#endif
