/* proc.h - what /proc tells of processes. */
#ifndef ORR_KEEPER_PROC_H
#define ORR_KEEPER_PROC_H

#include "keeper.h"

struct stat_of {
  char state; /* 'Z' and 'X': it has ended, or only its first thread has */
  bool ended; /* all of it */
  int parent, group, session;
  uint64_t start; /* clock ticks since boot */
  bool loaded;    /* false: it is in execve(2), or we may not trace it */
  uint64_t image; /* a hash of its program's addresses; 0: unknown */
};

/* Set once at the start: act as on a kernel without lists of children. */
extern bool proc_forbids_children;

/* Tells whether there are lists of children. The first call asks the kernel. */
bool proc_has_children(void);

/* Reads /proc/PID/stat; false: there is no such process. */
bool proc_stat(int pid, struct stat_of *stat);

/* Tells whether the kernel has chosen the addresses of a process at random.
   Then all with the same image come from one execve(2), by forks. */
bool proc_is_random(int pid);

/* Calls each(pid, data) for the children of a process, of all its threads. A
   list that changes meanwhile may lack some. False: there is no such process,
   or there are no such lists. */
bool proc_children(int pid, void (*each)(int pid, void *data), void *data);

/* Calls each(pid, data) for all processes that can be seen. 0 or -errno. */
int proc_all(void (*each)(int pid, void *data), void *data);

/* Calls each(number, data) for the numbers in an open list, such as "1 23 ".
   Returns 0 or -errno. */
int proc_numbers(int fd, void (*each)(int number, void *data), void *data);

/* Calls each(dir, name, data) for the directories in an open one. */
void proc_directories(int dir,
                      void (*each)(int dir, const char *name, void *data),
                      void *data);

/* Calls each(id, data) for the ids in ORRERY_FAMILY of the environment that a
   process was started with; longer ones than a mark is are left out. Returns
   how many bytes that environment has, or -errno. 0: it is empty, or the
   process is in execve(2), or it has ended. */
long proc_marks(int pid, void (*each)(const char *id, void *data), void *data);

#endif
