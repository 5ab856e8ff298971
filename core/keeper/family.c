/* family.c - the members of a family: finding them, and signals to all.

   A member that is found is stopped, or killed, before its children are looked
   for: then it can have no more of them. */
#include "family.h"

#include "proc.h"

#include <asm/signal.h>
#include <linux/eventpoll.h>

enum { PASSES = 1000, QUIET = 2, NOBODY = -1 };

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
  vector_free(&f->takers);
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

/* Returns where the table has a pid, or would have it. It is never full. */
static int *slot_of(const struct family *f, int pid) {
  int *table = f->table.data;
  size_t size = f->table.size / sizeof *table;
  size_t at = (uint32_t)pid * 2654435761U & (size - 1);
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

/* Does to a member what a look is for; once. Returns whether it was done. */
static bool treat(struct family *f, int place, int signal) {
  struct member *m = member_at(f, place);
  struct stat_of stat;
  if (!m->living || m->denied)
    return false;
  if (signal == SIGKILL && !m->killed)
    return m->killed = send(f, place, SIGKILL);
  if (signal != SIGSTOP || m->stopped)
    return false;
  if (!proc_stat(m->pid, &stat) || stat.state == 'T')
    return false; /* it was stopped before, and stays so */
  return m->stopped = send(f, place, SIGSTOP);
}

/* Finding ------------------------------------------------------------------ */

struct look {
  struct family *f;
  int signal;   /* SIGSTOP, SIGKILL, or 0: what members get that are found */
  int parent;   /* whose children are looked at */
  bool orphans; /* the parent is no member, but takes orphans */
  int found;    /* new members */
  int treated;  /* who got the signal */
};

static bool is_taker(const struct family *f, int pid) {
  const int *takers = f->takers.data;
  for (int i = 0; i < f->taker_count; i++)
    if (takers[i] == pid)
      return true;
  return false;
}

/* Tells whether an orphan is one of ours. A session that a member has made is
   known also after the member has gone. */
static bool is_ours(const struct family *f, int pid,
                    const struct stat_of *stat) {
  int place = f->table.size > 0 ? *slot_of(f, stat->session) : 0;
  if (place != 0 && member_at(f, place - 1)->leads)
    return true;
  return f->mark[0] != '\0' && proc_marked(pid, f->mark);
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
  look->found++;
  look->treated += treat(f, place, look->signal);
}

/* Adds a process if it is a member that is not known. The pidfd comes first:
   what is read afterwards is of the process that it holds, or of none. */
static void consider(int pid, void *data) {
  struct look *look = data;
  struct family *f = look->f;
  struct stat_of stat;
  if (find(f, pid) != NULL)
    return;
  int pidfd = (int)SYS(__NR_pidfd_open, pid, 0);
  if (proc_stat(pid, &stat) && stat.start >= f->born && !stat.ended &&
      (stat.parent == look->parent || is_taker(f, stat.parent)) &&
      (!look->orphans || is_ours(f, pid, &stat)))
    add(look, pid, pidfd, &stat);
  else if (pidfd >= 0)
    sys_close(pidfd);
}

/* Notes pid 1 and our own ancestors, who may be subreapers. */
static void find_takers(struct family *f) {
  struct stat_of stat;
  int pid = (int)SYS(__NR_getppid, 0);
  f->taker_count = 0;
  while (pid > 0 &&
         vector_grow(&f->takers, (size_t)(f->taker_count + 1) * sizeof(int))) {
    ((int *)f->takers.data)[f->taker_count++] = pid;
    if (pid == 1 || !proc_stat(pid, &stat))
      return;
    pid = stat.parent;
  }
}

/* Looks for orphans; false: there are no lists of children, or they are hidden
   from us, as hidepid of proc(5) does. */
static bool look_for_orphans(struct look *look) {
  const struct family *f = look->f;
  bool listed = true;
  look->orphans = true;
  for (int i = 0; i < f->taker_count; i++) {
    look->parent = ((const int *)f->takers.data)[i];
    if (proc_children(look->parent, consider, look) < 0)
      listed = false;
  }
  look->orphans = false;
  return listed;
}

/* Looks for the children of the root, and of all that it finds; false: this
   kernel has no lists of children. */
static bool look_below(struct look *look) {
  struct family *f = look->f;
  look->parent = f->root;
  if (f->kept && proc_children(f->root, consider, look) == -ENOENT)
    return false;
  for (int i = 0; i < f->count; i++) {
    look->treated += treat(f, i, look->signal);
    if (!member_at(f, i)->living)
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
    look->treated += treat(look->f, i, look->signal);
  do {
    before = look->found;
    proc_all(consider_any, look);
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
  struct look look = {f, signal, 0, false, 0, 0};
  bool listed = true;
  if (!f->kept) {
    find_takers(f);
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

/* Looks until two looks in a row have found no other one. Returns how many got
   the signal. */
static int look_for_all(struct family *f, int signal) {
  int treated = 0;
  for (int pass = 0, quiet = 0; pass < PASSES && quiet < QUIET; pass++) {
    struct look look = look_once(f, signal);
    treated += look.treated;
    quiet = look.found + look.treated == 0 ? quiet + 1 : 0;
  }
  return treated;
}

/* Signals to all ----------------------------------------------------------- */

static bool stops(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN ||
         signal == SIGTTOU;
}

int family_signal(struct family *f, int signal) {
  int sent = 0;
  if (signal == 0)
    family_look(f);
  else
    look_for_all(f, SIGSTOP);
  for (int i = 0; i < f->count; i++)
    sent += member_at(f, i)->living && send(f, i, signal);
  for (int i = 0; i < f->count && !stops(signal); i++)
    if (member_at(f, i)->living && member_at(f, i)->stopped)
      member_at(f, i)->stopped = !send(f, i, SIGCONT);
  return sent;
}

void family_continue(struct family *f) {
  for (int i = 0; i < f->count; i++)
    if (member_at(f, i)->living)
      send(f, i, SIGCONT);
}

static void kill_one(int pid, void *data) {
  *(int *)data += SYS(__NR_kill, pid, SIGKILL) == 0;
}

/* Kills all children of the keeper, who are not reaped but by it: their pids
   are theirs. In a row, before anything else is looked at: those who fork as
   fast as they can must not get ahead. Theirs become the keeper's children. */
static int kill_kept(const struct family *f) {
  int sent = 0;
  for (int pass = 0; pass < QUIET; pass++)
    proc_children(f->root, kill_one, &sent);
  return sent;
}

int family_kill(struct family *f) {
  if (f->kept) {
    int sent = kill_kept(f);
    look_for_all(f, SIGKILL);
    return sent;
  }
  look_for_all(f, SIGSTOP); /* or an orphan's orphan may get lost */
  return look_for_all(f, SIGKILL);
}
