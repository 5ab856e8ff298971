/* launch.c - the parent's side of a start: which road, which fds, what failed.

   The roads. Best: clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_FILES) on
   a stack of our own; the fd table is shared and cut by the child, so neither
   the heap nor the number of fds makes a start slower. Where memory is not
   shared (valgrind, qemu-user, gVisor) or may not be, a plain clone, and errno
   travels over a pipe that exec closes. Where there are no pidfds, a pid. */
#include "launch.h"

#include "io.h"
#include "launch_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { STACK_SIZE = 128 * 1024, LOW_FDS = 64 };

static const char default_path[] = "/usr/bin:/bin"; /* as Node and execvp */

const char *orr_stage_name(enum orr_stage stage) {
  static const char *const names[ORR_STAGE_COUNT] = {
      "none",   "pipe",   "open",   "dup",   "fork",     "setsid",
      "pgroup", "cgroup", "rlimit", "nice",  "affinity", "umask",
      "groups", "gid",    "uid",    "chdir", "exec",     "wait"};
  return (unsigned)stage < ORR_STAGE_COUNT ? names[stage] : "unknown";
}

/* Fills `f`. Returns -error. */
static int failed(struct orr_failure *f, enum orr_stage stage, int error,
                  int index) {
  f->stage = stage;
  f->error = error;
  f->index = index;
  return -error;
}

/* The launcher ------------------------------------------------------------- */

bool orr_forbids(const char *force, const char *road) {
  size_t n = strlen(road);
  for (const char *at = force; at != NULL; at = strchr(at, ',')) {
    at += *at == ',';
    if (strncmp(at, road, n) == 0 && (at[n] == ',' || at[n] == '\0'))
      return true;
  }
  return false;
}

/* Opens /dev/null or, if there is none, what is next to it: the end of a pipe
   that nothing comes from, and that nothing can be written to. In *missing is
   then why it could not be opened, else 0. Returns the fd or -errno. */
static int open_null(int flags, int *missing) {
  int ends[2], fd = open("/dev/null", O_RDWR | flags);
  *missing = fd < 0 ? errno : 0;
  if (fd >= 0)
    return fd;
  if (pipe2(ends, flags) < 0)
    return -errno;
  close(ends[1]);
  return ends[0];
}

int orr_fill_std_fds(void) {
  struct pollfd fds[3] = {{.fd = 0}, {.fd = 1}, {.fd = 2}};
  int fd, missing;
  if (poll(fds, 3, 0) >= 0 &&
      !((fds[0].revents | fds[1].revents | fds[2].revents) & POLLNVAL))
    return 0;
  do
    fd = open_null(0, &missing);
  while (fd >= 0 && fd <= 2);
  if (fd < 0)
    return fd;
  close(fd);
  return 0;
}

/* Opens the reserved fds, all of them /dev/null until they are used. */
static int open_slots(struct orr_launcher *l) {
  int fd = open_null(O_CLOEXEC, &l->null_missing);
  if (fd < 0)
    return fd;
  l->slots[0] = fd;
  for (int i = 1; i < ORR_SLOTS; i++) {
    l->slots[i] = fcntl(l->slots[0], F_DUPFD_CLOEXEC, 3);
    if (l->slots[i] < 0)
      return -errno;
  }
  return 0;
}

/* Maps the stack, with a page at its foot that no child can run into. */
static int map_stack(struct orr_launcher *l) {
  long page = sysconf(_SC_PAGESIZE);
  l->stack_size = STACK_SIZE + (size_t)page;
  l->stack = mmap(NULL, l->stack_size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (l->stack == MAP_FAILED) {
    l->stack = NULL;
    return -errno;
  }
  mprotect(l->stack, (size_t)page, PROT_NONE);
  return 0;
}

int orr_launcher_open(struct orr_launcher *l, const char *force) {
  memset(l, 0, sizeof *l);
  for (int i = 0; i < ORR_SLOTS; i++)
    l->slots[i] = -1;
  l->forbidden.clone_vm = orr_forbids(force, "no_clone_vm");
  l->forbidden.pidfd = orr_forbids(force, "no_pidfd");
  l->forbidden.close_range = orr_forbids(force, "no_close_range");
  int rc = orr_fill_std_fds();
  if (rc == 0)
    rc = open_slots(l);
  if (rc == 0)
    rc = map_stack(l);
  if (rc < 0)
    orr_launcher_close(l);
  return rc;
}

void orr_launcher_close(struct orr_launcher *l) {
  for (int i = 0; i < ORR_SLOTS; i++) {
    if (l->slots[i] >= 0)
      close(l->slots[i]);
    l->slots[i] = -1;
  }
  if (l->stack != NULL)
    munmap(l->stack, l->stack_size);
  l->stack = NULL;
}

/* clone -------------------------------------------------------------------- */

/* Blocks all signals and returns the mask from before. A raw system call:
   libc's wrapper leaves its two internal signals unblocked, and their handlers
   must not run in a child that shares our memory. */
static uint64_t block_signals(void) {
  uint64_t all = ~(uint64_t)0, old = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof all);
  return old;
}

static void restore_signals(uint64_t mask) {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

/* Runs fn(arg) in a child, on the launcher's stack. Returns its pid or
   -errno. */
static pid_t clone_child(struct orr_launcher *l, int (*fn)(void *), void *arg,
                         int flags, int *pidfd) {
  char *top = (char *)l->stack + l->stack_size;
  pid_t pid = clone(fn, top, flags | SIGCHLD, arg, pidfd);
  return pid < 0 ? -errno : pid;
}

/* The probe ---------------------------------------------------------------- */

struct probe {
  volatile bool shared;
  bool ask_close_range;
};

/* The child of the probe: it tells by `shared` whether it shares our memory,
   and by its exit code 0 that there is close_range, which it calls with a range
   that no fd table reaches. */
static int probe_child(void *arg) {
  struct probe *probe = arg;
  probe->shared = true;
  if (!probe->ask_close_range ||
      syscall(SYS_close_range, ~0U, ~0U, CLOSE_RANGE_UNSHARE) < 0)
    syscall(SYS_exit_group, 1);
  syscall(SYS_exit_group, 0);
  return 0;
}

/* Returns whether an error means "not here": so answer old kernels, and the
   seccomp profiles of old container engines, which say EPERM to what they do
   not know. */
static bool not_here(int error) {
  return error == ENOSYS || error == EPERM || error == EINVAL;
}

/* Returns whether a child can be signalled and waited for by its pidfd. It is
   not reaped by that. */
static bool pidfd_works(int pidfd) {
  if (pidfd < 0)
    return false;
  if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno != ESRCH)
    return false;
  return orr_waitid((idtype_t)P_PIDFD, (id_t)pidfd, NULL, WEXITED | WNOWAIT,
                    NULL) == 0;
}

/* Starts one child with these flags, which ends at once, and learns the roads
   from it. 0 or -errno, with `f` filled. */
static int probe_with(struct orr_launcher *l, int flags,
                      struct orr_failure *f) {
  struct probe probe = {false, !l->forbidden.close_range};
  siginfo_t info = {0};
  int pidfd = -1;
  uint64_t mask = block_signals();
  pid_t pid = clone_child(l, probe_child, &probe, flags, &pidfd);
  restore_signals(mask);
  if (pid < 0)
    return failed(f, ORR_STAGE_FORK, -pid, 0);
  l->roads.pidfd = (flags & CLONE_PIDFD) != 0 && pidfd_works(pidfd);
  if (pidfd >= 0)
    close(pidfd);
  int rc = orr_waitid(P_PID, (id_t)pid, &info, WEXITED, NULL);
  if (rc == -ECHILD) /* other code of this process took it, and its answer */
    return failed(f, ORR_STAGE_FORK, EAGAIN, 0);
  if (rc < 0) {
    orr_wait4(pid);
    return failed(f, ORR_STAGE_WAIT, -rc, 0);
  }
  l->roads.clone_vm = (flags & CLONE_VM) != 0 && probe.shared;
  l->roads.close_range = info.si_status == 0;
  return 0;
}

int orr_launcher_probe(struct orr_launcher *l, struct orr_failure *f) {
  static const int tries[] = {CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
                              CLONE_VM | CLONE_VFORK, CLONE_PIDFD, 0};
  int rc = 0;
  for (size_t i = 0; !l->probed && i < sizeof tries / sizeof *tries; i++) {
    if ((l->forbidden.clone_vm && (tries[i] & CLONE_VM)) ||
        (l->forbidden.pidfd && (tries[i] & CLONE_PIDFD)))
      continue;
    rc = probe_with(l, tries[i], f);
    l->probed = rc == 0;
    if (rc < 0 && (f->stage != ORR_STAGE_FORK || !not_here(-rc)))
      return rc;
  }
  return rc;
}

/* A start ------------------------------------------------------------------ */

static const char *path_of(const char **envp) {
  for (; *envp != NULL; envp++)
    if (strncmp(*envp, "PATH=", 5) == 0)
      return *envp + 5;
  return default_path;
}

/* Copies sources with high numbers into the reserved low fds, so that the child
   can drop all the rest of the table without copying it. Returns the cut, the
   number from which on all fds are dropped, or -errno. If there are more such
   sources than slots, they stay where they are and raise the cut. */
static int stage_fds(struct orr_launcher *l, const struct orr_program *p,
                     int *used, struct orr_failure *f) {
  int cut = LOW_FDS;
  for (int i = 0; i < p->nfds; i++) {
    if (p->fds[i] >= LOW_FDS && p->fds[i] != l->slots[0] &&
        *used + 1 < ORR_SLOTS) {
      int slot = l->slots[++*used];
      if (dup3(p->fds[i], slot, O_CLOEXEC) < 0)
        return failed(f, ORR_STAGE_DUP, errno, i);
      p->fds[i] = slot;
    }
    if (p->fds[i] >= cut)
      cut = p->fds[i] + 1;
  }
  return cut;
}

/* Makes the slots /dev/null again: what they held must not outlive its
   owner. */
static void unstage_fds(struct orr_launcher *l, int used) {
  for (; used > 0; used--)
    dup3(l->slots[0], l->slots[used], O_CLOEXEC);
}

/* Reads what a child that does not share our memory reports: a failure, or the
   end of the pipe when it is past its exec. A keeper reports the program's pid
   first. Closes `fd`. */
static void read_report(int fd, struct orr_failure *f) {
  struct orr_failure report;
  while (orr_read(fd, &report, sizeof report) == (ssize_t)sizeof report)
    *f = report;
  close(fd);
}

/* Prepares a keeper, which runs the program on the other half of the stack.
   Returns the function that the cloned child is to run. */
static int (*prepare_keeper(struct orr_launcher *l, const struct orr_program *p,
                            int flags))(void *) {
  if (p->keep == NULL)
    return orr_child_main;
  p->keep->stack = (char *)l->stack + l->stack_size / 2;
  p->keep->flags = flags;
  p->keep->null = l->slots[0];
  p->keep->pidfd = -1;
  return orr_keeper_main;
}

/* Takes what a start with a keeper has given. The program's pidfd is in our
   table only if that was shared. */
static void take_kept(struct orr_start *s, int flags) {
  struct orr_keep *keep = s->program->keep;
  bool failed = s->failure.stage != ORR_STAGE_NONE;
  if (keep == NULL)
    return;
  keep->program = failed ? 0 : s->failure.index;
  if ((flags & CLONE_FILES) == 0)
    keep->pidfd = -1;
  if (failed && keep->pidfd >= 0) {
    close(keep->pidfd);
    keep->pidfd = -1;
  }
}

static int clone_flags(const struct orr_launcher *l, int cut) {
  int flags = l->roads.pidfd ? CLONE_PIDFD : 0;
  if (l->roads.clone_vm)
    flags |= CLONE_VM | CLONE_VFORK;
  if (cut > 0)
    flags |= CLONE_FILES;
  return flags;
}

/* Returns whether the child takes another uid, gid or other groups. */
static bool changes_ids(const struct orr_program *p) {
  return p->has_uid || p->has_gid || p->has_groups;
}

/* Clones, with a report pipe if memory is not shared. Returns 0 when the child
   is past its exec; -errno with s->failure filled, and then it has been
   reaped. */
static int start(struct orr_launcher *l, struct orr_start *s, pid_t *pid,
                 int *pidfd) {
  int report[2] = {-1, -1};
  if (!l->roads.clone_vm && pipe2(report, O_CLOEXEC) < 0)
    return failed(&s->failure, ORR_STAGE_PIPE, errno, 0);
  s->report = report[1];
  int flags = clone_flags(l, s->cut);
  int (*child)(void *) = prepare_keeper(l, s->program, flags);
  int dumpable = prctl(PR_GET_DUMPABLE);
  uint64_t mask = block_signals();
  *pid = clone_child(l, child, s, flags, pidfd);
  restore_signals(mask);
  /* A child that changes its ids takes the mark off the memory it shares. */
  if (l->roads.clone_vm && dumpable == 1 && changes_ids(s->program))
    prctl(PR_SET_DUMPABLE, 1);
  if (report[1] >= 0)
    close(report[1]);
  if (*pid < 0) {
    if (report[0] >= 0)
      close(report[0]);
    return failed(&s->failure, ORR_STAGE_FORK, -*pid, 0);
  }
  if (report[0] >= 0)
    read_report(report[0], &s->failure);
  take_kept(s, flags);
  if (s->failure.stage == ORR_STAGE_NONE)
    return 0;
  if (*pidfd >= 0)
    close(*pidfd);
  *pidfd = -1;
  orr_waitid(P_PID, (id_t)*pid, NULL, WEXITED, NULL);
  return -s->failure.error;
}

/* Checks that all sources are open; to be called before the engine opens fds of
   its own, which could take the number of a source that is closed. 0 or
   -errno. */
static int check_fds(const struct orr_program *p, struct orr_failure *f) {
  for (int i = 0; i < p->nfds; i++)
    if (p->fds[i] >= 0 && fcntl(p->fds[i], F_GETFD) < 0)
      return failed(f, ORR_STAGE_DUP, errno, i);
  return 0;
}

/* Chooses the limit of fds that the child ends with: the one of the program, or
   the one that this process had before it raised it, or none. */
static void choose_nofile(const struct orr_launcher *l, struct orr_start *s) {
  const struct orr_program *p = s->program;
  s->nofile = l->nofile_raised ? &l->old_nofile : NULL;
  for (int i = 0; i < p->nlimits; i++)
    if (p->limits[i].resource == RLIMIT_NOFILE) {
      s->nofile = &p->limits[i].value;
      s->nofile_index = i;
    }
}

int orr_launch(struct orr_launcher *l, const struct orr_program *p, pid_t *pid,
               int *pidfd, struct orr_failure *failure) {
  struct orr_start s = {.program = p, .path = path_of(p->envp)};
  int used = 0, rc = check_fds(p, failure);
  *pidfd = -1;
  if (rc < 0)
    return rc;
  rc = orr_launcher_probe(l, failure);
  if (rc < 0)
    return rc;
  s.close_range = l->roads.close_range;
  choose_nofile(l, &s);
  if (p->die_with_parent)
    s.parent = getpid();
  if (l->roads.clone_vm && l->roads.close_range) {
    rc = stage_fds(l, p, &used, &s.failure);
    s.cut = rc;
  }
  if (rc >= 0)
    rc = start(l, &s, pid, pidfd);
  unstage_fds(l, used);
  *failure = s.failure;
  return rc;
}
