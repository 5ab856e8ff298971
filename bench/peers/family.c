/*
** family.c - families of processes: to be ended, and ended in C.
**
**   family live COUNT
**     COUNT processes without a living parent, each in a session of its own, as
**     daemons are. Prints "ready" when all are there.
**   family end COUNT [CGROUP]
**     Starts the same and ends it: in a directory that is made in CGROUP, a
**     writable one of cgroup v2, by cgroup.kill; without, by kill(2) of all
**     pids, which are known here. Prints CPU of this process and wall time, in
**     ms, from then until all are gone.
**   family crowd COUNT PROGRAM [ARG...]
**     Runs a program while there are COUNT others, no relatives of its.
**
** Whoever is left over ends after ALARM seconds.
*/
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ALARM = 300, PATH = 512 };

static _Noreturn void die(const char *what) {
  fprintf(stderr, "family: %s: %s\n", what, strerror(errno));
  exit(1);
}

static _Noreturn void rest(void) {
  for (;;)
    pause();
}

static pid_t fork_or_die(void) {
  pid_t pid = fork();
  if (pid < 0)
    die("fork");
  if (pid == 0)
    alarm(ALARM);
  return pid;
}

/* Starts the members; their pids go into `pids`, which is shared memory. */
static void start_members(int count, pid_t *pids) {
  for (int i = 0; i < count; i++) {
    pid_t pid = fork_or_die();
    if (pid > 0) {
      waitpid(pid, NULL, 0);
      continue;
    }
    setsid();
    pid = fork_or_die();
    if (pid == 0)
      rest();
    pids[i] = pid;
    _exit(0);
  }
}

static pid_t *shared_pids(int count) {
  pid_t *pids = mmap(NULL, (size_t)count * sizeof *pids, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (pids == MAP_FAILED)
    die("mmap");
  return pids;
}

static void live(int count) {
  alarm(ALARM);
  start_members(count, shared_pids(count));
  puts("ready");
  fflush(stdout);
  rest();
}

/* Ending ------------------------------------------------------------------- */

static const char *in(const char *directory, const char *name) {
  static char path[PATH + 32];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0)
    die(path);
  close(fd);
}

static void end_cgroup(const char *directory) {
  char text[256];
  int events = open(in(directory, "cgroup.events"), O_RDONLY | O_CLOEXEC);
  if (events < 0)
    die("cgroup.events");
  write_file(in(directory, "cgroup.kill"), "1");
  for (;;) {
    struct pollfd wait = {events, POLLPRI, 0};
    ssize_t n = pread(events, text, sizeof text - 1, 0);
    if (n < 0)
      die("cgroup.events");
    text[n] = '\0';
    if (strstr(text, "populated 0") != NULL)
      break;
    poll(&wait, 1, -1);
  }
  close(events);
}

static void end_pids(const pid_t *pids, int count, pid_t first) {
  kill(first, SIGKILL);
  for (int i = 0; i < count; i++)
    kill(pids[i], SIGKILL);
  while (wait(NULL) > 0)
    ;
}

static double cpu_ms(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return 1e3 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static double wall_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * (double)t.tv_sec + (double)t.tv_nsec / 1e6;
}

/* Starts a family, in a cgroup if there is one. Returns its first process once
   all are there. */
static pid_t start_family(int count, pid_t *pids, const char *directory) {
  int ready[2];
  char byte = 0;
  if (pipe(ready) < 0)
    die("pipe");
  pid_t first = fork_or_die();
  if (first == 0) {
    if (directory != NULL)
      write_file(in(directory, "cgroup.procs"), "0");
    start_members(count, pids);
    if (write(ready[1], &byte, 1) < 0)
      die("write");
    rest();
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1)
    die("the family did not start");
  return first;
}

static void end(int count, const char *cgroup) {
  static char directory[PATH];
  pid_t *pids = shared_pids(count);
  if (cgroup != NULL) {
    snprintf(directory, sizeof directory, "%s/bench.%d", cgroup, getpid());
    if (mkdir(directory, 0755) < 0)
      die(directory);
  } else {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  pid_t first = start_family(count, pids, cgroup != NULL ? directory : NULL);
  double wall = wall_ms(), cpu = cpu_ms();
  if (cgroup != NULL)
    end_cgroup(directory);
  else
    end_pids(pids, count, first);
  printf("wall_ms %.3f\n", wall_ms() - wall);
  printf("cpu_ms %.3f\n", cpu_ms() - cpu);
  if (cgroup != NULL) {
    waitpid(first, NULL, 0);
    rmdir(directory);
  }
}

/* Others ------------------------------------------------------------------- */

/* Starts a process that has `count` children, in a group of their own. */
static pid_t start_crowd(int count) {
  int ready[2];
  char byte = 0;
  if (pipe(ready) < 0)
    die("pipe");
  pid_t pid = fork_or_die();
  if (pid == 0) {
    setpgid(0, 0);
    for (int i = 0; i < count; i++)
      if (fork_or_die() == 0)
        rest();
    if (write(ready[1], &byte, 1) < 0)
      die("write");
    rest();
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1)
    die("the others did not start");
  close(ready[0]);
  return pid;
}

static int crowd(int count, char **argv) {
  int status = 1;
  pid_t others = start_crowd(count);
  pid_t pid = fork();
  if (pid == 0) {
    execvp(argv[0], argv);
    _exit(127);
  }
  waitpid(pid, &status, 0);
  kill(-others, SIGKILL);
  waitpid(others, NULL, 0);
  return status == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
  const char *what = argc > 2 ? argv[1] : "";
  int count = argc > 2 ? atoi(argv[2]) : 0;
  if (strcmp(what, "live") == 0)
    live(count);
  if (strcmp(what, "end") == 0)
    end(count, argc > 3 ? argv[3] : NULL);
  if (strcmp(what, "crowd") == 0 && argc > 3)
    return crowd(count, argv + 3);
  return what[0] == '\0' ? 2 : 0;
}
