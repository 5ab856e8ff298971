/* family.c - the members of a family: finding them, and signals to all.

   A member that is found is stopped, or killed, before its children are looked
   for: then it can have no more of them. */
#include "family.h"

#include "ask.h"
#include "orphans.h"
#include "row.h"

#include <asm/signal.h>
#include <linux/eventpoll.h>
#include <linux/resource.h>

enum {
  NOBODY = -1,
  PASSES = 1000,
  QUIET = 2,          /* passes in a row that find nothing new end a look: what
                         one reads of a list that changes may lack some */
  VAIN = 200,         /* passes in a row that find nobody, of a look */
  SPARE = ASKED + 32, /* fds that are not for members: /proc needs some */
};

static struct member *member_at(const struct family *f, int place) {
  return (struct member *)f->members.data + place;
}

void family_begin(struct family *f, const struct request *r, bool kept,
                  int epoll, uint32_t tag) {
  memset(f, 0, sizeof *f);
  f->root = r->root;
  f->born = r->born;
  memcpy(f->mark, r->mark, MARK - 1);
  f->kept = kept;
  f->epoll = epoll;
  f->tag = tag;
}

int family_hold(int pid) {
  static int64_t most; /* pidfds are below that; 0: not known yet */
  struct rlimit fds = {0, 0};
  if (most == 0) {
    SYS(__NR_prlimit64, 0, RLIMIT_NOFILE, NULL, &fds);
    most = fds.rlim_cur > (uint64_t)2 * SPARE ? (int64_t)fds.rlim_cur - SPARE
                                              : (int64_t)fds.rlim_cur / 2;
  }
  long pidfd = SYS(__NR_pidfd_open, pid, 0);
  if (pidfd < 0)
    return -1;
  if (pidfd < most)
    return (int)pidfd;
  sys_close((int)pidfd);
  return -1;
}

/* A pidfd leaves the epoll set with that, for nobody else has it. */
void family_release(int pidfd) {
  if (pidfd >= 0)
    sys_close(pidfd);
}

void family_end(struct family *f) {
  for (int i = 0; i < f->count; i++)
    family_release(member_at(f, i)->pidfd);
  vector_free(&f->members);
  map_free(&f->places);
  map_free(&f->sessions);
  map_free(&f->images);
  map_free(&f->groups);
}

void family_gone(struct family *f, int place) {
  struct member *m = member_at(f, place);
  if (!m->living)
    return;
  m->living = false;
  f->living--;
  f->denied -= m->denied;
  f->unwatched -= m->pidfd < 0;
  family_release(m->pidfd);
  m->pidfd = -1;
}

void family_check(struct family *f) {
  struct stat_of stat;
  for (int i = 0; i < f->count && f->unwatched > 0; i++) {
    const struct member *m = member_at(f, i);
    if (m->living && m->pidfd < 0 &&
        (!proc_stat(m->pid, &stat) || stat.start != m->start || stat.ended))
      family_gone(f, i);
  }
}

const struct member *family_find(const struct family *f, int pid) {
  const uint64_t *place = map_at(&f->places, pid);
  if (place == NULL || !member_at(f, (int)*place)->living)
    return NULL;
  return member_at(f, (int)*place);
}

/* Signals to one ----------------------------------------------------------- */

/* Sends a signal to a member. True: it has it. SIGCONT tells nothing of others:
   it may be sent to everybody of the own session. */
static bool send(struct family *f, int place, int signal) {
  struct member *m = member_at(f, place);
  struct stat_of stat;
  long rc;
  if (m->pidfd >= 0)
    rc = SYS(__NR_pidfd_send_signal, m->pidfd, signal, NULL, 0);
  else if (!proc_stat(m->pid, &stat) || stat.start != m->start)
    rc = -ESRCH;
  else
    rc = SYS(__NR_kill, m->pid, signal);
  if (rc == -ESRCH) {
    family_gone(f, place);
  } else if (signal != SIGCONT && m->denied != (rc == -EPERM)) {
    m->denied = !m->denied;
    f->denied += m->denied ? 1 : -1;
  }
  return rc == 0;
}

/* Does to a member what a look is for; once. `state` is its state, read after
   its pidfd was opened. Returns whether it was done. */
static bool treat(struct family *f, int place, int signal, char state) {
  struct member *m = member_at(f, place);
  if (!m->living || m->denied || m->killed)
    return false;
  if (signal == SIGKILL)
    return m->killed = send(f, place, SIGKILL);
  if (signal != SIGSTOP || m->stopped || state == 'T')
    return false; /* who was stopped before stays so */
  return m->stopped = send(f, place, SIGSTOP);
}

/* Sessions and groups ------------------------------------------------------ */

/* A session is entered by who makes it, and by being born in it. So all in one
   that a member has made are members, and a process group has no others than
   those of its session. A member that is in another session than ours is in one
   that a member has made, if that is not older than the family. */

bool family_has_session(struct family *f, int pid, const struct stat_of *stat) {
  uint64_t *since = map_at(&f->sessions, stat->session);
  if (since != NULL && pid == stat->session && stat->start > *since)
    *since = 0; /* all have gone, and its number is another's */
  return since != NULL && *since > 0;
}

/* Takes in the session that a member is in. */
static void learn(struct family *f, int pid, const struct stat_of *stat) {
  struct stat_of leader = *stat;
  int session = stat->session;
  if (f->kept || map_at(&f->sessions, session) != NULL)
    return;
  bool ours = session > 1 && !is_own_session(session) &&
              (pid == session || !proc_stat(session, &leader) ||
               leader.start >= f->born);
  map_put(&f->sessions, session, ours ? stat->start : 0);
  f->led = f->led || ours;
}

/* Images ------------------------------------------------------------------- */

/* At each execve(2) the kernel chooses the addresses of the program at random,
   and a fork keeps them. So a process with the addresses of a member comes from
   the same execve, which the root or a descendant of it has called: it is a
   member, too. To know that, nobody has to read its environment before it
   exits. */

static int key_of(uint64_t image) {
  return (int)(image >> 33) + 1;
}

bool family_has_image(const struct family *f, const struct stat_of *stat) {
  const uint64_t *image = map_at(&f->images, key_of(stat->image));
  return image != NULL && stat->image != 0 && *image == stat->image;
}

/* Takes in the addresses of a member. */
static void learn_image(struct family *f, int pid, const struct stat_of *stat) {
  if (!f->kept && stat->image != 0 && !family_has_image(f, stat) &&
      proc_is_random(pid))
    f->led = map_put(&f->images, key_of(stat->image), stat->image) || f->led;
}

/* Stops all of a member's group, if its session is ours. */
static void stop_group(struct family *f, int pid, const struct stat_of *stat) {
  if (!f->look.whole || f->look.signal != SIGSTOP || stat->group <= 1 ||
      !family_has_session(f, pid, stat) || map_at(&f->groups, stat->group))
    return;
  if (map_put(&f->groups, stat->group, 1))
    SYS(__NR_kill, -stat->group, SIGSTOP);
}

/* Sends a signal to all groups that have been stopped, and forgets them: they
   may have members that nobody has found. */
static void end_stops(struct family *f, int signal) {
  size_t at = 0;
  int group;
  while ((group = map_next(&f->groups, &at)) != 0)
    SYS(__NR_kill, -group, signal);
  map_free(&f->groups);
}

/* Finding ------------------------------------------------------------------ */

/* Makes the next place that of a process; false: there is no memory. */
static bool grow(struct family *f, int pid) {
  return vector_grow(&f->members,
                     ((size_t)f->count + 1) * sizeof(struct member)) &&
         map_put(&f->places, pid, (uint64_t)f->count);
}

void family_add(struct family *f, int pid, int pidfd,
                const struct stat_of *stat) {
  struct look *look = &f->look;
  learn(f, pid, stat);
  learn_image(f, pid, stat);
  stop_group(f, pid, stat);
  if (family_find(f, pid) != NULL || !grow(f, pid)) {
    family_release(pidfd);
    return;
  }
  struct epoll_event event = {EPOLLIN,
                              (uint64_t)f->tag << 32 | (uint32_t)f->count};
  if (pidfd >= 0 &&
      SYS(__NR_epoll_ctl, f->epoll, EPOLL_CTL_ADD, pidfd, &event) < 0) {
    sys_close(pidfd);
    pidfd = -1;
  }
  int place = f->count++;
  *member_at(f, place) = (struct member){
      .pid = pid, .pidfd = pidfd, .start = stat->start, .living = true};
  f->living++;
  f->unwatched += pidfd < 0;
  look->found++;
  look->treated += treat(f, place, look->signal, stat->state);
}

/* The pidfd comes first: what is read afterwards is of the process that it
   holds, or of none. */
void family_consider(int pid, void *family) {
  struct family *f = family;
  struct stat_of stat;
  if (family_find(f, pid) != NULL)
    return;
  int pidfd = family_hold(pid);
  if (proc_stat(pid, &stat) && stat.start >= f->born && !stat.ended &&
      (stat.parent == f->look.parent || is_taker(stat.parent)))
    family_add(f, pid, pidfd, &stat);
  else
    family_release(pidfd);
}

/* Tells whether the children of a member are to be read: who is stopped has no
   more of them than were read then. */
static bool may_have_more(struct family *f, int place) {
  struct look *look = &f->look;
  struct member *m = member_at(f, place);
  struct stat_of stat;
  if (!m->living || (look->signal == SIGSTOP && m->still))
    return false;
  if (look->signal == 0)
    return true;
  bool there = proc_stat(m->pid, &stat) && stat.start == m->start;
  char state = there ? stat.state : 'X';
  if (there)
    stop_group(f, m->pid, &stat);
  look->treated += treat(f, place, look->signal, state);
  m->still = look->signal == SIGSTOP && state == 'T';
  look->treated += m->still;
  look->open = look->open || (look->signal == SIGSTOP && !m->denied &&
                              !m->killed && (state == 'R' || state == 'S'));
  return m->living;
}

/* Looks at the root, once: later its pid may be another's. */
static void look_at_root(struct family *f) {
  struct stat_of stat;
  int root = f->root;
  f->root = NOBODY;
  if (root <= 0 || !proc_stat(root, &stat))
    return;
  f->look.parent = stat.parent;
  family_consider(root, f);
}

void family_look(struct family *f, int signal, bool whole, bool any) {
  f->look = (struct look){.active = true,
                          .fresh = true,
                          .signal = signal,
                          .whole = whole,
                          .any = any};
  for (int i = 0; i < f->count; i++)
    member_at(f, i)->still = false;
}

void family_pass(struct family *f) {
  if (!f->kept)
    look_at_root(f);
  f->look.parent = f->root;
  if (f->kept)
    proc_children(f->root, family_consider, f);
  for (int i = 0; i < f->count; i++) {
    if (!may_have_more(f, i))
      continue;
    f->look.parent = member_at(f, i)->pid;
    proc_children(f->look.parent, family_consider, f);
  }
}

bool family_passed(struct family *f, bool open) {
  struct look *look = &f->look;
  bool moved = look->found + look->treated > 0;
  open = open || look->open;
  bool vain = !moved && !open && look->vanished > 0 && look->vain < VAIN;
  look->vain = vain ? look->vain + 1 : 0;
  look->quiet = moved || open || vain ? 0 : look->quiet + 1;
  look->active = look->quiet < QUIET && ++look->passes < PASSES &&
                 !(look->any && f->living > f->denied);
  look->found = look->treated = look->vanished = 0;
  look->fresh = look->open = false;
  look->moved = moved;
  return !look->active;
}

/* Signals to all ----------------------------------------------------------- */

static bool stops(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN ||
         signal == SIGTTOU;
}

int family_kill(struct family *f) {
  int sent = 0;
  for (int i = 0; i < f->count; i++)
    sent += treat(f, i, SIGKILL, 0);
  end_stops(f, SIGKILL);
  return sent;
}

bool family_kill_row(struct family *f, int *sent, int *denied) {
  struct row row = {.signal = SIGKILL};
  bool done = row_send(&row, f->root);
  if (done) {
    row_send_below(&row);
    row_send(&row, f->root);
    f->listed = row.count;
  }
  vector_free(&row.had);
  *sent = row.sent;
  *denied = row.denied;
  return done;
}

void family_stop_row(struct family *f) {
  struct row row = {.signal = SIGSTOP};
  if (row_send(&row, f->root))
    row_send_below(&row);
  vector_free(&row.had);
}

int family_signal(struct family *f, int signal, bool all_go_on) {
  int sent = 0;
  for (int i = 0; i < f->count; i++)
    sent += member_at(f, i)->living && send(f, i, signal);
  for (int i = 0; i < f->count && (all_go_on || !stops(signal)); i++)
    if (member_at(f, i)->living && (all_go_on || member_at(f, i)->stopped))
      member_at(f, i)->stopped = !send(f, i, SIGCONT);
  end_stops(f, SIGCONT);
  return sent;
}
