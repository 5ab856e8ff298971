/*
** own_cpu.c - the CPU time of a whole program, without that of its children:
** its clock is read once it has ended and before it is reaped.
**
**   own_cpu PROGRAM [ARG...]
**
** Its stdout is ignored. Prints its CPU time in ms.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void die(const char *what, int error) {
  fprintf(stderr, "own_cpu: %s: %s\n", what, strerror(error));
  exit(1);
}

static __attribute__((noinline)) pid_t launch(char **argv, int out) {
  pid_t pid = vfork();
  if (pid != 0)
    return pid;
  dup2(out, 1);
  execvp(argv[0], argv);
  _exit(127);
}

/* Also of a process that has ended, until it is reaped. */
static double cpu_ms(pid_t pid) {
  struct timespec t;
  clockid_t id;
  int error = clock_getcpuclockid(pid, &id);
  if (error != 0)
    die("clock_getcpuclockid", error);
  if (clock_gettime(id, &t) < 0)
    die("clock_gettime", errno);
  return 1e3 * (double)t.tv_sec + (double)t.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  siginfo_t info;
  if (argc < 2) {
    fprintf(stderr, "usage: own_cpu PROGRAM [ARG...]\n");
    return 2;
  }
  pid_t pid = launch(argv + 1, open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (pid < 0)
    die("vfork", errno);
  if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
    die("waitid", errno);
  double cpu = cpu_ms(pid);
  waitpid(pid, NULL, 0);
  if (info.si_code != CLD_EXITED || info.si_status != 0) {
    fprintf(stderr, "own_cpu: %s failed\n", argv[1]);
    return 1;
  }
  printf("cpu_ms %.3f\n", cpu);
  return 0;
}
