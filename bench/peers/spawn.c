/*
** spawn.c - what a start costs in C: vfork, a pidfd in an epoll set, waitid.
** One program after the other, stdio ignored.
**
**   spawn COUNT HEAP_MIB ALIVE SLEEPER PROGRAM [ARG...]
**
** HEAP_MIB: memory that is touched first. ALIVE: how many of SLEEPER are alive
** meanwhile. Prints CPU time of this process and of the children, and wall
** time, in us for each start.
*/
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3 /* glibc has it since 2.36 */
#endif

extern char **environ;

struct child {
  pid_t pid;
  int pidfd;
};

static int epoll, null_fd;

static _Noreturn void die(const char *what) {
  fprintf(stderr, "spawn: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* A function of its own: nothing of the caller's lives across vfork. */
static __attribute__((noinline)) pid_t launch(char **argv) {
  pid_t pid = vfork();
  if (pid != 0)
    return pid;
  for (int fd = 0; fd <= 2; fd++)
    dup2(null_fd, fd);
  execve(argv[0], argv, environ);
  _exit(127);
}

static void start(struct child *child, char **argv) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = child};
  child->pid = launch(argv);
  if (child->pid < 0)
    die("vfork");
  child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
  if (child->pidfd < 0)
    die("pidfd_open");
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, child->pidfd, &event) < 0)
    die("epoll_ctl");
}

static void reap_one(void) {
  struct epoll_event event;
  siginfo_t info;
  if (epoll_wait(epoll, &event, 1, -1) != 1)
    die("epoll_wait");
  const struct child *child = event.data.ptr;
  if (waitid((idtype_t)P_PIDFD, (id_t)child->pidfd, &info, WEXITED) < 0)
    die("waitid");
  if (info.si_code == CLD_EXITED && info.si_status == 127) {
    fprintf(stderr, "spawn: the program did not start\n");
    exit(1);
  }
  close(child->pidfd);
}

static void run(long count, char **argv) {
  struct child child;
  for (long i = 0; i < count; i++) {
    start(&child, argv);
    reap_one();
  }
}

static void fill_heap(size_t mib) {
  char *heap = malloc(mib << 20);
  if (heap == NULL)
    die("malloc");
  memset(heap, 1, mib << 20);
  __asm__ volatile("" : : "r"(heap) : "memory"); /* keeps it */
}

static struct child *start_sleepers(long n, char *program) {
  struct child *all = calloc((size_t)n + 1, sizeof *all);
  char sleep[] = "sleep", *argv[] = {program, sleep, NULL};
  if (all == NULL)
    die("calloc");
  for (long i = 0; i < n; i++)
    start(&all[i], argv);
  return all;
}

static void end_sleepers(struct child *all, long n) {
  for (long i = 0; i < n; i++)
    kill(all[i].pid, SIGKILL);
  for (long i = 0; i < n; i++)
    reap_one();
  free(all);
}

static double cpu_us(int who) {
  struct rusage u;
  getrusage(who, &u);
  return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double wall_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e6 * (double)t.tv_sec + (double)t.tv_nsec / 1e3;
}

static void measure(long count, char **argv) {
  double wall, cpu, child_cpu;
  run(count / 10 + 1, argv);
  wall = wall_us();
  cpu = cpu_us(RUSAGE_SELF);
  child_cpu = cpu_us(RUSAGE_CHILDREN);
  run(count, argv);
  wall = wall_us() - wall;
  cpu = cpu_us(RUSAGE_SELF) - cpu;
  child_cpu = cpu_us(RUSAGE_CHILDREN) - child_cpu;
  printf("cpu_us_per_op %.3f\n", cpu / (double)count);
  printf("child_cpu_us_per_op %.3f\n", child_cpu / (double)count);
  printf("all_cpu_us_per_op %.3f\n", (cpu + child_cpu) / (double)count);
  printf("wall_us_per_op %.3f\n", wall / (double)count);
  printf("per_second %.1f\n", 1e6 * (double)count / wall);
}

int main(int argc, char **argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: spawn COUNT HEAP_MIB ALIVE SLEEPER PROGRAM...\n");
    return 2;
  }
  long count = atol(argv[1]), alive = atol(argv[3]);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (epoll < 0 || null_fd < 0)
    die("open");
  if (atol(argv[2]) > 0)
    fill_heap((size_t)atol(argv[2]));
  struct child *sleepers = start_sleepers(alive, argv[4]);
  measure(count, argv + 5);
  end_sleepers(sleepers, alive);
  return 0;
}
