/* init.c - init: runs one program as its child, hands on the signals that it
   gets, reaps all processes that end, and ends with the program's status. It is
   for pid 1: the kernel does not apply the default of signals to that process,
   and gives it orphans, which nobody else reaps.

   The program shall not notice. So, other than by tini and dumb-init, it stays
   in the process group and session of init: a group of its own would have to be
   given the terminal, which takes it from the others of a pipeline, and to be
   sent what was meant for the whole group. Both get what the terminal sends,
   and init keeps that to itself. All else is handed on, as by sudo(8), but for
   what the program itself has sent to its group. Who sends a signal to a whole
   group, or to each process of a cgroup, reaches the program twice, for nothing
   tells init to whom else it went. SIGKILL and SIGSTOP cannot be handed on: the
   program is killed along with init, and goes on while init is stopped.

   All other processes are left alone when the program has ended, as they are
   without init. (Those of pid 1's namespace are killed by the kernel then.) */
#include "keeper.h"

#include <linux/prctl.h>
#include <linux/signal.h>
#include <linux/wait.h>

#define BIT(signal) (1ULL << ((signal)-1))

enum { NOT_RUN = 126, NOT_FOUND = 127 };
enum { DIGITS = 12, MANY_SIGNALS = 64, MANY_FDS = 1 << 16 };

static const uint64_t all_signals = ~0ULL;

/* What a terminal sends to its foreground group. */
static const uint64_t of_terminal = BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGTSTP) |
                                    BIT(SIGTTIN) | BIT(SIGTTOU) | BIT(SIGWINCH);

/* What it sends when it is hung up, to the leader of its session alone; and the
   kernel to a group that has lost its last parent in the session. */
static const uint64_t of_hangup = BIT(SIGHUP) | BIT(SIGCONT);

struct program {
  int pid;
  int code;      /* that it has ended with; -1: it runs */
  bool to_sleep; /* SIGTSTP has come after the last SIGCONT */
};

/* What is to be put back for the program. */
struct before {
  int pid; /* of init */
  uint64_t mask;
  struct sigaction child;
};

/* Writes a number as decimal digits, and returns where they begin. */
static char *digits_of(int n, char text[DIGITS]) {
  char *at = text + DIGITS - 1;
  *at = '\0';
  do
    *--at = (char)('0' + n % 10);
  while ((n /= 10) > 0);
  return at;
}

static void say(const char *text) {
  sys_write(2, text, strlen(text));
}

/* Says what has failed, with -errno, and ends this process. */
static _Noreturn void fail(const char *what, const char *file, long rc) {
  char digits[DIGITS];
  say("orrery-keeper: cannot ");
  say(what);
  say(file);
  say(": errno ");
  say(digits_of((int)-rc, digits));
  say("\n");
  sys_exit(rc == -ENOENT ? NOT_FOUND : NOT_RUN);
}

/* Replaces the pid in variables that are for the process with that pid alone,
   which this one was until it became init: sd_listen_fds(3),
   sd_watchdog_enabled(3), systemd.exec(5). */
static void readdress(char **envp, int from) {
  static const char *const names[] = {
      "LISTEN_PID=", "WATCHDOG_PID=", "SYSTEMD_EXEC_PID="};
  static char entries[sizeof names / sizeof *names][32 + DIGITS];
  char old[DIGITS], new[DIGITS];
  const char *was = digits_of(from, old);
  const char *is = digits_of((int)SYS(__NR_getpid, 0), new);
  for (; *envp != NULL; envp++)
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
      size_t n = strlen(names[i]), length = strlen(*envp);
      if (length != n + strlen(was) || memcmp(*envp, names[i], n) != 0 ||
          memcmp(*envp + n, was, strlen(was)) != 0)
        continue;
      memcpy(entries[i], names[i], n);
      memcpy(entries[i] + n, is, strlen(is) + 1);
      *envp = entries[i];
    }
}

/* Runs the program, which is killed if init dies. Its parent has pid 0 if that
   is outside of its pid namespace. */
static _Noreturn void run(const char *file, char **argv, char **envp,
                          const struct before *before) {
  SYS(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
  long parent = SYS(__NR_getppid, 0);
  if (parent != before->pid && parent != 0)
    sys_exit(NOT_RUN);
  readdress(envp, before->pid);
  SYS(__NR_rt_sigaction, SIGCHLD, &before->child, NULL, sizeof before->mask);
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &before->mask, NULL,
      sizeof before->mask);
  fail("run ", file, SYS(__NR_execve, file, argv, envp));
}

/* Closes all fds: a pipe is at its end, and a folder free, once the program has
   let go of it. Linux before 5.9 has no close_range. */
static void let_go(void) {
  if (SYS(__NR_close_range, 0, ~0U, 0) < 0)
    for (int fd = 0; fd < MANY_FDS; fd++)
      sys_close(fd);
  SYS(__NR_chdir, "/");
}

/* Starts the program, and keeps all signals for `take_signals` from then on.
   Until it is there those of the terminal do to init what they would have done
   to it, and the others wait. A SIGCHLD that is ignored would reap by itself.
 */
static int start(const char *file, char **argv, char **envp) {
  const uint64_t waiting = ~(of_terminal | of_hangup);
  struct sigaction plain;
  struct before before;
  memset(&plain, 0, sizeof plain);
  plain.sa_handler = SIG_DFL;
  before.pid = (int)SYS(__NR_getpid, 0);
  SYS(__NR_rt_sigaction, SIGCHLD, &plain, &before.child, sizeof before.mask);
  SYS(__NR_rt_sigprocmask, SIG_BLOCK, &waiting, &before.mask,
      sizeof before.mask);
  SYS(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1);
  long pid = SYS(__NR_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid == 0)
    run(file, argv, envp, &before);
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &all_signals, NULL, sizeof all_signals);
  if (pid < 0)
    fail("start ", file, pid);
  let_go();
  return (int)pid;
}

/* Tells whether the program has been sent a signal, too. A test of si_code
   alone would take an alarm for one of the terminal's. */
static bool is_shared(const siginfo_t *info) {
  if (info->si_code != SI_KERNEL)
    return false;
  if ((of_hangup & BIT(info->si_signo)) != 0)
    return SYS(__NR_getsid, 0) != SYS(__NR_getpid, 0);
  return (of_terminal & BIT(info->si_signo)) != 0;
}

static bool is_from(const struct program *p, const siginfo_t *info) {
  return (info->si_code == SI_USER || info->si_code == SI_QUEUE) &&
         info->si_pid == p->pid;
}

static void hand_on(struct program *p, const siginfo_t *info) {
  int signal = info->si_signo;
  if (signal == SIGTSTP || signal == SIGCONT)
    p->to_sleep = signal == SIGTSTP;
  if (signal != SIGCHLD && !is_shared(info) && !is_from(p, info))
    SYS(__NR_kill, p->pid, signal);
}

/* Waits for signals, and hands on those that are there. */
static void take_signals(struct program *p) {
  const struct __kernel_timespec none = {0, 0};
  siginfo_t info;
  for (int i = 0; i < MANY_SIGNALS; i++) {
    if (SYS(__NR_rt_sigtimedwait, &all_signals, &info, i > 0 ? &none : NULL,
            sizeof all_signals) <= 0)
      return;
    hand_on(p, &info);
  }
}

/* Stops init when its program has stopped, so that the shell takes its terminal
   back. SIGCONT is handed on. Not for a SIGSTOP from elsewhere: who sends that
   continues the program and knows nothing of init. Pid 1 cannot be stopped. */
static void stop_along(const struct program *p, int signal) {
  if (signal != SIGSTOP || p->to_sleep)
    SYS(__NR_kill, SYS(__NR_getpid, 0), SIGSTOP);
}

/* Reaps all who have ended, until the program has. */
static void reap(struct program *p) {
  int status;
  long pid;
  while (p->code < 0 &&
         (pid = SYS(__NR_wait4, -1, &status, WNOHANG | WUNTRACED, NULL)) > 0) {
    int signal = status & 0x7f, above = status >> 8 & 0xff;
    if (pid != p->pid)
      continue;
    if (signal == 0x7f)
      stop_along(p, above);
    else
      p->code = signal != 0 ? 128 + signal : above;
  }
}

void init(const char *file, char **argv, char **envp) {
  struct program program = {.code = -1, .to_sleep = false};
  program.pid = start(file, argv, envp);
  for (;;) {
    reap(&program);
    if (program.code >= 0)
      sys_exit(program.code);
    take_signals(&program);
  }
}
