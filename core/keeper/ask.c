/* ask.c - helpers that read the environments of processes that may be forking.
 */
#include "ask.h"

#include <asm/signal.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/wait.h>

enum {
  GIVE_UP = 5,   /* s, for what never ends its fork */
  STACK = 16384, /* bytes of a helper's, with a page that is read to */
};

static struct {
  struct question list[ASKED]; /* helper 0: a free place */
  int free[ASKED];             /* free places, from `count` on */
  int count;
  char *stacks;
  void (*find)(struct question *q);
} asked;

/* Makes the stacks of helpers; false: there is no memory. */
static bool prepare(void) {
  if (asked.stacks != NULL)
    return true;
  long at = SYS(__NR_mmap, NULL, (size_t)ASKED * STACK, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at < 0 && at > -4096)
    return false;
  asked.stacks = (char *)at;
  for (int i = 0; i < ASKED; i++)
    asked.free[i] = i;
  return true;
}

/* Lets a signal end the helper, for what never ends its fork. */
static void settle(void) {
  static const uint64_t none = 0;
  static const struct __kernel_old_itimerval end = {{0, 0}, {GIVE_UP, 0}};
  SYS(__NR_setsid, 0); /* which the scheduler may give a share of its own */
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
  SYS(__NR_setitimer, 0, &end, NULL);
}

static void help(void *question) {
  settle();
  asked.find(question);
  sys_exit(0);
}

bool ask(const struct question *q, void (*find)(struct question *q)) {
  if (!prepare())
    return false;
  int place = asked.free[asked.count];
  struct question *mine = &asked.list[place];
  *mine = *q;
  asked.find = find;
  long helper =
      sys_clone(CLONE_VM | CLONE_FILES | SIGCHLD,
                asked.stacks + (size_t)(place + 1) * STACK, help, mine);
  mine->helper = helper > 0 ? (int)helper : 0;
  asked.count += helper > 0;
  return helper > 0;
}

int asked_count(void) {
  return asked.count;
}

bool is_asked(int pid) {
  for (int i = 0; i < ASKED && asked.count > 0; i++)
    if (asked.list[i].helper != 0 && asked.list[i].pid == pid)
      return true;
  return false;
}

bool next_answer(struct question *q, int most) {
  if (asked.count == 0)
    return false;
  int flags = asked.count > most ? 0 : WNOHANG, place = 0;
  long helper = SYS(__NR_wait4, -1, NULL, flags, NULL);
  if (helper <= 0)
    return false;
  while (place < ASKED && asked.list[place].helper != (int)helper)
    place++;
  if (place == ASKED)
    return false;
  *q = asked.list[place];
  asked.list[place].helper = 0;
  asked.free[--asked.count] = place;
  if (asked.count == 0) /* gives the memory back */
    SYS(__NR_madvise, asked.stacks, (size_t)ASKED * STACK, MADV_DONTNEED);
  return true;
}
