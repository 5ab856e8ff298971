/* keep.c - keeps one family: is its ancestor, to whom all of its orphans come,
   so that none of them can get lost; and `serve`, which watches the groups that
   are families, and ends other families by looking for their members. */
#include "jobs.h"

#include "orphans.h"

#include <asm/signal.h>
#include <linux/resource.h>
#include <linux/wait.h>

static uint64_t microseconds(const struct __kernel_old_timeval *t) {
  return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec;
}

static struct usage usage_of(const struct rusage *u) {
  return (struct usage){microseconds((const void *)&u->ru_utime),
                        microseconds((const void *)&u->ru_stime),
                        (uint64_t)u->ru_maxrss,
                        (uint64_t)u->ru_minflt,
                        (uint64_t)u->ru_majflt,
                        (uint64_t)u->ru_inblock,
                        (uint64_t)u->ru_oublock,
                        (uint64_t)u->ru_nvcsw,
                        (uint64_t)u->ru_nivcsw};
}

/* Takes in all who have ended. If nobody lives any more, others are not waited
   for: they are for who traces them. */
static void reap(struct jobs *jobs) {
  struct rusage u;
  int status;
  long pid;
  while ((pid = SYS(__NR_wait4, -1, &status, WNOHANG, &u)) > 0) {
    jobs->reaped++;
    if (pid != jobs->program)
      continue;
    jobs->program = 0;
    struct ended ended = {REPLY_EXIT, (int32_t)pid, status, 0, usage_of(&u)};
    jobs_send(jobs, &ended, sizeof ended);
  }
  jobs->childless = pid == -ECHILD || (pid == 0 && jobs->emptied);
}

/* Returns an fd that is readable once a child has ended. */
static int child_signals(void) {
  uint64_t mask = 1ULL << (SIGCHLD - 1);
  return (int)SYS(__NR_signalfd4, -1, &mask, sizeof mask,
                  O_CLOEXEC | O_NONBLOCK);
}

void keep(int socket, int program, bool die) {
  struct jobs jobs;
  char infos[4 * 128];
  int signals = child_signals();
  jobs_begin(&jobs, socket, (int)SYS(__NR_getpid, 0));
  jobs_watch(&jobs, signals, TAG_CHILD);
  jobs.program = program;
  bool ending = false;
  for (reap(&jobs); !jobs.childless || jobs.active > 0; reap(&jobs)) {
    if (jobs_wait(&jobs))
      sys_read(signals, infos, sizeof infos);
    reap(&jobs);
    jobs_step(&jobs);
    if (jobs.socket < 0 && die && !ending) {
      const struct request all = {.op = OP_END, .signal = SIGKILL};
      ending = true;
      jobs_start(&jobs, &all);
    }
  }
  struct rusage u;
  SYS(__NR_getrusage, RUSAGE_CHILDREN, &u);
  struct ended empty = {REPLY_EMPTY, program, 0, 0, usage_of(&u)};
  jobs_send(&jobs, &empty, sizeof empty);
  sys_exit(0);
}

void serve(int socket) {
  struct jobs jobs;
  orphans_begin();
  SYS(__NR_setsid, 0); /* which the scheduler may give a share of its own */
  jobs_begin(&jobs, socket, 0);
  while (jobs.socket >= 0 || jobs.active > 0 || jobs.groups.count > 0) {
    jobs_wait(&jobs);
    jobs_step(&jobs);
  }
  sys_exit(0);
}
