/* poll.h - an epoll set that others poll in turn: for Lua, which gives each fd
   a key, and for watchers of C's own, which are called in the same wait. Every
   library that has the set's address may add watchers to it. Engine: no Lua. */
#ifndef ORR_POLL_H
#define ORR_POLL_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/epoll.h>

enum { ORR_POLL_BATCH = 64 }; /* events of one wait; others are of the next */

/* A watcher of C's. Its owner has it as the first member of something else. */
struct orr_watch {
  /* Called with the events of epoll, and what the wait was given. It may remove
     and free any watcher, itself included. */
  void (*ready)(struct orr_watch *watch, uint32_t events, void *context);
};

struct orr_poll {
  int fd; /* owned; -1: closed */
  /* The events of the wait that is running: `at` is the next to be served. */
  struct epoll_event events[ORR_POLL_BATCH];
  int at, count;
  /* What counts its turns, twice: odd while one is under way. NULL: nobody
     wants to know. */
  _Atomic uint64_t *turns;
};

/* Opens the set. 0 or -errno. */
int orr_poll_open(struct orr_poll *poll);

/* Closes it; what it watches stays open. Again, it does nothing. */
void orr_poll_close(struct orr_poll *poll);

/* Add an fd, change what it is watched for, and remove it: to be called before
   it is closed, for a copy of it in another process would keep it in the set.
   A key is given back by orr_poll_next. `events` are EPOLLIN, EPOLLOUT and
   EPOLLRDHUP; EPOLLHUP and EPOLLERR are reported in any case. 0 or -errno. */
int orr_poll_add_key(struct orr_poll *poll, int fd, int64_t key,
                     uint32_t events);
int orr_poll_change_key(struct orr_poll *poll, int fd, int64_t key,
                        uint32_t events);
int orr_poll_remove(struct orr_poll *poll, int fd);
int orr_poll_add(struct orr_poll *poll, int fd, struct orr_watch *watch,
                 uint32_t events);
int orr_poll_change(struct orr_poll *poll, int fd, struct orr_watch *watch,
                    uint32_t events);

/* Removes an fd of a watcher; its events that have come already, too. */
int orr_poll_remove_watch(struct orr_poll *poll, int fd,
                          const struct orr_watch *watch);

/* Begins a wait, which never blocks. Returns how many fds are ready. */
int orr_poll_wait(struct orr_poll *poll);

/* Calls the watchers of the wait that are ready, up to the first fd that has a
   key: returns its events, and fills in the key; 0: there are no more. */
uint32_t orr_poll_next(struct orr_poll *poll, int64_t *key, void *context);

#endif
