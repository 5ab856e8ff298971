/* jobs.c - requests of the engine, while they are done. */
#include "jobs.h"

#include <asm/signal.h>
#include <linux/eventpoll.h>
#include <linux/socket.h>

enum {
  EVENTS = 64,
  AGAIN = 200,    /* ms until another look while members do not end */
  CHECK = 10,     /* ms between looks at members without a pidfd */
  GIVE_UP = 5000, /* ms in which SIGKILL has ended no member */
  DONTWAIT = 0x40,
  TRUNC = 0x20, /* of recv: the length that the message had */
  NOSIGNAL = 0x4000,
};

struct job {
  bool active, killing;
  struct request request;
  struct family family;
  int64_t due, last; /* when to kill (again); when to give up */
  int before;        /* members that lived when `last` was set */
  uint32_t living, forced;
};

static struct job *job_at(struct jobs *jobs, int place) {
  return (struct job *)jobs->list.data + place;
}

void jobs_watch(struct jobs *jobs, int fd, uint32_t tag) {
  struct epoll_event event = {EPOLLIN, (uint64_t)tag << 32};
  if (SYS(__NR_epoll_ctl, jobs->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
    sys_exit(1);
}

void jobs_begin(struct jobs *jobs, int socket, int kept) {
  memset(jobs, 0, sizeof *jobs);
  jobs->socket = socket;
  jobs->kept = kept;
  jobs->epoll = (int)SYS(__NR_epoll_create1, O_CLOEXEC);
  if (jobs->epoll < 0)
    sys_exit(1);
  jobs_watch(jobs, socket, TAG_SOCKET);
}

void jobs_send(struct jobs *jobs, const void *data, size_t size) {
  if (jobs->socket >= 0)
    SYS(__NR_sendto, jobs->socket, data, size, NOSIGNAL, NULL, 0);
}

/* Ends a job, and tells the engine. */
static void finish(struct jobs *jobs, struct job *job) {
  struct done done = {REPLY_DONE, job->request.id, job->living, job->forced, 0,
                      {0}};
  const struct member *m = job->family.members.data;
  for (int i = 0; i < job->family.count && done.count < MOST_LEFT; i++)
    if (m[i].living)
      done.left[done.count++] = m[i].pid;
  jobs_send(jobs, &done,
            offsetof(struct done, left) + done.count * sizeof *done.left);
  jobs->emptied |= job->request.op == OP_END && job->family.living == 0;
  family_end(&job->family);
  job->active = false;
  jobs->active--;
}

/* Kills what there is, and says when to look again. */
static void force(struct job *job) {
  job->forced += (uint32_t)family_kill(&job->family);
  int64_t now = sys_now();
  if (!job->killing || job->family.living != job->before)
    job->last = now + GIVE_UP;
  job->before = job->family.living;
  job->killing = true;
  job->due = now + AGAIN;
}

/* Does what is due of a job. Nothing that is known may be left when it ends,
   and another look must find nothing. */
static void step(struct jobs *jobs, struct job *job) {
  int64_t now = sys_now();
  struct family *f = &job->family;
  family_check(f);
  if (f->living == f->denied) {
    family_look(f);
    if (f->living == f->denied)
      return finish(jobs, job);
    if (job->killing)
      return force(job);
  }
  if (now < job->due)
    return;
  if (job->killing && now >= job->last)
    return finish(jobs, job);
  force(job);
}

/* Returns a free place for a job; NULL: there is no memory. */
static struct job *free_job(struct jobs *jobs, uint32_t *place) {
  for (int i = 0; i < jobs->places; i++)
    if (!job_at(jobs, i)->active) {
      *place = (uint32_t)i;
      return job_at(jobs, i);
    }
  *place = (uint32_t)jobs->places;
  if (!vector_grow(&jobs->list,
                   ((size_t)jobs->places + 1) * sizeof(struct job)))
    return NULL;
  return job_at(jobs, jobs->places++);
}

void jobs_start(struct jobs *jobs, const struct request *r) {
  uint32_t place;
  struct job *job = free_job(jobs, &place);
  if (job == NULL)
    return;
  struct request request = *r;
  if (jobs->kept > 0)
    request.root = jobs->kept;
  memset(job, 0, sizeof *job);
  job->request = request;
  job->active = true;
  jobs->active++;
  family_begin(&job->family, &request, jobs->kept > 0, jobs->epoll, place);
  if (request.op == OP_END && request.signal == SIGKILL)
    return force(job);
  job->living = (uint32_t)family_signal(&job->family, request.signal);
  if (request.op == OP_END) {
    if (request.signal != 0)
      family_continue(&job->family);
    job->due = sys_now() + request.grace;
  } else {
    finish(jobs, job);
  }
}

/* Shortens the grace of a request that is under way; false: none is. */
static bool hurry(struct jobs *jobs, const struct request *r) {
  for (int i = 0; i < jobs->places; i++) {
    struct job *job = job_at(jobs, i);
    if (job->active && job->request.id == r->id) {
      int64_t due = sys_now() + r->grace;
      if (!job->killing && due < job->due)
        job->due = due;
      return true;
    }
  }
  return false;
}

/* Takes one message of `n` bytes; what is no request is not looked at. */
static void take_request(struct jobs *jobs, struct request *r, size_t n) {
  if (n != sizeof *r)
    return;
  r->mark[MARK - 1] = '\0';
  if (r->op == OP_PROGRAM && jobs->program > 0)
    SYS(__NR_kill, jobs->program, r->signal);
  else if ((r->op == OP_SIGNAL || r->op == OP_END) && !hurry(jobs, r))
    jobs_start(jobs, r);
}

/* Takes requests until there is none; the end of the socket is the engine's. */
static void take_requests(struct jobs *jobs) {
  struct request r;
  long n;
  while ((n = SYS(__NR_recvfrom, jobs->socket, &r, sizeof r, DONTWAIT | TRUNC,
                  NULL, NULL)) > 0)
    take_request(jobs, &r, (size_t)n);
  if (n == -EAGAIN || n == -EINTR)
    return;
  sys_close(jobs->socket);
  jobs->socket = -1;
}

/* Returns how long to wait for events: until something is due. */
static int wait_time(const struct jobs *jobs, int ms) {
  const struct job *list = jobs->list.data;
  int64_t now = sys_now(), wait = ms;
  for (int i = 0; i < jobs->places; i++) {
    if (!list[i].active)
      continue;
    int64_t left = list[i].due > now ? list[i].due - now : 0;
    if (list[i].family.unwatched > 0 && left > CHECK)
      left = CHECK;
    if (wait < 0 || left < wait)
      wait = left;
  }
  return wait > INT32_MAX ? INT32_MAX : (int)wait;
}

bool jobs_wait(struct jobs *jobs, int ms) {
  struct epoll_event events[EVENTS];
  bool child = false;
  long n = SYS(__NR_epoll_pwait, jobs->epoll, events, EVENTS,
               wait_time(jobs, ms), NULL, 8);
  for (long i = 0; i < n; i++) {
    uint32_t tag = (uint32_t)(events[i].data >> 32);
    if (tag == TAG_SOCKET)
      take_requests(jobs);
    else if (tag == TAG_CHILD)
      child = true;
    else if ((int)tag < jobs->places && job_at(jobs, (int)tag)->active)
      family_gone(&job_at(jobs, (int)tag)->family,
                  (int)(uint32_t)events[i].data);
  }
  for (int i = 0; i < jobs->places; i++)
    if (job_at(jobs, i)->active)
      step(jobs, job_at(jobs, i));
  return child;
}
