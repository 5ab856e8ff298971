/* main.c - which duty: orrery-keeper keep FD PID DIE, serve FD, or
   init FILE ARGV0 [ARGUMENT…]. */
#include "keeper.h"
#include "proc.h"

#include <asm/signal.h>
#include <linux/prctl.h>
#include <linux/resource.h>

static bool is(const char *a, const char *b) {
  return strlen(a) == strlen(b) && memcmp(a, b, strlen(a)) == 0;
}

static int number(const char *digits) {
  int n = 0;
  while (*digits >= '0' && *digits <= '9')
    n = n * 10 + (*digits++ - '0');
  return n;
}

/* Tells whether ORRERY_FORCE in an environment forbids lists of children. */
static bool forbids_children(char **envp) {
  static const char name[] = "ORRERY_FORCE=", word[] = "no_children";
  for (; *envp != NULL; envp++) {
    size_t n = strlen(*envp);
    if (n < sizeof name - 1 || memcmp(*envp, name, sizeof name - 1) != 0)
      continue;
    for (const char *at = *envp; n >= sizeof word - 1; at++, n--)
      if (memcmp(at, word, sizeof word - 1) == 0)
        return true;
  }
  return false;
}

/* Lets no signal disturb, and as many pidfds be open as there may be. */
static void settle(void) {
  uint64_t all = ~0ULL;
  struct rlimit limit;
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
  if (SYS(__NR_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    SYS(__NR_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
  }
  SYS(__NR_chdir, "/");
  SYS(__NR_prctl, PR_SET_NAME, "orrery-keeper");
}

void keeper_main(int argc, char **argv, char **envp) {
  proc_forbids_children = forbids_children(envp);
  if (argc > 3 && is(argv[1], "init"))
    init(argv[2], argv + 3, envp);
  settle();
  if (argc == 5 && is(argv[1], "keep"))
    keep(number(argv[2]), number(argv[3]), *argv[4] == '1');
  if (argc == 3 && is(argv[1], "serve"))
    serve(number(argv[2]));
  static const char usage[] = "orrery-keeper is started by orrery, or as "
                              "orrery-keeper init FILE ARGV0 [ARGUMENT…]\n";
  sys_write(2, usage, sizeof usage - 1);
  sys_exit(2);
}
