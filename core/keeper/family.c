/* family.c - the members of a family: finding them, and signals to all.

   A member that is found is stopped, or killed, before its children are looked
   for: then it can have no more of them. */
#include "family.h"

#include "ask.h"
#include "proc.h"
#include "row.h"

#include <asm/signal.h>
#include <linux/eventpoll.h>
#include <linux/resource.h>

enum {
  NOBODY = -1,
  PASSES = 1000,
  QUIET = 2,
  SPARE = ASKED + 32, /* fds that are not for members: /proc needs some */
};

static struct member *member_at(const struct family *f, int place) {
  return (struct member *)f->members.data + place;
}

static struct taker *taker_at(const struct family *f, int place) {
  return (struct taker *)f->takers.data + place;
}

/* Notes pid 1 and our own ancestors, who may be subreapers. If one of them
   ends, another one takes its orphans. */
static void find_takers(struct family *f) {
  struct stat_of stat;
  int pid = (int)SYS(__NR_getppid, 0);
  while (pid > 0 && vector_grow(&f->takers, ((size_t)f->taker_count + 1) *
                                                sizeof(struct taker))) {
    *taker_at(f, f->taker_count++) = (struct taker){.pid = pid};
    if (pid == 1 || !proc_stat(pid, &stat))
      return;
    pid = stat.parent;
  }
}

void family_begin(struct family *f, const struct request *r, bool kept,
                  int epoll, uint32_t tag) {
  struct rlimit fds = {0, 0};
  SYS(__NR_prlimit64, 0, RLIMIT_NOFILE, NULL, &fds);
  memset(f, 0, sizeof *f);
  f->most_fds = fds.rlim_cur > (uint64_t)2 * SPARE
                    ? (int64_t)fds.rlim_cur - SPARE
                    : (int64_t)fds.rlim_cur / 2;
  f->root = r->root;
  f->born = r->born;
  memcpy(f->mark, r->mark, MARK - 1);
  f->kept = kept;
  f->epoll = epoll;
  f->tag = tag;
  if (!kept)
    find_takers(f);
}

/* Returns a pidfd of a process, which is the caller's; -1: there is no such
   process, or there are too few fds. */
static int hold(const struct family *f, int pid) {
  long pidfd = SYS(__NR_pidfd_open, pid, 0);
  if (pidfd < 0)
    return -1;
  if (pidfd < f->most_fds)
    return (int)pidfd;
  sys_close((int)pidfd);
  return -1;
}

static void close_pidfd(struct member *m) {
  if (m->pidfd >= 0)
    sys_close(m->pidfd); /* which leaves the epoll set: nobody else has it */
  m->pidfd = -1;
}

void family_end(struct family *f) {
  for (int i = 0; i < f->count; i++)
    close_pidfd(member_at(f, i));
  vector_free(&f->members);
  vector_free(&f->table);
  for (int i = 0; i < f->taker_count; i++)
    vector_free(&taker_at(f, i)->strangers);
  vector_free(&f->takers);
  vector_free(&f->others);
}

void family_gone(struct family *f, int place) {
  struct member *m = member_at(f, place);
  if (!m->living)
    return;
  m->living = false;
  f->living--;
  f->denied -= m->denied;
  f->unwatched -= m->pidfd < 0;
  close_pidfd(m);
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

/* By pid ------------------------------------------------------------------- */

/* Returns the slot of a pid in the table; an empty one if it is not in there,
   for the table is never full. */
static int *slot_of(const struct family *f, int pid) {
  int *table = f->table.data;
  size_t size = f->table.size / sizeof *table;
  size_t at = (size_t)((uint32_t)pid * 2654435761U) & (size - 1);
  while (table[at] != 0 && member_at(f, table[at] - 1)->pid != pid)
    at = (at + 1) & (size - 1);
  return &table[at];
}

/* Returns the living member of that pid, or NULL. */
static const struct member *find(const struct family *f, int pid) {
  if (f->table.size == 0)
    return NULL;
  int place = *slot_of(f, pid);
  return place != 0 && member_at(f, place - 1)->living ? member_at(f, place - 1)
                                                       : NULL;
}

/* Makes room for one more member; false: there is no memory. */
static bool grow(struct family *f) {
  size_t before = f->table.size, count = (size_t)f->count + 1;
  if (!vector_grow(&f->members, count * sizeof(struct member)) ||
      !vector_grow(&f->table, count * 2 * sizeof(int)))
    return false;
  if (f->table.size == before)
    return true;
  memset(f->table.data, 0, f->table.size);
  for (int i = 0; i < f->count; i++)
    *slot_of(f, member_at(f, i)->pid) = i + 1;
  return true;
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
  if (!m->living || m->denied)
    return false;
  if (signal == SIGKILL && !m->killed)
    return m->killed = send(f, place, SIGKILL);
  if (signal != SIGSTOP || m->stopped || state == 'T')
    return false; /* who was stopped before stays so */
  return m->stopped = send(f, place, SIGSTOP);
}

/* Finding ------------------------------------------------------------------ */

struct look {
  struct family *f;
  int signal; /* SIGSTOP, SIGKILL, or 0: what members get that are found */
  int parent; /* whose children are looked at */
  struct taker *taker; /* that is this one */
  bool orphans;        /* the parent is no member, but takes orphans */
  int found;           /* new members */
  int treated;         /* who got the signal, or were seen stopped since */
};

static bool is_taker(const struct family *f, int pid) {
  for (int i = 0; i < f->taker_count; i++)
    if (taker_at(f, i)->pid == pid)
      return true;
  return false;
}

/* Tells whether a process is in a session that a member has made, also if that
   has gone. */
static bool is_in_session(const struct family *f, const struct stat_of *stat) {
  int place = f->table.size > 0 ? *slot_of(f, stat->session) : 0;
  return place != 0 && member_at(f, place - 1)->leads;
}

/* Adds a member, which its pidfd holds, if there is one. */
static void add(struct look *look, int pid, int pidfd,
                const struct stat_of *stat) {
  struct family *f = look->f;
  if (!grow(f)) {
    close_pidfd(&(struct member){.pidfd = pidfd});
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
  *member_at(f, place) = (struct member){.pid = pid,
                                         .pidfd = pidfd,
                                         .start = stat->start,
                                         .living = true,
                                         .leads = stat->session == pid};
  *slot_of(f, pid) = place + 1;
  f->living++;
  f->unwatched += pidfd < 0;
  f->led = f->led || stat->session == pid;
  look->found++;
  look->treated += treat(f, place, look->signal, stat->state);
}

/* Tells whether a helper has found that a process bears no mark of ours. */
static bool is_other(const struct family *f, int pid,
                     const struct stat_of *stat) {
  const struct other *others = f->others.data;
  for (int i = 0; i < f->other_count; i++)
    if (others[i].pid == pid && others[i].start == stat->start)
      return true;
  return false;
}

/* Takes in what helpers have found; not more than `most` are left then. Nobody
   is asked about again: a stranger that runs would have us look for ever. */
static void take_answers(struct look *look, int most) {
  struct family *f = look->f;
  struct question q;
  while (next_answer(&q, most)) {
    if (q.ours == YES)
      add(look, q.pid, q.pidfd, &q.stat);
    else if (q.pidfd >= 0)
      sys_close(q.pidfd);
    if (q.ours == NO && vector_grow(&f->others, ((size_t)f->other_count + 1) *
                                                    sizeof(struct other)))
      ((struct other *)f->others.data)[f->other_count++] =
          (struct other){q.pid, q.stat.start};
  }
}

/* Adds a process if it is a member that is not known. The pidfd comes first:
   what is read afterwards is of the process that it holds, or of none. */
static void consider(int pid, void *data) {
  struct look *look = data;
  struct family *f = look->f;
  struct stat_of stat;
  if (find(f, pid) != NULL || is_asked(pid))
    return;
  int pidfd = hold(f, pid);
  bool fits = proc_stat(pid, &stat) && stat.start >= f->born && !stat.ended &&
              (stat.parent == look->parent || is_taker(f, stat.parent));
  bool ours = fits && (!look->orphans || is_in_session(f, &stat));
  fits = fits && (ours || !is_other(f, pid, &stat));
  if (fits && !ours && (stat.state == 'R' || stat.state == 'D')) {
    const struct question q = {.pid = pid, .pidfd = pidfd, .stat = stat};
    take_answers(look, ASKED - 1);
    if (ask(&q, f->mark, look->signal))
      return;
  }
  if (ours || (fits && f->mark[0] != '\0' && proc_marked(pid, f->mark)))
    add(look, pid, pidfd, &stat);
  else if (pidfd >= 0)
    sys_close(pidfd);
}

/* Tells whether a child of a taker was no member in the look before. */
static bool is_stranger(struct taker *taker, int pid) {
  const int *strangers = taker->strangers.data;
  while (taker->at < taker->known)
    if (strangers[taker->at++] == pid)
      return true;
  return false;
}

/* Considers a child of a taker, unless it is known not to be a member. */
static void consider_orphan(int pid, void *data) {
  struct look *look = data;
  struct taker *taker = look->taker;
  if (find(look->f, pid) != NULL || is_asked(pid))
    return;
  if (!is_stranger(taker, pid))
    consider(pid, look);
  if (!is_asked(pid) && find(look->f, pid) == NULL &&
      vector_grow(&taker->strangers, ((size_t)taker->count + 1) * sizeof(int)))
    ((int *)taker->strangers.data)[taker->count++] = pid;
}

/* Looks for orphans; false: this kernel has no lists of children. All are
   considered anew if that look is the last one, for pids are used again, and if
   strangers may be of a session that is known by now. */
static bool look_for_orphans(struct look *look) {
  struct family *f = look->f;
  bool listed = true, anew = look->signal == 0 || f->led;
  f->led = false;
  look->orphans = true;
  for (int i = 0; i < f->taker_count; i++) {
    struct taker *taker = look->taker = taker_at(f, i);
    look->parent = taker->pid;
    taker->known = anew ? 0 : taker->count;
    taker->at = taker->count = 0;
    if (proc_children(taker->pid, consider_orphan, look) < 0)
      listed = false;
  }
  take_answers(look, look->signal == 0 ? 0 : ASKED);
  look->orphans = false;
  return listed;
}

/* Tells whether the children of a member are to be read: who is stopped has no
   more of them than were read then. */
static bool may_have_more(struct look *look, int place) {
  struct family *f = look->f;
  struct member *m = member_at(f, place);
  struct stat_of stat;
  if (!m->living || (look->signal == SIGSTOP && m->still))
    return false;
  if (look->signal == 0)
    return true;
  char state = proc_stat(m->pid, &stat) ? stat.state : 'X';
  look->treated += treat(f, place, look->signal, state);
  m->still = look->signal == SIGSTOP && state == 'T';
  look->treated += m->still;
  return m->living;
}

/* Looks for the children of the root, and of all that it finds; false: this
   kernel has no lists of children. */
static bool look_below(struct look *look) {
  struct family *f = look->f;
  look->parent = f->root;
  if (f->kept && proc_children(f->root, consider, look) == -ENOENT)
    return false;
  for (int i = 0; i < f->count; i++) {
    if (!may_have_more(look, i))
      continue;
    look->parent = member_at(f, i)->pid;
    if (proc_children(look->parent, consider, look) == -ENOENT)
      return false;
  }
  return true;
}

/* A kernel without lists of children: looks at a process if it may be one. */
static void consider_any(int pid, void *data) {
  struct look *look = data;
  struct stat_of stat;
  if (!proc_stat(pid, &stat))
    return;
  look->parent = stat.parent;
  look->orphans = is_taker(look->f, stat.parent);
  if (look->orphans || stat.parent == look->f->root ||
      find(look->f, stat.parent) != NULL)
    consider(pid, look);
}

/* Looks at every process, again and again while one that is found may be the
   parent of others. */
static void look_at_all(struct look *look) {
  int before;
  look->orphans = false;
  for (int i = 0; i < look->f->count; i++)
    may_have_more(look, i);
  do {
    before = look->found;
    proc_all(consider_any, look);
    take_answers(look, 0);
  } while (look->found > before);
}

/* Looks at the root, once: later its pid may be another's. */
static void look_at_root(struct look *look) {
  struct stat_of stat;
  int root = look->f->root;
  look->f->root = NOBODY;
  if (root <= 0 || !proc_stat(root, &stat))
    return;
  look->parent = stat.parent;
  consider(root, look);
}

/* Looks for members once, and sends each that is found the signal. */
static struct look look_once(struct family *f, int signal) {
  struct look look = {.f = f, .signal = signal};
  bool listed = true;
  if (!f->kept) {
    look_at_root(&look);
    listed = look_for_orphans(&look);
  }
  if (!listed || !look_below(&look))
    look_at_all(&look);
  return look;
}

int family_look(struct family *f) {
  return look_once(f, 0).found;
}

/* Looks until two looks in a row have found no other one, and have seen none
   stop: a signal that is sent is had only when its process runs next. */
static void look_for_all(struct family *f, int signal) {
  struct look look = {.f = f, .signal = signal};
  for (int i = 0; i < f->count; i++)
    member_at(f, i)->still = false;
  for (int pass = 0, quiet = 0; pass < PASSES && quiet < QUIET; pass++) {
    sys_check_hurry();
    look = look_once(f, signal);
    bool moved = look.found + look.treated > 0;
    quiet = moved || asked_count() > 0 ? 0 : quiet + 1;
    take_answers(&look, asked_count() / 2); /* who wait need the CPU as well */
  }
  take_answers(&look, 0);
}

/* Signals to all ----------------------------------------------------------- */

static bool stops(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN ||
         signal == SIGTTOU;
}

/* Kills each member that is known, once. */
static int kill_known(struct family *f) {
  int sent = 0;
  for (int i = 0; i < f->count; i++)
    sent += treat(f, i, SIGKILL, 0);
  return sent;
}

/* Kills a kept family in a row, from above, and then who has become a child of
   the keeper meanwhile. False: this kernel has no lists of children. */
static bool kill_kept(struct family *f, struct row *row) {
  if (!row_send(row, f->root))
    return false;
  row_send_below(row);
  row_send(row, f->root);
  f->listed = row->count;
  return true;
}

int family_kill(struct family *f) {
  struct row row = {.signal = SIGKILL};
  bool done = f->kept && kill_kept(f, &row);
  vector_free(&row.had);
  if (!done) {
    look_for_all(f, SIGSTOP); /* or an orphan's orphan may get lost */
    return kill_known(f);
  }
  if (row.denied > 0)
    look_for_all(f, SIGKILL); /* for what those have started */
  return row.sent;
}

int family_signal(struct family *f, int signal, bool all_go_on) {
  struct row row = {.signal = SIGSTOP};
  int sent = 0;
  if (signal == SIGKILL) {
    sent = f->kept && row_has_ended(f->root) ? 0 : family_kill(f);
    if (f->kept)
      look_for_all(f, SIGKILL);
    return sent;
  }
  if (f->kept && all_go_on && row_send(&row, f->root))
    row_send_below(&row);
  vector_free(&row.had);
  if (signal == 0)
    family_look(f);
  else
    look_for_all(f, SIGSTOP);
  for (int i = 0; i < f->count; i++)
    sent += member_at(f, i)->living && send(f, i, signal);
  for (int i = 0; i < f->count && (all_go_on || !stops(signal)); i++)
    if (member_at(f, i)->living && (all_go_on || member_at(f, i)->stopped))
      member_at(f, i)->stopped = !send(f, i, SIGCONT);
  return sent;
}
