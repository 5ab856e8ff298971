/* reaper.c - epoll over pidfds, waitid with the child's resource usage. */
#include "reaper.h"

#include "io.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int orr_reaper_open(struct orr_reaper *r) {
  struct sigaction action;
  memset(r, 0, sizeof *r);
  r->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (r->epoll < 0)
    return -errno;
  if (sigaction(SIGCHLD, NULL, &action) == 0 &&
      (action.sa_handler == SIG_IGN || (action.sa_flags & SA_NOCLDWAIT))) {
    if (action.sa_handler == SIG_IGN)
      action.sa_handler = SIG_DFL;
    action.sa_flags &= ~SA_NOCLDWAIT;
    sigaction(SIGCHLD, &action, NULL);
  }
  return 0;
}

void orr_reaper_close(struct orr_reaper *r) {
  if (r->epoll >= 0)
    close(r->epoll);
  r->epoll = -1;
  r->list = r->cursor = NULL;
  r->count = r->at = 0;
}

static void link_child(struct orr_reaper *r, struct orr_child *child) {
  child->prev = NULL;
  child->next = r->list;
  if (r->list != NULL)
    r->list->prev = child;
  r->list = child;
}

static void unlink_child(struct orr_reaper *r, struct orr_child *child) {
  if (child->prev != NULL)
    child->prev->next = child->next;
  else
    r->list = child->next;
  if (child->next != NULL)
    child->next->prev = child->prev;
  child->next = child->prev = NULL;
}

int orr_reaper_watch(struct orr_reaper *r, struct orr_child *child) {
  /* Edge-triggered: a dead child whose tracer has not let go of it is ready and
     cannot be reaped, and would keep us spinning. */
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = child};
  if (child->pidfd < 0)
    link_child(r, child);
  else if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, child->pidfd, &event) < 0)
    return -errno;
  child->running = true;
  return 0;
}

/* Asks for the end of a child. Returns 0, with info->si_pid 0 if it still runs;
   -ECHILD: other code of this process has taken its status. */
static int wait_child(struct orr_child *child, siginfo_t *info) {
  idtype_t type = child->pidfd >= 0 ? (idtype_t)P_PIDFD : P_PID;
  id_t id = (id_t)(child->pidfd >= 0 ? child->pidfd : child->pid);
  memset(info, 0, sizeof *info);
  return orr_waitid(type, id, info, WEXITED | WNOHANG, &child->usage);
}

/* Closes the pidfd, but takes it out of the set before: a child that is just
   being started may still hold a copy, and then closing alone would leave a
   stale entry. */
static void release_pidfd(struct orr_reaper *r, struct orr_child *child) {
  epoll_ctl(r->epoll, EPOLL_CTL_DEL, child->pidfd, NULL);
  close(child->pidfd);
  child->pidfd = -1;
}

/* Reaps `child` if it has ended, fills its fields and watches it no longer.
   Returns whether it has ended. */
static bool collect(struct orr_reaper *r, struct orr_child *child) {
  siginfo_t info;
  int rc = wait_child(child, &info);
  if (rc == 0 && info.si_pid == 0)
    return false;
  child->unknown = rc < 0;
  if (rc == 0 && info.si_code == CLD_EXITED)
    child->code = info.si_status;
  else if (rc == 0)
    child->signal = info.si_status;
  child->running = false;
  if (child->pidfd >= 0)
    release_pidfd(r, child);
  else
    unlink_child(r, child);
  return true;
}

/* orr_reaper_next without pidfds: SIGCHLD says that some process ended, and
   each child of ours is asked. The cursor survives between calls, so one round
   asks each once. */
static struct orr_child *next_of_list(struct orr_reaper *r) {
  struct orr_child *child = r->cursor != NULL ? r->cursor : r->list;
  while (child != NULL) {
    struct orr_child *next = child->next;
    if (collect(r, child)) {
      r->cursor = next;
      return child;
    }
    child = next;
  }
  r->cursor = NULL;
  return NULL;
}

struct orr_child *orr_reaper_next(struct orr_reaper *r) {
  for (;;) {
    while (r->at < r->count) {
      struct orr_child *child = r->batch[r->at++].data.ptr;
      if (collect(r, child))
        return child;
    }
    if (r->count > 0 && r->count < ORR_REAPER_BATCH) {
      r->count = r->at = 0; /* that was all; what came since wakes us again */
      break;
    }
    r->at = 0;
    r->count = epoll_wait(r->epoll, r->batch, ORR_REAPER_BATCH, 0);
    if (r->count <= 0) {
      r->count = 0;
      break;
    }
  }
  return r->list != NULL ? next_of_list(r) : NULL;
}

int orr_child_signal(const struct orr_child *child, int signal) {
  if (!child->running)
    return -ESRCH;
  long rc = child->pidfd >= 0
                ? syscall(SYS_pidfd_send_signal, child->pidfd, signal, NULL, 0)
                : kill(child->pid, signal);
  return rc < 0 ? -errno : 0;
}
