/* orphans.c - the children of those who take orphans. */
#include "orphans.h"

#include "ask.h"

/* A list of children keeps its order, and has new ones at its end, so that two
   of them are compared by going through both once. */
struct taker {
  int pid, session;
  struct vector seen;      /* of int: pids of its children */
  size_t count, known, at; /* now; before this look; how far that has come */
};

/* What a family is looked for by. */
struct wanted {
  char mark[MARK];
  int signal; /* that its members get */
};

static struct {
  int origin;           /* the session that this process was born in */
  struct vector takers; /* of struct taker */
  int taker_count;
  struct map strangers;     /* when they began: they bear no mark of a family */
  struct map ended;         /* and those who are only waiting to be reaped */
  bool thorough;            /* these are looked at as well: others may be now */
  struct family **families; /* that look */
  int count;
  struct vector wanted; /* of struct wanted: by those; helpers read it */
  int wanted_count;
  struct taker *taker; /* whose children are looked at */
} orphans;

static struct taker *taker_at(int place) {
  return (struct taker *)orphans.takers.data + place;
}

bool is_taker(int pid) {
  for (int i = 0; i < orphans.taker_count; i++)
    if (taker_at(i)->pid == pid)
      return true;
  return false;
}

bool is_own_session(int session) {
  for (int i = 0; i < orphans.taker_count; i++)
    if (taker_at(i)->session == session)
      return true;
  return session == orphans.origin;
}

void orphans_begin(void) {
  orphans.origin = (int)SYS(__NR_getsid, 0);
}

/* Notes pid 1 and our own ancestors. If one of them ends, another one takes its
   orphans. */
static void find_takers(void) {
  struct stat_of stat;
  for (int i = 0; i < orphans.taker_count; i++)
    vector_free(&taker_at(i)->seen);
  orphans.taker_count = 0;
  int pid = (int)SYS(__NR_getppid, 0);
  while (pid > 0 && proc_stat(pid, &stat)) {
    size_t size = ((size_t)orphans.taker_count + 1) * sizeof(struct taker);
    if (!vector_grow(&orphans.takers, size))
      return;
    *taker_at(orphans.taker_count++) =
        (struct taker){.pid = pid, .session = stat.session};
    if (pid == 1)
      return;
    pid = stat.parent;
  }
}

/* Whose they are ----------------------------------------------------------- */

/* Fills in an answer if an id is the mark of a family that looks. */
static void match(const char *id, void *data) {
  const struct wanted *wanted = orphans.wanted.data;
  struct question *q = data;
  size_t size = strlen(id) + 1;
  for (int i = 0; i < orphans.wanted_count && q->answer != YES; i++)
    if (memcmp(wanted[i].mark, id, size) == 0) {
      memcpy(q->mark, id, size);
      q->signal = wanted[i].signal;
      q->answer = YES;
    }
}

/* Finds out whether a process bears a mark. */
static void examine(struct question *q) {
  struct stat_of now;
  long read = proc_marks(q->pid, match, q);
  bool there = read <= 0 && proc_stat(q->pid, &now) && !now.ended &&
               now.start == q->stat.start;
  if (read == 0 && there && now.loaded)
    read = proc_marks(q->pid, match, q); /* it has come out of execve(2) */
  if (q->answer != YES && (read > 0 || there))
    q->answer = read == 0 && !now.loaded ? NOT_YET : NO;
}

/* In a helper: finds out, and sends the signal. */
static void help(struct question *q) {
  examine(q);
  if (q->answer == YES && q->signal != 0 && q->pidfd >= 0)
    SYS(__NR_pidfd_send_signal, q->pidfd, q->signal, NULL, 0);
}

static bool bears(const struct family *f, const char *mark) {
  return memcmp(f->mark, mark, strlen(mark) + 1) == 0;
}

/* Adds a process to a family, unless it is known there. There may be several of
   one mark, and each needs a pidfd of its own. */
static void give(struct family *f, struct question *q) {
  struct stat_of stat;
  int pidfd = q->pidfd;
  if (family_find(f, q->pid) != NULL)
    return;
  q->pidfd = -1;
  if (pidfd < 0) {
    pidfd = family_hold(q->pid);
    if (!proc_stat(q->pid, &stat) || stat.start != q->stat.start) {
      family_release(pidfd);
      return;
    }
  }
  family_add(f, q->pid, pidfd, &q->stat);
}

/* Acts on an answer, and closes the pidfd. */
static void take(struct question *q) {
  for (int i = 0; i < orphans.count; i++) {
    struct family *f = orphans.families[i];
    if (q->answer == YES && bears(f, q->mark))
      give(f, q);
    if (q->stat.start < f->born)
      continue;
    f->look.vanished += q->answer == UNKNOWN;
    f->look.open = f->look.open || q->answer == NOT_YET;
  }
  if (q->answer == UNKNOWN || q->answer == NO)
    map_put(q->stat.ended ? &orphans.ended : &orphans.strangers, q->pid,
            q->stat.start);
  family_release(q->pidfd);
}

static void take_answers(int most) {
  struct question q;
  while (next_answer(&q, most))
    take(&q);
}

/* Looking ------------------------------------------------------------------ */

/* Tells whether a family has a process's session, or its image. */
static bool is_of_birth(struct family *f, const struct question *q) {
  return q->stat.start >= f->born && (family_has_session(f, q->pid, &q->stat) ||
                                      family_has_image(f, &q->stat));
}

/* Gives a process to the families that have its session, or its image, and to
   those of the same mark, which may have only begun to look; false: there are
   none. */
static bool take_by_birth(struct question *q) {
  bool any = false;
  for (int i = 0; i < orphans.count; i++) {
    if (!is_of_birth(orphans.families[i], q))
      continue;
    const char *mark = orphans.families[i]->mark;
    for (int j = 0; j < orphans.count; j++)
      if (bears(orphans.families[j], mark))
        give(orphans.families[j], q);
    any = true;
  }
  return any;
}

/* Tells whether a process is too old for all families. */
static bool is_old(const struct stat_of *stat) {
  for (int i = 0; i < orphans.count; i++)
    if (stat->start >= orphans.families[i]->born)
      return false;
  return true;
}

/* Finds out about a child of one who takes orphans. Its environment is read by
   a helper if it may be forking, or if others are: it may be about to. Returns
   whether it is clear by then whose it is; if so, the pidfd is closed, or a
   member's. */
static bool resolve(struct question *q) {
  const struct stat_of *stat = &q->stat;
  const uint64_t *start =
      map_at(stat->ended ? &orphans.ended : &orphans.strangers, q->pid);
  if (is_old(stat) || (!stat->ended && take_by_birth(q)))
    return true;
  if (start != NULL && *start == stat->start)
    return true;
  bool busy = stat->state == 'D' || stat->state == 'R' || asked_count() > 0;
  if (busy && !stat->ended) {
    take_answers(ASKED - 1);
    if (ask(q, help))
      return false;
  }
  if (!stat->ended)
    examine(q);
  take(q);
  q->pidfd = -1;
  return true;
}

/* Tells whether all families that a process can be of know it. */
static bool is_known(int pid) {
  const struct family *of = NULL;
  for (int i = 0; i < orphans.count && of == NULL; i++)
    if (family_find(orphans.families[i], pid) != NULL)
      of = orphans.families[i];
  for (int i = 0; i < orphans.count && of != NULL; i++)
    if (bears(orphans.families[i], of->mark) &&
        family_find(orphans.families[i], pid) == NULL)
      return false;
  return of != NULL;
}

/* Returns whether it is clear whose a process is. */
static bool consider(int pid) {
  struct question q = {.pid = pid};
  if (is_asked(pid))
    return false;
  if (is_known(pid) ||
      (!orphans.thorough && map_at(&orphans.ended, pid) != NULL))
    return true;
  q.pidfd = family_hold(pid);
  bool there = proc_stat(pid, &q.stat);
  if (there && !is_taker(q.stat.parent))
    there = false;
  else if (!there)
    for (int i = 0; i < orphans.count; i++)
      orphans.families[i]->look.vanished++;
  bool resolved = !there || resolve(&q);
  if (resolved)
    family_release(q.pidfd);
  return resolved && q.answer != NOT_YET;
}

/* Considers a child that was not there in the look before. */
static void consider_child(int pid, void *data) {
  struct taker *taker = orphans.taker;
  const int *seen = taker->seen.data;
  bool known = false;
  (void)data;
  while (taker->at < taker->known && !known)
    known = seen[taker->at++] == pid;
  known = known || consider(pid);
  if (known && vector_grow(&taker->seen, (taker->count + 1) * sizeof(int)))
    ((int *)taker->seen.data)[taker->count++] = pid;
}

/* Considers a process for each family that its parent may belong to. This is
   how members are found on a kernel without lists of children. */
static void consider_any(int pid, void *data) {
  struct stat_of stat;
  (void)data;
  if (!proc_stat(pid, &stat))
    return;
  for (int i = 0; i < orphans.count; i++) {
    struct family *f = orphans.families[i];
    f->look.parent = stat.parent;
    if ((f->kept && stat.parent == f->root) || family_find(f, stat.parent))
      family_consider(pid, f);
  }
  if (is_taker(stat.parent))
    consider(pid);
}

/* Notes what the families are looked for by. Helpers read that, so that it does
   not change before all of them have ended. */
static void note_wanted(void) {
  struct wanted *wanted = orphans.wanted.data;
  bool same = orphans.count == orphans.wanted_count;
  for (int i = 0; i < orphans.count && same; i++)
    same = bears(orphans.families[i], wanted[i].mark) &&
           wanted[i].signal == orphans.families[i]->look.signal;
  if (same)
    return;
  take_answers(0);
  orphans.wanted_count = 0;
  if (!vector_grow(&orphans.wanted, (size_t)orphans.count * sizeof *wanted))
    return;
  wanted = orphans.wanted.data;
  for (int i = 0; i < orphans.count; i++) {
    wanted[i].signal = orphans.families[i]->look.signal;
    memcpy(wanted[i].mark, orphans.families[i]->mark, MARK);
  }
  orphans.wanted_count = orphans.count;
}

/* Takes in whom to look for. All children are considered anew if a family is
   new, if a look is to be its last one, for pids are used again, and if those
   who were strangers may be of a session that is known by now. Returns whether
   a look is to be its last one. */
static bool prepare(struct family **families, int count) {
  bool fresh = false, last = false, led = false;
  for (int i = 0; i < count; i++) {
    struct family *f = families[i];
    fresh = fresh || f->look.fresh;
    last = last || f->look.signal == 0;
    led = led || f->led;
    f->led = false;
  }
  orphans.thorough = fresh || last;
  orphans.families = families;
  orphans.count = count;
  note_wanted();
  if (fresh && !families[0]->kept) {
    map_free(&orphans.strangers);
    map_free(&orphans.ended);
    find_takers();
  }
  for (int i = 0; i < orphans.taker_count; i++) {
    struct taker *taker = taker_at(i);
    taker->known = led || orphans.thorough ? 0 : taker->count;
    taker->at = taker->count = 0;
  }
  return last;
}

void orphans_look(struct family **families, int count) {
  bool last = prepare(families, count);
  for (int i = 0; i < orphans.taker_count; i++) {
    orphans.taker = taker_at(i);
    proc_children(orphans.taker->pid, consider_child, NULL);
  }
  if (!proc_has_children())
    proc_all(consider_any, NULL);
  take_answers(last ? 0 : ASKED);
}

bool orphans_settle(void) {
  bool open = asked_count() > 0;
  take_answers(asked_count() / 2);
  return open;
}
