/* jobs.c - requests of the engine, while they are done. */
#include "jobs.h"

#include "orphans.h"
#include "row.h"

#include <asm/signal.h>
#include <linux/eventpoll.h>
#include <linux/socket.h>

enum {
  EVENTS = 64,
  HURRY = 500,  /* ms that the keeper goes before all others */
  AGAIN = 200,  /* ms until another look while members do not end */
  CHECK = 10,   /* ms between looks at members without a pidfd */
  GIVE_UP = 25, /* looks in a row between which SIGKILL has ended nobody */
  FREEZE = 200, /* ms until all members of a group are taken to rest */
  DONTWAIT = 0x40,
  TRUNC = 0x20, /* of recv: the length that the message had */
  NOSIGNAL = 0x4000,
};

/* What comes after a look. */
enum next { SIGNAL, KILL, DECIDE, FINISH };

struct job {
  bool active, killing;
  enum next next;
  bool freezing; /* the members of a group are coming to rest */
  struct request request;
  struct family family;
  int64_t due; /* when to kill, or to look again */
  int before;  /* members that lived then */
  int tries;   /* looks in a row at which as many lived */
  int reaped;  /* those of the keeper when it killed its children */
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
  const struct group *group = group_find(&jobs->groups, job->request.group);
  const struct member *m = job->family.members.data;
  /* Who has been reaped may not have been told of by its pidfd yet. */
  bool none = job->family.kept && jobs->childless;
  int count = none ? 0 : job->family.count;
  for (int i = 0; i < count && done.count < MOST_LEFT; i++)
    if (m[i].living)
      done.left[done.count++] = m[i].pid;
  if (group != NULL && job->killing && group->populated)
    done.count = (uint32_t)group_list(group, done.left, MOST_LEFT);
  jobs_send(jobs, &done,
            offsetof(struct done, left) + done.count * sizeof *done.left);
  jobs->emptied |=
      job->request.op == OP_END && (none || job->family.living == 0);
  family_end(&job->family);
  job->active = false;
  if (--jobs->active == 0)
    sys_hurry(0);
}

/* Notes how many members SIGKILL has been sent to that have not ended yet, and
   when to look again. */
static void note_left(struct job *job, int left) {
  job->tries = job->killing && left == job->before ? job->tries + 1 : 0;
  job->before = left;
  job->killing = true;
  job->due = sys_now() + AGAIN;
}

/* Begins to look for members, all of whom are to get the signal. To decide, one
   is enough: who flees would be found again and again. */
static void look(struct job *job, int signal, bool whole, enum next next) {
  family_look(&job->family, signal, whole, next == DECIDE);
  job->next = next;
}

/* Has killed who was found. */
static void killed(struct jobs *jobs, struct job *job) {
  job->forced += (uint32_t)family_kill(&job->family);
  job->reaped = jobs->reaped;
  note_left(job, job->family.living + job->family.listed);
}

/* Kills what there is. Who would go on by the death of another is stopped
   before that, or an orphan's orphan may get lost. A kept family loses nobody:
   it is looked for only if somebody of it cannot be killed, for what those have
   started. */
static void force(struct jobs *jobs, struct job *job) {
  int sent, denied;
  if (!job->family.kept || !family_kill_row(&job->family, &sent, &denied))
    return look(job, SIGSTOP, true, KILL);
  job->forced += (uint32_t)sent;
  if (denied > 0)
    return look(job, SIGKILL, true, KILL);
  killed(jobs, job);
}

/* Groups ------------------------------------------------------------------- */

/* Sends the signal of a request to a group. Its members rest, or should. */
static void signal_group(struct jobs *jobs, struct job *job, struct group *g) {
  job->living = (uint32_t)group_signal(g, job->request.signal);
  if (job->request.op == OP_END && job->request.signal != 0)
    group_signal(g, SIGCONT);
  if (job->freezing)
    group_freeze(g, false);
  job->freezing = false;
  job->due = sys_now() + job->request.grace;
  if (job->request.op == OP_SIGNAL)
    finish(jobs, job);
}

/* Does what is due of a request for a group, which may be gone. */
static void step_group(struct jobs *jobs, struct job *job) {
  struct group *g = group_find(&jobs->groups, job->request.group);
  int64_t now = sys_now();
  if (g == NULL || !g->populated)
    return finish(jobs, job);
  if (job->freezing) {
    if (g->frozen || now >= job->due)
      signal_group(jobs, job, g);
  } else if (now >= job->due) {
    int left = group_kill(g); /* of thousands, all take a while to end */
    if (!job->killing)
      job->forced = (uint32_t)left;
    note_left(job, left);
    if (job->tries >= GIVE_UP)
      finish(jobs, job);
  }
}

/* Removes a group if all members have ended. */
static void conclude(struct jobs *jobs, struct group *g, uint32_t id) {
  bool gone = jobs->socket < 0 || g->entered;
  if (g->populated || !gone)
    return;
  struct emptied emptied = {.type = REPLY_EMPTIED, .id = id};
  group_usage(g, &emptied);
  if (group_remove(&jobs->groups, g))
    jobs_send(jobs, &emptied, sizeof emptied); /* before what is done by it */
}

/* Takes in the state of a group. */
static void see_to_group(struct jobs *jobs, uint32_t id) {
  struct group *g = group_find(&jobs->groups, id);
  if (g == NULL)
    return;
  group_read(g);
  conclude(jobs, g, id);
}

/* Begins a request for a group, whose child has been started. */
static void start_group(struct jobs *jobs, struct job *job) {
  const struct request *r = &job->request;
  struct group *g = group_find(&jobs->groups, r->group);
  if (g != NULL) {
    g->entered = true;
    see_to_group(jobs, r->group);
    g = group_find(&jobs->groups, r->group);
  }
  if (g == NULL || !g->populated)
    return finish(jobs, job);
  if (r->op == OP_END && (r->signal == SIGKILL || r->grace == 0))
    return step_group(jobs, job);
  job->freezing = r->signal != 0;
  if (!job->freezing)
    return signal_group(jobs, job, g);
  job->due = sys_now() + FREEZE;
  group_freeze(g, true);
}

/* Takes in that the state of a group has changed: somebody has entered it, and
   may have ended by now. */
static void take_event(struct jobs *jobs, uint32_t id) {
  struct group *g = group_find(&jobs->groups, id);
  if (g != NULL)
    g->entered = true;
  see_to_group(jobs, id);
}

/* Begins to watch a group. */
static void adopt(struct jobs *jobs, const struct adopt *r) {
  const struct emptied lost = {.type = REPLY_LOST, .id = r->id};
  struct group *g = group_adopt(&jobs->groups, r);
  if (g == NULL)
    return jobs_send(jobs, &lost, sizeof lost);
  struct epoll_event event = {EPOLLPRI, (uint64_t)TAG_GROUP << 32 | r->id};
  group_freeze(g, false); /* one that another keeper left behind */
  if (SYS(__NR_epoll_ctl, jobs->epoll, EPOLL_CTL_ADD, g->events, &event) < 0)
    sys_exit(1);
  group_read(g); /* later changes are events; earlier ones may be over */
  g->entered = g->entered || group_has_run(g);
  conclude(jobs, g, r->id);
}

/* The engine has gone: ends the groups that are to end with it. */
static void end_groups(struct jobs *jobs) {
  for (uint32_t id = 1; id < jobs->groups.room; id++) {
    const struct group *g = group_find(&jobs->groups, id);
    if (g != NULL && g->die)
      group_kill(g);
    see_to_group(jobs, id);
  }
}

/* Requests ----------------------------------------------------------------- */

/* Tells whether to kill the children of the keeper again, who have got the
   orphans of those that have ended: once half of them have, so that the work
   grows with the number of members and no faster. */
static bool is_half_gone(const struct jobs *jobs, const struct job *job) {
  int gone = jobs->reaped - job->reaped;
  return job->killing && gone > 0 && gone >= job->family.listed / 2;
}

/* Kills who is there, and those whom they start meanwhile; once. */
static void kill_once(struct job *job) {
  int sent = 0, denied;
  bool row =
      job->family.kept && (row_has_ended(job->family.root) ||
                           family_kill_row(&job->family, &sent, &denied));
  job->forced = (uint32_t)sent;
  look(job, row ? SIGKILL : SIGSTOP, true, KILL);
}

/* Does what is due of a job that has looked, or need not. Nothing that is known
   may be left when it ends, and another look must find nothing. */
static void decide(struct jobs *jobs, struct job *job, bool looked) {
  struct family *f = &job->family;
  bool none = f->living <= f->denied && !(job->killing && f->listed > 0);
  if ((f->kept && jobs->childless) || (none && looked))
    return finish(jobs, job);
  if (none)
    return look(job, 0, false, DECIDE);
  if (job->killing && (looked || is_half_gone(jobs, job)))
    return force(jobs, job);
  if (sys_now() < job->due)
    return;
  if (job->killing && f->living + f->listed < job->before)
    return note_left(job, f->living + f->listed); /* they are ending */
  if (job->killing && job->tries >= GIVE_UP)
    return look(job, 0, false, FINISH); /* for the names of who are left */
  force(jobs, job);
}

/* Sends the signal of a request to all that were found. */
static void signal_all(struct jobs *jobs, struct job *job) {
  const struct request *r = &job->request;
  bool ends = r->op == OP_END;
  job->living =
      (uint32_t)family_signal(&job->family, r->signal, ends && r->signal != 0);
  if (!ends)
    return finish(jobs, job);
  job->due = sys_now() + r->grace;
  decide(jobs, job, false);
}

/* Goes on with a job whose look has ended. */
static void go_on(struct jobs *jobs, struct job *job) {
  bool ends = job->request.op == OP_END;
  if (job->next == SIGNAL)
    return signal_all(jobs, job);
  if (job->next == DECIDE)
    return decide(jobs, job, true);
  if (job->next == KILL) {
    killed(jobs, job);
    if (ends)
      return decide(jobs, job, false);
    job->living = job->forced;
  }
  finish(jobs, job);
}

/* Does what is due of a job. */
static void step(struct jobs *jobs, struct job *job) {
  if (job->request.group != 0)
    return step_group(jobs, job);
  family_check(&job->family);
  if (!job->family.look.active)
    decide(jobs, job, false);
}

/* Has all who look do so once: 100 of them look at the orphans together. */
static void look_once(struct jobs *jobs) {
  struct family **families = jobs->looking.data;
  int count = 0;
  for (int i = 0; i < jobs->places; i++)
    if (job_at(jobs, i)->active && job_at(jobs, i)->family.look.active)
      families[count++] = &job_at(jobs, i)->family;
  if (count == 0)
    return;
  orphans_look(families, count);
  for (int i = 0; i < count; i++)
    family_pass(families[i]);
  bool open = orphans_settle();
  for (int i = 0; i < count; i++)
    if (family_passed(families[i], open))
      go_on(jobs, job_at(jobs, (int)families[i]->tag));
}

/* Returns a free place for a job; NULL: there is no memory. */
static struct job *free_job(struct jobs *jobs, uint32_t *place) {
  for (int i = 0; i < jobs->places; i++)
    if (!job_at(jobs, i)->active) {
      *place = (uint32_t)i;
      return job_at(jobs, i);
    }
  *place = (uint32_t)jobs->places;
  size_t count = (size_t)jobs->places + 1;
  if (!vector_grow(&jobs->list, count * sizeof(struct job)) ||
      !vector_grow(&jobs->looking, count * sizeof(struct family *)))
    return NULL;
  return job_at(jobs, jobs->places++);
}

/* Begins a request for a family that is no group. */
static void begin(struct jobs *jobs, struct job *job) {
  const struct request *r = &job->request;
  struct family *f = &job->family;
  bool ends = r->op == OP_END, whole = ends && r->signal != 0;
  if (ends && (r->signal == SIGKILL || r->grace == 0))
    return force(jobs, job); /* who has no time for a signal gets none */
  if (r->signal == SIGKILL)
    return kill_once(job);
  if (f->kept && whole)
    family_stop_row(f);
  look(job, r->signal == 0 ? 0 : SIGSTOP, whole, SIGNAL);
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
  if (jobs->active++ == 0)
    sys_hurry(HURRY);
  if (request.group != 0)
    return start_group(jobs, job);
  family_begin(&job->family, &request, jobs->kept > 0, jobs->epoll, place);
  begin(jobs, job);
}

union message {
  struct request request;
  struct adopt adopt;
};

/* Takes one message of `n` bytes; one of another size is not looked at. */
static void take_request(struct jobs *jobs, union message *m, size_t n) {
  struct request *r = &m->request;
  if (n > offsetof(struct adopt, path) && n <= sizeof m->adopt &&
      m->adopt.op == OP_ADOPT) {
    ((char *)m)[n - 1] = '\0';
    return adopt(jobs, &m->adopt);
  }
  if (n != sizeof *r)
    return;
  r->mark[MARK - 1] = '\0';
  if (r->op == OP_PROGRAM && jobs->program > 0) {
    SYS(__NR_kill, jobs->program, r->signal);
  } else if (r->op == OP_FORGET) {
    struct group *g = group_find(&jobs->groups, r->group);
    if (g != NULL)
      group_remove(&jobs->groups, g);
  } else if (r->op == OP_SIGNAL || r->op == OP_END) {
    jobs_start(jobs, r);
  }
}

/* Takes requests until there is none; the end of the socket is the engine's. */
static void take_requests(struct jobs *jobs) {
  union message m;
  long n;
  while ((n = SYS(__NR_recvfrom, jobs->socket, &m, sizeof m, DONTWAIT | TRUNC,
                  NULL, NULL)) > 0)
    take_request(jobs, &m, (size_t)n);
  if (n == -EAGAIN || n == -EINTR)
    return;
  sys_close(jobs->socket);
  jobs->socket = -1;
  end_groups(jobs);
}

/* Returns for how many ms to wait for events, until something is due; -1: for
   ever. */
static int wait_time(const struct jobs *jobs) {
  const struct job *list = jobs->list.data;
  int64_t now = sys_now(), wait = -1;
  for (int i = 0; i < jobs->places; i++) {
    if (!list[i].active)
      continue;
    const struct look *look = &list[i].family.look;
    int64_t left = list[i].due > now ? list[i].due - now : 0;
    if (look->active) /* who has to run for what it waits for needs a CPU */
      left = look->fresh || look->moved || look->quiet > 0 ? 0 : 1;
    if (list[i].family.unwatched > 0 && left > CHECK)
      left = CHECK;
    if (wait < 0 || left < wait)
      wait = left;
  }
  return wait > INT32_MAX ? INT32_MAX : (int)wait;
}

bool jobs_wait(struct jobs *jobs) {
  struct epoll_event events[EVENTS];
  bool child = false;
  long n = SYS(__NR_epoll_pwait, jobs->epoll, events, EVENTS, wait_time(jobs),
               NULL, 8);
  for (long i = 0; i < n; i++) {
    uint32_t tag = (uint32_t)(events[i].data >> 32);
    if (tag == TAG_SOCKET)
      jobs->asked = true;
    else if (tag == TAG_GROUP)
      take_event(jobs, (uint32_t)events[i].data);
    else if (tag == TAG_CHILD)
      child = true;
    else if ((int)tag < jobs->places && job_at(jobs, (int)tag)->active)
      family_gone(&job_at(jobs, (int)tag)->family,
                  (int)(uint32_t)events[i].data);
  }
  return child;
}

void jobs_step(struct jobs *jobs) {
  sys_check_hurry();
  if (jobs->asked && jobs->socket >= 0)
    take_requests(jobs);
  jobs->asked = false;
  for (int i = 0; i < jobs->places; i++)
    if (job_at(jobs, i)->active)
      step(jobs, job_at(jobs, i));
  look_once(jobs);
}
