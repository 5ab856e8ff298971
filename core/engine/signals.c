/*
** signals.c - the one table of signal names.
**
** luv 1.44 turns an unknown name into signal 0 and reports success, so names
** are turned into numbers here and nowhere else.
*/
#include "signals.h"

#include <signal.h>
#include <stddef.h>

const struct orr_signal orr_signals[] = {
    {"SIGHUP", SIGHUP},   {"SIGINT", SIGINT},
    {"SIGQUIT", SIGQUIT}, {"SIGILL", SIGILL},
    {"SIGTRAP", SIGTRAP}, {"SIGABRT", SIGABRT},
    {"SIGBUS", SIGBUS},   {"SIGFPE", SIGFPE},
    {"SIGKILL", SIGKILL}, {"SIGUSR1", SIGUSR1},
    {"SIGSEGV", SIGSEGV}, {"SIGUSR2", SIGUSR2},
    {"SIGPIPE", SIGPIPE}, {"SIGALRM", SIGALRM},
    {"SIGTERM", SIGTERM}, {"SIGSTKFLT", SIGSTKFLT},
    {"SIGCHLD", SIGCHLD}, {"SIGCONT", SIGCONT},
    {"SIGSTOP", SIGSTOP}, {"SIGTSTP", SIGTSTP},
    {"SIGTTIN", SIGTTIN}, {"SIGTTOU", SIGTTOU},
    {"SIGURG", SIGURG},   {"SIGXCPU", SIGXCPU},
    {"SIGXFSZ", SIGXFSZ}, {"SIGVTALRM", SIGVTALRM},
    {"SIGPROF", SIGPROF}, {"SIGWINCH", SIGWINCH},
    {"SIGIO", SIGIO},     {"SIGPWR", SIGPWR},
    {"SIGSYS", SIGSYS},   {"SIGIOT", SIGABRT},
    {"SIGPOLL", SIGIO},   {NULL, 0},
};

const char *orr_signal_name(int number) {
  for (const struct orr_signal *s = orr_signals; s->name != NULL; s++)
    if (s->number == number)
      return s->name;
  return NULL;
}
