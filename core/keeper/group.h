/* group.h - families that are a control group each (cgroups(7), version 2):
   the kernel itself knows the members, whatever they do. */
#ifndef ORR_KEEPER_GROUP_H
#define ORR_KEEPER_GROUP_H

#include "keeper.h"

struct group {
  int dir;    /* its directory; -1: there is no such group */
  int events; /* its file cgroup.events */
  bool die;   /* with the engine */
  bool entered, populated, frozen;
  uint32_t made; /* how many directories are to be removed */
  char *path;    /* owned */
  size_t path_size;
};

/* All that were adopted, by their ids. */
struct groups {
  struct vector list; /* of struct group */
  uint32_t room;      /* places in the list */
  int count;
};

enum { MOST_GROUPS = 1 << 20 };

/* Returns the group of that id, or NULL. */
struct group *group_find(const struct groups *all, uint32_t id);

/* Opens a group, which then has its place. NULL: it cannot be watched. */
struct group *group_adopt(struct groups *all, const struct adopt *adopt);

/* Reads its state anew. */
void group_read(struct group *g);

/* Lets all members rest, which takes a while, or go on. */
void group_freeze(struct group *g, bool freeze);

/* Sends a signal to each member. Returns how many got it. */
int group_signal(const struct group *g, int signal);

/* Kills all members, also those that are born meanwhile. Returns how many there
   were. */
int group_kill(const struct group *g);

/* Writes the pids of members, at most `most`. Returns how many. */
int group_list(const struct group *g, int32_t *pids, int most);

/* Tells whether it has had a member that ran, also if that has ended. */
bool group_has_run(const struct group *g);

/* Reads what its members have used. */
void group_usage(const struct group *g, struct emptied *used);

/* Removes the directories that were made for it, and forgets it. If a process
   is in it after all, does nothing and returns false. */
bool group_remove(struct groups *all, struct group *g);

#endif
