/*
** read.c - what reading a child's output costs in C: a pipe of 256 KiB, epoll,
** read into one buffer of 64 KiB.
**
**   read BYTES PROGRAM [ARG...]
**
** Prints CPU time of this process in ms for each GiB.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIPE_SIZE = 256 * 1024, BUFFER = 64 * 1024 };

extern char **environ;

static _Noreturn void die(const char *what) {
  fprintf(stderr, "read: %s: %s\n", what, strerror(errno));
  exit(1);
}

static __attribute__((noinline)) pid_t launch(char **argv, int out) {
  pid_t pid = vfork();
  if (pid != 0)
    return pid;
  dup2(out, 1);
  execve(argv[0], argv, environ);
  _exit(127);
}

/* Reads to the end. Returns how many bytes came. */
static long long drain(int fd) {
  static char buffer[BUFFER];
  struct epoll_event event = {.events = EPOLLIN};
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  long long total = 0;
  if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
    die("epoll");
  for (;;) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n == 0)
      return total;
    if (n > 0)
      total += n;
    else if (errno != EAGAIN)
      die("read");
    else if (epoll_wait(epoll, &event, 1, -1) < 0)
      die("epoll_wait");
  }
}

static double cpu_ms(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return 1e3 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

int main(int argc, char **argv) {
  int fds[2];
  if (argc < 3) {
    fprintf(stderr, "usage: read BYTES PROGRAM [ARG...]\n");
    return 2;
  }
  double begun = cpu_ms();
  if (pipe2(fds, O_CLOEXEC) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
    die("pipe");
  fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE);
  pid_t pid = launch(argv + 2, fds[1]);
  if (pid < 0)
    die("vfork");
  close(fds[1]);
  long long total = drain(fds[0]);
  waitpid(pid, NULL, 0);
  if (total != atoll(argv[1])) {
    fprintf(stderr, "read: got %lld bytes\n", total);
    return 1;
  }
  printf("cpu_ms_per_gib %.3f\n",
         (cpu_ms() - begun) / ((double)total / (1 << 30)));
  return 0;
}
