/* poll.c - an epoll set: see poll.h. What epoll keeps of an fd is a key, as an
   odd number, or the address of a watcher, which is even. */
#include "poll.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

int orr_poll_open(struct orr_poll *poll) {
  poll->at = poll->count = 0;
  poll->turns = NULL;
  poll->fd = epoll_create1(EPOLL_CLOEXEC);
  return poll->fd < 0 ? -errno : 0;
}

void orr_poll_close(struct orr_poll *poll) {
  if (poll->fd >= 0)
    close(poll->fd);
  poll->fd = -1;
}

static int control(struct orr_poll *poll, int operation, int fd, uint64_t what,
                   uint32_t events) {
  struct epoll_event event = {.events = events, .data = {.u64 = what}};
  return epoll_ctl(poll->fd, operation, fd, &event) < 0 ? -errno : 0;
}

static uint64_t of_key(int64_t key) {
  return (uint64_t)key << 1 | 1;
}

static uint64_t of_watch(const struct orr_watch *watch) {
  return (uint64_t)(uintptr_t)watch;
}

int orr_poll_add_key(struct orr_poll *poll, int fd, int64_t key,
                     uint32_t events) {
  return control(poll, EPOLL_CTL_ADD, fd, of_key(key), events);
}

int orr_poll_change_key(struct orr_poll *poll, int fd, int64_t key,
                        uint32_t events) {
  return control(poll, EPOLL_CTL_MOD, fd, of_key(key), events);
}

int orr_poll_remove(struct orr_poll *poll, int fd) {
  return control(poll, EPOLL_CTL_DEL, fd, 0, 0);
}

int orr_poll_add(struct orr_poll *poll, int fd, struct orr_watch *watch,
                 uint32_t events) {
  return control(poll, EPOLL_CTL_ADD, fd, of_watch(watch), events);
}

int orr_poll_change(struct orr_poll *poll, int fd, struct orr_watch *watch,
                    uint32_t events) {
  return control(poll, EPOLL_CTL_MOD, fd, of_watch(watch), events);
}

int orr_poll_remove_watch(struct orr_poll *poll, int fd,
                          const struct orr_watch *watch) {
  for (int i = poll->at; i < poll->count; i++)
    if (poll->events[i].data.u64 == of_watch(watch))
      poll->events[i].data.u64 = 0;
  return orr_poll_remove(poll, fd);
}

/* Notes that a turn begins or ends; a wait within a turn is part of it. */
static void note_turn(struct orr_poll *poll, uint64_t under_way) {
  uint64_t turns = atomic_load_explicit(poll->turns, memory_order_relaxed);
  if ((turns & 1) != under_way)
    atomic_store_explicit(poll->turns, turns + 1, memory_order_release);
}

int orr_poll_wait(struct orr_poll *poll) {
  int n = epoll_wait(poll->fd, poll->events, ORR_POLL_BATCH, 0);
  poll->at = 0;
  poll->count = n < 0 ? 0 : n;
  if (poll->turns != NULL)
    note_turn(poll, 1);
  return poll->count;
}

uint32_t orr_poll_next(struct orr_poll *poll, int64_t *key, void *context) {
  while (poll->at < poll->count) {
    struct epoll_event event = poll->events[poll->at++];
    if (event.data.u64 & 1) {
      *key = (int64_t)(event.data.u64 >> 1);
      return event.events;
    }
    struct orr_watch *watch = (struct orr_watch *)(uintptr_t)event.data.u64;
    if (watch != NULL)
      watch->ready(watch, event.events, context);
  }
  if (poll->turns != NULL)
    note_turn(poll, 0);
  return 0;
}
