/* launch_keeper.c - a start with a keeper between this process and the program:
   the child that is cloned becomes the keeper, and clones the program itself,
   by the code of all other starts. So the program's attributes and failures are
   what they always are, and the keeper needs to know none of them.

   As in launch_child.c there are system calls only. */
#include "launch_child.h"

#include "io.h"
#include "mark.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CHILD __attribute__((no_sanitize("address", "undefined")))

enum { SOCKET = 3, PROGRAM = 4, FIRST = 5, DIGITS = 12 };

/* Writes a number as decimal digits. */
CHILD static char *digits_of(int n, char text[DIGITS]) {
  char *at = text + DIGITS - 1;
  *at = '\0';
  do
    *--at = (char)('0' + n % 10);
  while ((n /= 10) > 0);
  return at;
}

/* Returns a copy of an fd above the numbers that settle_fds uses. */
CHILD static int lift(int fd) {
  return (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FIRST);
}

/* Puts the socket and the keeper's program on fixed numbers, /dev/null on those
   of stdio, and closes all else: what the keeper held would never end. False,
   with errno: there are no fds for that, and nothing is done. */
CHILD static bool settle_fds(struct orr_start *s) {
  const struct orr_keep *keep = s->program->keep;
  int cut = s->cut;
  if (cut > 0) {
    if (keep->socket >= cut)
      cut = keep->socket + 1;
    if (keep->exe >= cut)
      cut = keep->exe + 1;
    syscall(SYS_close_range, (unsigned)cut, ~0U, CLOSE_RANGE_UNSHARE);
  }
  int report = lift(s->report), null = lift(keep->null);
  int socket = lift(keep->socket), exe = lift(keep->exe);
  if (socket < 0 || exe < 0 || null < 0 || (s->report >= 0 && report < 0))
    return false;
  s->report = report;
  for (int fd = 0; fd <= 2; fd++)
    syscall(SYS_dup3, null, fd, 0);
  syscall(SYS_dup3, socket, SOCKET, 0);
  syscall(SYS_dup3, exe, PROGRAM, O_CLOEXEC);
  orr_close_from(s, FIRST);
  return true;
}

/* Returns the mark in an environment, or NULL. */
CHILD static const char *mark_in(const char **envp) {
  static const char name[] = ORR_MARK_NAME;
  while (*envp != NULL && strncmp(*envp, name, sizeof name - 1) != 0)
    envp++;
  return *envp;
}

/* Becomes the keeper of a program that runs. It bears the program's mark: who
   ends an outer family finds through it those that it keeps. If that fails, the
   program is killed, and the start has failed. */
CHILD static void become_keeper(struct orr_start *s, pid_t program) {
  const char *envp[] = {mark_in(s->program->envp), NULL, NULL};
  char pid[DIGITS], number[DIGITS];
  const char *argv[] = {"orrery-keeper",
                        "keep",
                        digits_of(SOCKET, number),
                        digits_of(program, pid),
                        s->program->die_with_parent ? "1" : "0",
                        NULL};
  if (s->program->keep->no_children)
    envp[envp[0] != NULL] = "ORRERY_FORCE=no_children";
  if (settle_fds(s))
    syscall(SYS_execveat, PROGRAM, "", argv, envp, AT_EMPTY_PATH);
}

/* Waits for what the program reports that does not share our memory. */
CHILD static void read_inner(struct orr_start *s, int fd) {
  struct orr_failure report;
  if (orr_read(fd, &report, sizeof report) == (ssize_t)sizeof report)
    s->failure = report;
  syscall(SYS_close, fd);
}

/* Clones the program. Returns its pid once it is past its exec; -1 with
   s->failure filled if it failed, and then it has been reaped. */
CHILD static pid_t clone_program(struct orr_start *s) {
  struct orr_keep *keep = s->program->keep;
  int report = s->report, inner[2] = {-1, -1};
  bool shared = (keep->flags & CLONE_VM) != 0;
  if (!shared && syscall(SYS_pipe2, inner, O_CLOEXEC) < 0)
    return -1;
  s->report = inner[1];
  s->parent = (pid_t)syscall(SYS_getpid);
  pid_t pid = clone(orr_child_main, keep->stack, keep->flags | SIGCHLD, s,
                    &keep->pidfd);
  s->report = report;
  if (!shared)
    syscall(SYS_close, inner[1]);
  if (pid > 0 && !shared)
    read_inner(s, inner[0]);
  if (pid > 0 && s->failure.stage == ORR_STAGE_NONE)
    return pid;
  if (pid > 0)
    orr_waitid(P_PID, (id_t)pid, NULL, WEXITED, NULL);
  else
    s->failure = (struct orr_failure){errno, ORR_STAGE_FORK, 0};
  return -1;
}

/* Tells the parent, if it does not share our memory, what has become of the
   start: a failure, or, as `index`, the pid of the program. */
CHILD static void report(const struct orr_start *s) {
  if (s->report >= 0)
    orr_write(s->report, &s->failure, sizeof s->failure);
}

CHILD int orr_keeper_main(void *arg) {
  struct orr_start *s = arg;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t program = clone_program(s);
  if (program > 0) {
    s->failure.index = program;
    report(s);
    become_keeper(s, program);
    s->failure = (struct orr_failure){errno, ORR_STAGE_CGROUP, 0};
    syscall(SYS_kill, program, SIGKILL);
    orr_waitid(P_PID, (id_t)program, NULL, WEXITED, NULL);
  }
  report(s);
  for (;;)
    syscall(SYS_exit_group, 127);
}
