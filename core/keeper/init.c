/* init.c - init: runs one program as its child, hands on the signals that it
   gets, reaps whoever ends, and ends as the program did. For pid 1, which the
   kernel spares the default of signals, and whose children nobody else reaps.
 */
#include "keeper.h"

#include <asm/signal.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signalfd.h>
#include <linux/wait.h>

enum { FROM_KERNEL = 0x80, NOT_FOUND = 127, NOT_RUN = 126 };

/* Runs the program; signals are as they were. */
static _Noreturn void run(char **argv, char **envp, const uint64_t *mask) {
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof *mask);
  long rc = SYS(__NR_execve, argv[0], argv, envp);
  sys_exit(rc == -ENOENT ? NOT_FOUND : NOT_RUN);
}

/* Hands a signal on. What comes from the terminal the program has already. */
static void hand_on(int program, const struct signalfd_siginfo *info) {
  int signal = (int)info->ssi_signo;
  if (signal == SIGCHLD || signal == SIGTTIN || signal == SIGTTOU)
    return;
  if (info->ssi_code != FROM_KERNEL)
    SYS(__NR_kill, program, signal);
  if (signal == SIGTSTP && SYS(__NR_getpid, 0) != 1)
    SYS(__NR_kill, SYS(__NR_getpid, 0), SIGSTOP);
}

/* Reaps all who have ended. Returns the exit code of the program, or -1. */
static int reap(int program) {
  int status, code = -1;
  long pid;
  while ((pid = SYS(__NR_wait4, -1, &status, WNOHANG, NULL)) > 0)
    if (pid == program)
      code = (status & 0x7f) != 0 ? 128 + (status & 0x7f) : status >> 8 & 0xff;
  return code;
}

void init(char **argv, char **envp) {
  uint64_t all = ~0ULL, before = 0;
  struct signalfd_siginfo info;
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
  SYS(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1);
  int signals = (int)SYS(__NR_signalfd4, -1, &all, sizeof all, O_CLOEXEC);
  long program = SYS(__NR_clone, SIGCHLD, 0, 0, 0, 0);
  if (program == 0)
    run(argv, envp, &before);
  if (program < 0 || signals < 0)
    sys_exit(NOT_RUN);
  for (;;) {
    if (sys_read(signals, &info, sizeof info) != sizeof info)
      continue;
    hand_on((int)program, &info);
    int code = reap((int)program);
    if (code >= 0)
      sys_exit(code);
  }
}
