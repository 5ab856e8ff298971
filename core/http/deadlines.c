/* deadlines.c - when connections have to have done something. There is one
   list for each kind, which all have one length, so that they are in order by
   themselves; and one timer for a server, which fires when the first may be
   due. It is not put off when that has been stopped meanwhile: a connection
   that is served again and again costs no system call here. */
#include "server.h"

#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { TICK = 10 }; /* ms: the longest that kernels are built with */

/* Returns the time of the last tick of the kernel, which costs a third of the
   exact time, and may be TICK behind it. */
static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Has the timer fire at a time, unless it does so earlier already. */
static void arm(struct orr_http_server *server, int64_t at) {
  if (server->armed != 0 && server->armed <= at)
    return;
  struct itimerspec when = {
      .it_value = {.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000}};
  if (timerfd_settime(server->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
    server->armed = at;
}

static void unlink_one(struct orr_deadline *deadline) {
  deadline->prev->next = deadline->next;
  deadline->next->prev = deadline->prev;
  deadline->next = deadline->prev = NULL;
}

void orr_deadline_stop(struct orr_deadline *deadline) {
  if (deadline->next != NULL)
    unlink_one(deadline);
}

void orr_deadline_start(struct orr_http_server *server, int kind,
                        struct orr_deadline *deadline) {
  struct orr_deadlines *list = &server->deadlines[kind];
  orr_deadline_stop(deadline);
  if (list->length == 0)
    return;
  deadline->at = now_ms() + list->length + TICK;
  deadline->kind = kind;
  deadline->next = &list->first;
  deadline->prev = list->first.prev;
  deadline->prev->next = list->first.prev = deadline;
  arm(server, deadline->at);
}

/* Returns the connection whose deadline this is. */
static struct orr_connection *owner(struct orr_deadline *deadline) {
  size_t offset = deadline->kind == ORR_REQUEST
                      ? offsetof(struct orr_connection, request_deadline)
                      : offsetof(struct orr_connection, deadline);
  return (struct orr_connection *)(void *)((char *)deadline - offset);
}

/* Acts on each deadline of a list that is over. What is called may stop any
   of them, so the list is begun anew each time. */
static void expire(struct orr_http_server *server, int kind, int64_t now,
                   lua_State *L) {
  struct orr_deadline *anchor = &server->deadlines[kind].first;
  while (anchor->next != anchor && anchor->next->at <= now) {
    struct orr_deadline *deadline = anchor->next;
    unlink_one(deadline);
    server->late(owner(deadline), L, kind);
  }
}

/* The timer has fired. While a connection is served, it stays ready. */
static void on_timer(struct orr_watch *watch, uint32_t events, void *context) {
  struct orr_http_server *server = (struct orr_http_server *)(void *)watch;
  lua_State *L = context;
  (void)events;
  uint64_t times;
  if (server->serving != NULL ||
      read(server->timer_fd, &times, sizeof times) < 0)
    return;
  int64_t now = now_ms();
  int top = lua_gettop(L);
  orr_server_push(L, server, ORR_SELF);
  server->armed = 0;
  for (int kind = 0; kind < ORR_DEADLINES && server->poll != NULL; kind++)
    expire(server, kind, now, L);
  for (int kind = 0; kind < ORR_DEADLINES && server->poll != NULL; kind++) {
    struct orr_deadline *anchor = &server->deadlines[kind].first;
    if (anchor->next != anchor)
      arm(server, anchor->next->at);
  }
  lua_settop(L, top);
}

int orr_deadlines_open(struct orr_http_server *server) {
  for (int kind = 0; kind < ORR_DEADLINES; kind++) {
    struct orr_deadline *first = &server->deadlines[kind].first;
    first->next = first->prev = first;
  }
  server->timer.ready = on_timer;
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (fd < 0)
    return -errno;
  int rc = orr_poll_add(server->poll, fd, &server->timer, EPOLLIN);
  if (rc < 0) {
    close(fd);
    return rc;
  }
  server->timer_fd = fd;
  return 0;
}

void orr_deadlines_close(struct orr_http_server *server) {
  if (server->timer_fd < 0)
    return;
  orr_poll_remove_watch(server->poll, server->timer_fd, &server->timer);
  close(server->timer_fd);
  server->timer_fd = -1;
}
