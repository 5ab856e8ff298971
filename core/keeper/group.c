/* group.c - families that are a control group each. */
#include "group.h"

#include "proc.h"

#include <asm/signal.h>
#include <linux/mman.h>

enum { CHUNK = 4096, DEPTH = 32 };

struct group *group_find(const struct groups *all, uint32_t id) {
  struct group *list = all->list.data;
  return id < all->room && list[id].dir >= 0 ? &list[id] : NULL;
}

static int open_at(int dir, const char *name, int flags) {
  return (int)SYS(__NR_openat, dir, name, flags | O_CLOEXEC, 0);
}

/* Files ------------------------------------------------------------------- */

/* Reads a file of the group into `text`, which is empty if it cannot be read.
 */
static void read_file(int dir, const char *name, char *text, size_t room) {
  int fd = open_at(dir, name, O_RDONLY);
  long n = fd >= 0 ? sys_read(fd, text, room - 1) : 0;
  if (fd >= 0)
    sys_close(fd);
  text[n > 0 ? n : 0] = '\0';
}

static bool write_file(int dir, const char *name, const char *text) {
  int fd = open_at(dir, name, O_WRONLY);
  if (fd < 0)
    return false;
  long n = sys_write(fd, text, strlen(text));
  sys_close(fd);
  return n > 0;
}

/* Returns the number behind `key` in lines such as "user_usec 12"; 0 if there
   is no such line. With an empty key: the number that a text begins with. */
static uint64_t value_of(const char *text, const char *key) {
  size_t n = strlen(key);
  uint64_t value = 0;
  while (*text != '\0' && memcmp(text, key, n) != 0) {
    while (*text != '\0' && *text++ != '\n')
      ;
  }
  for (text += *text != '\0' ? n : 0; *text == ' '; text++)
    ;
  for (; *text >= '0' && *text <= '9'; text++)
    value = value * 10 + (uint64_t)(*text - '0');
  return value;
}

/* Members ------------------------------------------------------------------ */

struct members {
  void (*each)(int pid, void *data);
  void *data;
  int depth;
};

/* Calls each(pid, data) for the members, of groups inside it too. */
static void each_member(int dir, struct members *members);

static void each_member_below(int dir, const char *name, void *data) {
  struct members *members = data;
  int below = open_at(dir, name, O_RDONLY | O_DIRECTORY);
  if (below < 0)
    return;
  each_member(below, members);
  sys_close(below);
}

static void each_member(int dir, struct members *members) {
  int fd = open_at(dir, "cgroup.procs", O_RDONLY);
  if (fd >= 0) {
    proc_numbers(fd, members->each, members->data);
    sys_close(fd);
  }
  if (members->depth >= DEPTH)
    return;
  members->depth++;
  proc_directories(dir, each_member_below, members);
  members->depth--;
}

struct sending {
  int signal, sent;
};

static void send_to(int pid, void *data) {
  struct sending *s = data;
  s->sent += SYS(__NR_kill, pid, s->signal) == 0;
}

int group_signal(const struct group *g, int signal) {
  struct sending s = {signal, 0};
  each_member(g->dir, &(struct members){send_to, &s, 0});
  return s.sent;
}

struct listing {
  int32_t *pids;
  int most, count;
};

static void add_pid(int pid, void *data) {
  struct listing *l = data;
  if (l->count < l->most)
    l->pids[l->count] = pid;
  l->count++;
}

int group_list(const struct group *g, int32_t *pids, int most) {
  struct listing l = {pids, most, 0};
  each_member(g->dir, &(struct members){add_pid, &l, 0});
  return l.count < most ? l.count : most;
}

int group_kill(const struct group *g) {
  struct listing l = {NULL, 0, 0};
  each_member(g->dir, &(struct members){add_pid, &l, 0});
  write_file(g->dir, "cgroup.kill", "1");
  return l.count;
}

/* Its life ----------------------------------------------------------------- */

/* Makes room for a place; the new places are empty. */
static bool grow(struct groups *all, uint32_t id) {
  size_t size = ((size_t)id + 1) * sizeof(struct group);
  if (id == 0 || id >= MOST_GROUPS || !vector_grow(&all->list, size))
    return false;
  uint32_t room = (uint32_t)(all->list.size / sizeof(struct group));
  for (; all->room < room; all->room++)
    ((struct group *)all->list.data)[all->room].dir = -1;
  return true;
}

static void close_group(struct groups *all, struct group *g) {
  if (g->events >= 0)
    sys_close(g->events);
  sys_close(g->dir);
  if (g->path != NULL)
    SYS(__NR_munmap, g->path, g->path_size);
  g->dir = -1;
  all->count--;
}

/* Keeps a copy of the path; false: there is no memory. */
static bool keep_path(struct group *g, const char *path) {
  struct vector copy = {NULL, 0};
  if (!vector_grow(&copy, strlen(path) + 1))
    return false;
  memcpy(copy.data, path, strlen(path) + 1);
  g->path = copy.data;
  g->path_size = copy.size;
  return true;
}

struct group *group_adopt(struct groups *all, const struct adopt *adopt) {
  if (!grow(all, adopt->id) || group_find(all, adopt->id) != NULL)
    return NULL;
  struct group *g = (struct group *)all->list.data + adopt->id;
  int dir = (int)sys_open(adopt->path, O_RDONLY | O_DIRECTORY);
  if (dir < 0)
    return NULL;
  *g = (struct group){.dir = dir,
                      .events = open_at(dir, "cgroup.events", O_RDONLY),
                      .die = (adopt->flags & ADOPT_DIE) != 0,
                      .entered = (adopt->flags & ADOPT_ENTERED) != 0,
                      .made = adopt->made};
  all->count++;
  if (g->events < 0 || !keep_path(g, adopt->path)) {
    close_group(all, g);
    return NULL;
  }
  return g;
}

void group_read(struct group *g) {
  char text[256];
  long n = SYS(__NR_pread64, g->events, text, sizeof text - 1, 0);
  text[n > 0 ? n : 0] = '\0';
  g->populated = value_of(text, "populated") != 0;
  g->frozen = value_of(text, "frozen") != 0;
  g->entered = g->entered || g->populated;
}

void group_freeze(struct group *g, bool freeze) {
  write_file(g->dir, "cgroup.freeze", freeze ? "1" : "0");
}

bool group_has_run(const struct group *g) {
  char text[CHUNK];
  read_file(g->dir, "cpu.stat", text, sizeof text);
  return value_of(text, "usage_usec") > 0;
}

void group_usage(const struct group *g, struct emptied *used) {
  char text[CHUNK];
  read_file(g->dir, "cpu.stat", text, sizeof text);
  used->user = value_of(text, "user_usec");
  used->system = value_of(text, "system_usec");
  read_file(g->dir, "memory.peak", text, sizeof text);
  used->memory_peak = value_of(text, "");
  read_file(g->dir, "pids.peak", text, sizeof text);
  used->pids_peak = value_of(text, "");
}

/* Removes the groups that members have made inside of it. */
static void remove_below(int dir, const char *name, void *data) {
  int *depth = data;
  int below = open_at(dir, name, O_RDONLY | O_DIRECTORY);
  if (below >= 0 && *depth < DEPTH) {
    ++*depth;
    proc_directories(below, remove_below, depth);
    --*depth;
  }
  if (below >= 0)
    sys_close(below);
  SYS(__NR_unlinkat, dir, name, AT_REMOVEDIR);
}

bool group_remove(struct groups *all, struct group *g) {
  int depth = 0;
  proc_directories(g->dir, remove_below, &depth);
  long rc = SYS(__NR_unlinkat, AT_FDCWD, g->path, AT_REMOVEDIR);
  if (rc == -EBUSY || rc == -ENOTEMPTY)
    return false;
  for (uint32_t i = 1; rc == 0 && i < g->made; i++) {
    size_t n = strlen(g->path);
    while (n > 0 && g->path[--n] != '/')
      ;
    g->path[n] = '\0';
    rc = SYS(__NR_unlinkat, AT_FDCWD, g->path, AT_REMOVEDIR);
  }
  close_group(all, g);
  return true;
}
