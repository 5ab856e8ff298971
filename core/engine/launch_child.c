/* launch_child.c - what runs between clone and exec.

   The child shares the parent's memory (CLONE_VM) while the parent's thread
   sleeps, so here are system calls only: no malloc, no stdio, no locks, and no
   libc wrapper that signals threads or caches (setuid, setgroups, nice). Until
   map_fds the table of fds may be the parent's, too: a step before it that
   opens an fd closes it before it can fail. */
#include "launch_child.h"

#include "ending.h"
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Frames of a child that execs are never unwound, which would leave the
   sanitizer's marks on the stack that the next child runs on. */
#define CHILD __attribute__((no_sanitize("address", "undefined")))

enum { LAST_SIGNAL = 64 };

/* Reports errno and the step that failed, in memory and, if that is not shared,
   through the pipe; and ends the child. */
CHILD static _Noreturn void fail(struct orr_start *s, enum orr_stage stage,
                                 int index) {
  s->failure.error = errno;
  s->failure.stage = stage;
  s->failure.index = index;
  if (s->report >= 0)
    orr_write(s->report, &s->failure, sizeof s->failure);
  for (;;)
    syscall(SYS_exit_group, 127);
}

/* Sets default dispositions and an empty mask, as libuv does; only what
   this process was itself told to ignore (nohup) stays ignored. Handlers go
   first: they are the parent's code, and would run in the parent's memory as
   soon as the mask opens. An all-zero kernel sigaction is SIG_DFL on every
   architecture. SIGKILL and SIGSTOP answer EINVAL, which is fine. */
CHILD static void default_signals(void) {
  static const unsigned long dfl[8];
  for (int sig = 1; sig <= LAST_SIGNAL; sig++)
    if (!orr_ending_ignores(sig))
      syscall(SYS_rt_sigaction, sig, dfl, NULL, sizeof(uint64_t));
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, dfl, NULL, sizeof(uint64_t));
}

CHILD static void set_session(struct orr_start *s) {
  const struct orr_program *p = s->program;
  if (p->setsid && syscall(SYS_setsid) < 0)
    fail(s, ORR_STAGE_SETSID, 0);
  /* A new session is a new group already, whose leader may not move. */
  if (p->has_pgroup && !(p->setsid && p->pgroup == 0) &&
      syscall(SYS_setpgid, 0, p->pgroup) < 0)
    fail(s, ORR_STAGE_PGROUP, 0);
}

/* Raises the hard limit of fds, if it is to be raised: that takes a right which
   a change of uid gives up. The limit itself is set last, by limit_fds. */
CHILD static void raise_hard_nofile(struct orr_start *s, int index) {
  const struct rlimit *value = &s->program->limits[index].value;
  struct rlimit now;
  if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &now) < 0 ||
      value->rlim_max <= now.rlim_max)
    return;
  now.rlim_max = value->rlim_max;
  if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &now, NULL) < 0)
    fail(s, ORR_STAGE_RLIMIT, index);
}

CHILD static void set_limits(struct orr_start *s) {
  const struct orr_program *p = s->program;
  for (int i = 0; i < p->nlimits; i++) {
    if (p->limits[i].resource == RLIMIT_NOFILE)
      raise_hard_nofile(s, i);
    else if (syscall(SYS_prlimit64, 0, p->limits[i].resource,
                     &p->limits[i].value, NULL) < 0)
      fail(s, ORR_STAGE_RLIMIT, i);
  }
}

/* Enters the cgroup, by its file cgroup.procs; before the user changes. */
CHILD static void enter_cgroup(struct orr_start *s) {
  if (s->program->has_cgroup &&
      syscall(SYS_write, s->program->cgroup, "0", 1) < 0)
    fail(s, ORR_STAGE_CGROUP, 0);
}

CHILD static void set_resources(struct orr_start *s) {
  const struct orr_program *p = s->program;
  set_limits(s);
  if (p->has_nice && syscall(SYS_setpriority, PRIO_PROCESS, 0, p->nice) < 0)
    fail(s, ORR_STAGE_NICE, 0);
  if (p->affinity != NULL &&
      syscall(SYS_sched_setaffinity, 0, sizeof *p->affinity, p->affinity) < 0)
    fail(s, ORR_STAGE_AFFINITY, 0);
  if (p->has_umask)
    syscall(SYS_umask, p->umask);
}

/* Returns whether the child is to be somebody else than its parent. */
CHILD static bool becomes_another(const struct orr_program *p) {
  return (p->has_uid && p->uid != (uid_t)syscall(SYS_geteuid)) ||
         (p->has_gid && p->gid != (gid_t)syscall(SYS_getegid));
}

/* Drops our groups from a child with a uid or gid and no `groups` of its own,
   as Node does. Returns an errno if somebody else would be left with them:
   Node does not notice. */
CHILD static int drop_groups(const struct orr_program *p) {
  if (!(p->has_gid || p->has_uid) || syscall(SYS_setgroups, 0, NULL) == 0)
    return 0;
  int error = errno;
  return becomes_another(p) && syscall(SYS_getgroups, 0, NULL) > 0 ? error : 0;
}

/* Sets groups before gid before uid: each needs a right that the next gives up.
   If we have none of these, that we may not set the uid tells most. */
CHILD static void set_identity(struct orr_start *s) {
  const struct orr_program *p = s->program;
  int kept = 0;
  if (!p->has_groups)
    kept = drop_groups(p);
  else if (syscall(SYS_setgroups, p->ngroups, p->groups) < 0)
    fail(s, ORR_STAGE_GROUPS, 0);
  if (p->has_gid && syscall(SYS_setgid, p->gid) < 0)
    fail(s, ORR_STAGE_GID, 0);
  if (p->has_uid && syscall(SYS_setuid, p->uid) < 0)
    fail(s, ORR_STAGE_UID, 0);
  if (kept != 0) {
    errno = kept;
    fail(s, ORR_STAGE_GROUPS, 0);
  }
}

/* Asks for SIGKILL when the parent dies; after setuid, which clears that. A
   parent that has died meanwhile sends none any more: then the child ends
   itself. */
CHILD static void tie_to_parent(struct orr_start *s) {
  if (!s->program->die_with_parent)
    return;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
    fail(s, ORR_STAGE_FORK, 0);
  long parent = syscall(SYS_getppid); /* 0: it is in another pid namespace */
  if (parent != s->parent && parent != 0)
    for (;;)
      syscall(SYS_exit_group, 127);
}

struct dirent64 {
  uint64_t ino;
  int64_t off;
  unsigned short reclen;
  unsigned char type;
  char name[];
};

/* Returns the number that a file name is, or -1 (for "." and ".."). */
CHILD static int fd_number(const char *name) {
  int n = 0;
  if (*name == '\0')
    return -1;
  for (; *name != '\0'; name++) {
    if (*name < '0' || *name > '9')
      return -1;
    n = n * 10 + (*name - '0');
  }
  return n;
}

/* close_from without a list: closes every number up to the limit, which is all
   there can be. */
CHILD static void close_by_number(int first, int keep) {
  struct rlimit limit = {1024, 1024};
  syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
  for (rlim_t fd = first; fd < limit.rlim_cur && fd <= 1048576; fd++)
    if ((int)fd != keep)
      syscall(SYS_close, (int)fd);
}

/* close_from without close_range: closes what /proc/self/fd lists. Closing
   while reading may skip entries, so it reads until a pass closes nothing. */
CHILD static void close_by_listing(int first, int keep) {
  _Alignas(struct dirent64) char buffer[2048];
  int dir = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd",
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  long n = -1; /* < 0: it cannot be listed */
  for (bool closed = dir >= 0; closed;) {
    closed = false;
    syscall(SYS_lseek, dir, 0L, SEEK_SET);
    while ((n = syscall(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
      for (long at = 0; at < n;) {
        struct dirent64 *entry = (struct dirent64 *)(void *)(buffer + at);
        int fd = fd_number(entry->name);
        at += entry->reclen;
        if (fd >= first && fd != dir && fd != keep) {
          syscall(SYS_close, fd);
          closed = true;
        }
      }
    }
  }
  if (dir >= 0)
    syscall(SYS_close, dir);
  if (n < 0)
    close_by_number(first, keep);
}

CHILD void orr_close_from(const struct orr_start *s, int first) {
  unsigned keep = (unsigned)s->report;
  if (!s->close_range) {
    close_by_listing(first, s->report);
  } else if (s->report < first) {
    syscall(SYS_close_range, (unsigned)first, ~0U, 0);
  } else {
    if (s->report > first)
      syscall(SYS_close_range, (unsigned)first, keep - 1, 0);
    syscall(SYS_close_range, keep + 1, ~0U, 0);
  }
}

/* Returns a copy of fd above the numbers that map_fds is about to overwrite. */
CHILD static int lift(struct orr_start *s, int fd, int index) {
  int high = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, s->program->nfds);
  if (high < 0)
    fail(s, ORR_STAGE_DUP, index);
  return high;
}

/* Lifts the sources that others would be put on, and the error pipe. */
CHILD static void lift_fds(struct orr_start *s) {
  int n = s->program->nfds, *fds = s->program->fds;
  if (s->report >= 0 && s->report < n)
    s->report = lift(s, s->report, 0);
  for (int i = 0; i < n; i++)
    if (fds[i] >= 0 && fds[i] < n && fds[i] != i)
      fds[i] = lift(s, fds[i], i);
}

/* Puts every source on its number and closes the rest. With `cut` the table is
   still the parent's own: the first step makes it ours and keeps only the low
   part, so the cost does not grow with the number of fds that the parent
   has. */
CHILD static void map_fds(struct orr_start *s) {
  int n = s->program->nfds;
  if (s->cut > 0 &&
      syscall(SYS_close_range, (unsigned)s->cut, ~0U, CLOSE_RANGE_UNSHARE) < 0)
    fail(s, ORR_STAGE_DUP, 0);
  lift_fds(s);
  for (int i = 0; i < n; i++) {
    int fd = s->program->fds[i];
    if (fd < 0)
      syscall(SYS_close, i);
    else if (fd == i ? syscall(SYS_fcntl, i, F_SETFD, 0) < 0
                     : syscall(SYS_dup3, fd, i, 0) < 0)
      fail(s, ORR_STAGE_DUP, i);
  }
  orr_close_from(s, n);
}

/* Makes an fd of the child's its controlling terminal, which only the leader of
   a session may, and as long as it has none. */
CHILD static void set_terminal(struct orr_start *s) {
  const struct orr_program *p = s->program;
  if (p->has_terminal && syscall(SYS_ioctl, p->terminal, TIOCSCTTY, 0) < 0)
    fail(s, ORR_STAGE_SETSID, 0);
}

/* Calls execve, and does what POSIX asks of execvp if the kernel knows no such
   format: gives the file to a shell, unless it is to be no script. Returns if
   that fails, with errno. */
CHILD static void try_exec(const struct orr_program *p, const char *path) {
  syscall(SYS_execve, path, p->argv, p->envp);
  if (errno == ENOEXEC && !p->no_script) {
    const char *argv0 = p->argv[0];
    p->argv[-1] = "/bin/sh";
    p->argv[0] = path;
    syscall(SYS_execve, "/bin/sh", p->argv - 1, p->envp);
    p->argv[0] = argv0;
  }
}

/* Returns whether the next directory of PATH is to be tried after this
   error. */
CHILD static bool look_further(int error) {
  return error == ENOENT || error == ENOTDIR || error == EACCES ||
         error == ESTALE || error == ENODEV || error == ETIMEDOUT;
}

/* After EACCES: returns whether there is a file that may not be run, and not a
   directory that may not be entered. */
CHILD static bool is_there(const char *path) {
  return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

/* execvp by hand: PATH is the child's, and an empty element of it is ".".
   EACCES is remembered: it tells more than the ENOENT of a later directory.
   Returns if that fails, with errno. */
CHILD static void exec_in_path(struct orr_start *s) {
  const struct orr_program *p = s->program;
  char path[PATH_MAX];
  size_t name = strlen(p->file);
  bool denied = false;
  errno = ENOENT;
  for (const char *at = s->path, *end; at != NULL; at = end ? end + 1 : NULL) {
    end = strchr(at, ':');
    size_t dir = end ? (size_t)(end - at) : strlen(at);
    if (dir + name + 2 > sizeof path) {
      errno = ENOENT;
      continue;
    }
    memcpy(path, at, dir);
    if (dir > 0)
      path[dir++] = '/';
    memcpy(path + dir, p->file, name + 1);
    try_exec(p, path);
    if (!look_further(errno))
      return;
    denied = denied || (errno == EACCES && is_there(path));
  }
  errno = denied ? EACCES : ENOENT;
}

/* Sets the limit of fds; after all that is done with fds, which it must not get
   in the way of. */
CHILD static void limit_fds(struct orr_start *s) {
  if (s->nofile != NULL &&
      syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, s->nofile, NULL) < 0)
    fail(s, ORR_STAGE_RLIMIT, s->nofile_index);
}

CHILD int orr_child_main(void *arg) {
  struct orr_start *s = arg;
  default_signals();
  set_session(s);
  enter_cgroup(s);
  set_resources(s);
  set_identity(s);
  if (s->program->cwd != NULL && syscall(SYS_chdir, s->program->cwd) < 0)
    fail(s, ORR_STAGE_CHDIR, 0);
  tie_to_parent(s);
  map_fds(s);
  set_terminal(s);
  limit_fds(s);
  if (strchr(s->program->file, '/') != NULL)
    try_exec(s->program, s->program->file);
  else
    exec_in_path(s);
  fail(s, ORR_STAGE_EXEC, 0);
}
