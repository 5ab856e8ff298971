/*
** exec.c - what exec("echo hi") costs in C: /bin/sh -c, its output read to the
** end, its exit awaited. One after the other.
**
**   exec COUNT pipe|loop
**
** pipe: a pipe for stdout and calls that block, the least there can be. loop:
** what exec has to do in an event loop, which is pipes for stdin, stdout and
** stderr, and an epoll set of those and of a pidfd. Prints CPU time of this
** process in us for each.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3 /* glibc has it since 2.36 */
#endif

/* What one child wrote to stdout. */
struct output {
  char text[64];
  size_t size;
};

static int epoll;

static _Noreturn void die(const char *what) {
  fprintf(stderr, "exec: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* Starts the shell. `fds` become its own from 0 on; -1 leaves it ours. */
static __attribute__((noinline)) pid_t launch(const int *fds) {
  pid_t pid = vfork();
  if (pid < 0)
    die("vfork");
  if (pid > 0)
    return pid;
  for (int fd = 0; fd <= 2; fd++)
    if (fds[fd] >= 0)
      dup2(fds[fd], fd);
  execl("/bin/sh", "/bin/sh", "-c", "echo hi", (char *)NULL);
  _exit(127);
}

/* Reads once. Returns false at the end, with errno 0, and if there is nothing
   yet, with EAGAIN. */
static int take(int fd, struct output *out) {
  ssize_t n = read(fd, out->text + out->size, sizeof out->text - out->size);
  if (n > 0)
    out->size += (size_t)n;
  else
    errno = n == 0 ? 0 : errno;
  return n > 0;
}

static void run_pipe(struct output *out) {
  int ends[2], status;
  if (pipe2(ends, O_CLOEXEC) < 0)
    die("pipe");
  pid_t pid = launch((int[]){-1, ends[1], -1});
  close(ends[1]);
  while (take(ends[0], out))
    ;
  close(ends[0]);
  if (waitpid(pid, &status, 0) != pid || status != 0)
    die("waitpid");
}

/* Makes three pipes. Our ends come into `ours`, the child's into `theirs`. */
static void open_pipes(int *ours, int *theirs) {
  for (int fd = 0; fd <= 2; fd++) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
      die("pipe");
    ours[fd] = ends[fd == 0];
    theirs[fd] = ends[fd != 0];
    if (fcntl(ours[fd], F_SETFL, O_NONBLOCK) < 0)
      die("fcntl");
  }
}

static void watch(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
    die("epoll_ctl");
}

/* Reaps the child of a pidfd and returns true. */
static int reap(int pidfd) {
  siginfo_t info;
  if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0)
    die("waitid");
  return 1;
}

static int at_end(int fd, struct output *out) {
  while (take(fd, out))
    ;
  return errno != EAGAIN;
}

static void run_loop(struct output *out) {
  int ours[3], theirs[3], left = 3;
  struct output errors = {.size = 0};
  open_pipes(ours, theirs);
  pid_t pid = launch(theirs);
  for (int fd = 0; fd <= 2; fd++)
    close(theirs[fd]);
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  watch(ours[1]);
  watch(ours[2]);
  watch(pidfd);
  while (left > 0) {
    struct epoll_event events[3];
    int n = epoll_wait(epoll, events, 3, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == pidfd ? reap(fd) : at_end(fd, fd == ours[1] ? out : &errors)) {
        close(fd);
        left--;
      }
    }
  }
  close(ours[0]);
}

static void run(long count, void (*once)(struct output *)) {
  for (long i = 0; i < count; i++) {
    struct output out = {.size = 0};
    once(&out);
    if (out.size != 3 || memcmp(out.text, "hi\n", 3) != 0) {
      fprintf(stderr, "exec: wrong output\n");
      exit(1);
    }
  }
}

static double cpu_us(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: exec COUNT pipe|loop\n");
    return 2;
  }
  long count = atol(argv[1]);
  void (*once)(struct output *) =
      strcmp(argv[2], "loop") == 0 ? run_loop : run_pipe;
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0)
    die("epoll");
  run(count / 10 + 1, once);
  double begun = cpu_us();
  run(count, once);
  printf("cpu_us_per_op %.3f\n", (cpu_us() - begun) / (double)count);
  return 0;
}
