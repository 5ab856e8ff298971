/* ending.c - how a process that this library owns ends: by a signal, and what
   it leaves of its terminal. */
#include "ending.h"

#include "io.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 2 }; /* seconds that children have, after the hooks' */

static struct {
  int number;
  bool owned, ignored;
} signals[] = {
    {SIGINT, false, false}, {SIGTERM, false, false}, {SIGHUP, false, false}};

enum { SIGNALS = sizeof signals / sizeof *signals };

static bool owner; /* the signals are ours */
static int wake = -1;
static atomic_int held, noted;
static atomic_int hooks_patience; /* seconds; 0: there are no hooks */
static atomic_int interrupts;     /* how many SIGINTs have come */
static atomic_bool terminal;
static time_t noted_at;
static int terminal_fd = -1; /* of the terminal whose state is kept */
static struct termios terminal_state;

/* Tells whether our output goes to another program. That may be one that works
   with the terminal too, and longer than us, in our process group: a pager. */
static bool is_piped(void) {
  struct stat st;
  return fstat(STDOUT_FILENO, &st) == 0 &&
         (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

void orr_ending_keep_terminal(void) {
  if (is_piped())
    return;
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && terminal_fd < 0; fd++)
    if (tcgetattr(fd, &terminal_state) == 0)
      terminal_fd = fd;
}

/* Tells whether a living process group of others has the terminal. */
static bool is_in_background(void) {
  pid_t group = tcgetpgrp(terminal_fd);
  return group > 0 && group != getpgrp() &&
         (kill(-group, 0) == 0 || errno != ESRCH);
}

/* If the group that had the terminal has gone, SIGTTOU would still stop us. */
void orr_ending_restore_terminal(void) {
  sigset_t stop, mask;
  if (terminal_fd < 0 || is_in_background())
    return;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTTOU);
  sigprocmask(SIG_BLOCK, &stop, &mask);
  tcsetattr(terminal_fd, TCSANOW, &terminal_state);
  sigprocmask(SIG_SETMASK, &mask, NULL);
}

void orr_end_by(int signal) {
  struct sigaction action;
  sigset_t set;
  orr_ending_restore_terminal();
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, NULL);
  sigemptyset(&set);
  sigaddset(&set, signal);
  kill(getpid(), signal);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  _exit(128 + signal); /* pid 1 is not ended by its own signals */
}

static time_t seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

/* Notes a signal, if it is the first one and there is a child to wait for. */
static bool note(int signal, bool from_terminal) {
  const uint64_t one = 1;
  int none = 0, saved = errno;
  if (wake < 0 || held == 0 || noted != 0)
    return false;
  noted_at = seconds();
  if (!atomic_compare_exchange_strong(&noted, &none, signal))
    return false;
  terminal = from_terminal;
  orr_write(wake, &one, sizeof one);
  errno = saved;
  return true;
}

/* Counts SIGINTs. Tells whether this is one, and not the first: a user's second
   Ctrl-C always ends us. */
static bool is_insisted_on(int signal) {
  return signal == SIGINT && atomic_fetch_add(&interrupts, 1) > 0;
}

/* Tells whether hooks and children have had their time, and something blocks
   the loop that would have ended us. */
static bool is_overdue(void) {
  return seconds() - noted_at >= PATIENCE + hooks_patience;
}

/* A signal of another kind than the noted one adds nothing: who sends SIGTERM
   after SIGINT asks for the same. While hooks have time, a supervisor's second
   SIGTERM adds nothing either. */
static void on_signal(int signal, siginfo_t *info, void *context) {
  bool insisted_on = is_insisted_on(signal);
  (void)context;
  if (!note(signal, info->si_code == SI_KERNEL) &&
      (noted == 0 || insisted_on ||
       (noted == signal && (hooks_patience == 0 || is_overdue()))))
    orr_end_by(signal);
}

/* An output may be written again and again before anything else is done, so it
   is time that tells whether the children had theirs. */
void orr_ending_note(int signal) {
  bool insisted_on = is_insisted_on(signal);
  if (owner && !note(signal, false) &&
      (noted == 0 || insisted_on || is_overdue()))
    orr_end_by(signal);
}

static void install(int signal, struct sigaction *old) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, old);
}

void orr_ending_own(bool (*foreign)(void (*handler)(int))) {
  struct sigaction old;
  if (owner)
    return;
  owner = true;
  for (int i = 0; i < SIGNALS; i++) {
    install(signals[i].number, &old);
    signals[i].ignored = old.sa_handler == SIG_IGN;
    signals[i].owned = old.sa_handler == SIG_DFL ||
                       (!signals[i].ignored && !foreign(old.sa_handler));
    if (!signals[i].owned)
      sigaction(signals[i].number, &old, NULL);
  }
}

void orr_ending_own_again(int signal) {
  struct sigaction now;
  for (int i = 0; i < SIGNALS; i++)
    if (signals[i].number == signal && signals[i].owned &&
        sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
      install(signal, NULL);
}

bool orr_ending_ignores(int signal) {
  for (int i = 0; i < SIGNALS; i++)
    if (signals[i].number == signal)
      return signals[i].ignored;
  return false;
}

int orr_ending_fd(void) {
  if (!owner)
    return -ECANCELED;
  if (wake < 0)
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return wake < 0 ? -errno : wake;
}

void orr_ending_hold(int change) {
  held += change;
  if (held == 0 && noted != 0)
    orr_end_by(noted);
}

void orr_ending_hold_for(int patience) {
  int before = atomic_exchange(&hooks_patience, patience);
  if ((before != 0) != (patience != 0))
    orr_ending_hold(patience != 0 ? 1 : -1);
}

int orr_ending_noted(bool *from_terminal) {
  *from_terminal = terminal;
  return noted;
}
