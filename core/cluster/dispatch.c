/* dispatch.c - which worker gets a connection: see dispatch.h. */
#include "dispatch.h"

#include "engine/io.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
  ACCEPTS = 64, /* connections that are accepted in a row */
  RETURNS = 64, /* messages that are taken from a worker in a row */
  TICK = 5,     /* ms between two looks at those that wait */
  HASTE = 20, /* of a stall: to where another worker is free they go earlier */
  KEPT = 16,  /* other messages that wait in a worker, at most */
  HELD = 4096 /* connections that wait for a worker, at most */
};

/* Has the timer run, or not. */
static void tick(struct orr_dispatch *d, bool on) {
  if (d->ticking == on)
    return;
  struct itimerspec every = {{0, 0}, {0, 0}};
  if (on)
    every.it_interval.tv_nsec = every.it_value.tv_nsec = TICK * 1000000L;
  if (timerfd_settime(d->timer_fd, 0, &every, NULL) == 0)
    d->ticking = on;
}

/* Sending ------------------------------------------------------------------ */

static void distribute(struct orr_service *service, int fd,
                       const struct orr_slot *but, int64_t now, void *context);

static void hold(struct orr_dispatch *d, struct orr_service *service, int fd) {
  if (d->held_count == d->held_room) {
    int room = d->held_room > 0 ? 2 * d->held_room : 16;
    struct orr_held *more =
        room > HELD ? NULL : realloc(d->held, (size_t)room * sizeof *more);
    if (more == NULL) {
      close(fd);
      return;
    }
    d->held = more;
    d->held_room = room;
  }
  d->held[d->held_count++] = (struct orr_held){fd, service->id};
  service->waiting++;
  tick(d, true);
}

/* Gives connections, which are of one service or of none, to other workers. */
static void redistribute(struct orr_dispatch *d, struct orr_hand_off *message,
                         const struct orr_slot *but, void *context) {
  struct orr_service *service = message->kind == ORR_CONNECTIONS
                                    ? orr_service_find(d, message->id)
                                    : NULL;
  int64_t now = orr_now_ms();
  for (int i = 0; i < message->count; i++) {
    if (service == NULL || service->count == 0)
      close(message->fds[i]);
    else
      distribute(service, message->fds[i], but, now, context);
  }
  message->count = 0;
}

/* The worker has shut its socket: it gets nothing any more. */
static void break_off(struct orr_slot *slot, void *context) {
  if (slot->broken)
    return;
  slot->broken = true;
  if (slot->watched)
    orr_poll_remove_watch(slot->dispatch->poll, slot->socket, &slot->watch);
  slot->watched = false;
  slot->dispatch->calls->broken(slot->dispatch, slot, context);
}

/* Sends a connection to a worker, in a message of its own: those that it has
   not begun with can be taken back one by one. */
static void give(struct orr_slot *slot, struct orr_service *service, int fd,
                 void *context) {
  struct orr_dispatch *d = slot->dispatch;
  struct orr_hand_off message = {
      .kind = ORR_CONNECTIONS, .id = service->id, .fds = {fd}, .count = 1};
  int rc = orr_hand_off_send(slot->socket, &message);
  if (rc == 0) {
    slot->sent++;
    close(fd);
    tick(d, true);
  } else if (rc == -EPIPE) {
    break_off(slot, context);
    redistribute(d, &message, slot, context);
  } else {
    slot->full = true;
    hold(d, service, fd);
  }
}

/* Asks for the worker of a connection. */
static void ask(struct orr_service *service, int fd, void *context) {
  struct orr_dispatch *d = service->dispatch;
  uint32_t id = d->calls->ask(d, service, fd, context);
  struct orr_slot *slot = id > 0 ? orr_slot_find(d, id) : NULL;
  if (slot == NULL || slot->broken)
    close(fd);
  else if (orr_slot_is_open(d, slot))
    give(slot, service, fd, context);
  else
    hold(d, service, fd);
}

static void distribute(struct orr_service *service, int fd,
                       const struct orr_slot *but, int64_t now, void *context) {
  if (service->policy == ORR_ASK) {
    ask(service, fd, context);
    return;
  }
  struct orr_slot *slot = orr_choose(service, but, now);
  if (slot != NULL)
    give(slot, service, fd, context);
  else
    hold(service->dispatch, service, fd);
}

/* Accepting ---------------------------------------------------------------- */

static void pause_service(struct orr_service *service, bool on) {
  if (service->paused == on)
    return;
  service->paused = on;
  if (service->fd < 0)
    return;
  orr_poll_change(service->dispatch->poll, service->fd, &service->watch,
                  on ? 0 : EPOLLIN);
  if (on)
    tick(service->dispatch, true);
}

/* Tells whether the next connection may be accepted and asked for: those that
   wait for a worker of the user's choice are no reason to let others wait. */
static bool may_ask(const struct orr_service *service) {
  return service->policy == ORR_ASK && service->waiting < HELD / 4;
}

/* Connections wait: they are accepted as long as there are workers for them.
   Others are left where they are, and so are all if there are no fds. */
static void on_connections(struct orr_watch *watch, uint32_t events,
                           void *context) {
  struct orr_service *service = (struct orr_service *)(void *)watch;
  int64_t now = orr_now_ms();
  (void)events;
  for (int i = 0; i < ACCEPTS; i++) {
    struct orr_slot *slot = NULL;
    int first = service->first;
    if (service->policy != ORR_ASK && service->waiting == 0)
      slot = orr_choose(service, NULL, now);
    if (slot == NULL && !may_ask(service)) {
      pause_service(service, true);
      break;
    }
    int fd = orr_accept(service->fd, NULL, NULL);
    if (fd < 0) {
      service->first = first; /* it was nobody's turn */
      if (fd != -EAGAIN)
        pause_service(service, true);
      break;
    }
    if (slot != NULL)
      give(slot, service, fd, context);
    else
      ask(service, fd, context);
  }
}

int orr_service_open(struct orr_dispatch *d, uint32_t id, int fd,
                     enum orr_policy policy) {
  struct orr_service *service = calloc(1, sizeof *service);
  if (service == NULL)
    return -ENOMEM;
  *service = (struct orr_service){.watch = {.ready = on_connections},
                                  .dispatch = d,
                                  .id = id,
                                  .fd = fd,
                                  .policy = policy,
                                  .paused = true};
  int rc = fd < 0 ? 0 : orr_poll_add(d->poll, fd, &service->watch, 0);
  if (rc < 0) {
    free(service);
    return rc;
  }
  service->next = d->services;
  d->services = service;
  return 0;
}

struct orr_service *orr_service_find(struct orr_dispatch *d, uint32_t id) {
  struct orr_service *service = d->services;
  while (service != NULL && service->id != id)
    service = service->next;
  return service;
}

void orr_service_close(struct orr_service *service) {
  struct orr_dispatch *d = service->dispatch;
  struct orr_service **at = &d->services;
  while (*at != service)
    at = &(*at)->next;
  *at = service->next;
  if (service->fd >= 0)
    orr_poll_remove_watch(d->poll, service->fd, &service->watch);
  int kept = 0;
  for (int i = 0; i < d->held_count; i++) {
    if (d->held[i].service == service->id)
      close(d->held[i].fd);
    else
      d->held[kept++] = d->held[i];
  }
  d->held_count = kept;
  free(service->slots);
  free(service);
}

int orr_service_join(struct orr_service *service, struct orr_slot *slot) {
  for (int i = 0; i < service->count; i++)
    if (service->slots[i] == slot)
      return 0;
  if (service->count == service->room) {
    int room = service->room > 0 ? 2 * service->room : 4;
    struct orr_slot **more =
        realloc(service->slots, (size_t)room * sizeof(struct orr_slot *));
    if (more == NULL)
      return -ENOMEM;
    service->slots = more;
    service->room = room;
  }
  service->slots[service->count++] = slot;
  pause_service(service, false);
  return 0;
}

/* Takes back the connections that wait in a worker. All else is sent again. */
static void take_back(struct orr_slot *slot, void *context) {
  struct orr_hand_off message, kept[KEPT];
  int count = 0;
  while (count < KEPT &&
         orr_hand_off_receive(slot->back, &message, true) == 1) {
    if (message.kind != ORR_CONNECTIONS) {
      kept[count++] = message;
      continue;
    }
    slot->sent -= slot->sent > 0;
    redistribute(slot->dispatch, &message, slot, context);
  }
  for (int i = 0; i < count; i++) {
    orr_hand_off_send(slot->socket, &kept[i]);
    orr_hand_off_close(&kept[i]);
  }
}

void orr_service_leave(struct orr_service *service, struct orr_slot *slot,
                       void *context) {
  int kept = 0;
  for (int i = 0; i < service->count; i++)
    if (service->slots[i] != slot)
      service->slots[kept++] = service->slots[i];
  bool was = kept < service->count;
  service->count = kept;
  service->first = 0;
  if (!was)
    return;
  take_back(slot, context);
  if (service->count == 0)
    pause_service(service, true);
}

/* Looking after ------------------------------------------------------------ */

/* Gives away what was held. */
static void retry_held(struct orr_dispatch *d, int64_t now, void *context) {
  struct orr_held *held = d->held;
  int count = d->held_count;
  d->held = NULL;
  d->held_count = d->held_room = 0;
  for (int i = 0; i < count; i++) {
    struct orr_service *service = orr_service_find(d, held[i].service);
    if (service == NULL) {
      close(held[i].fd);
      continue;
    }
    service->waiting--;
    if (service->count == 0)
      close(held[i].fd);
    else
      distribute(service, held[i].fd, NULL, now, context);
  }
  free(held);
}

/* Tells whether another worker could begin with what waits in this one. */
static bool is_one_free(const struct orr_dispatch *d,
                        const struct orr_slot *slot, int64_t now) {
  for (struct orr_slot *other = d->slots; other != NULL; other = other->next)
    orr_slot_observe(other, now);
  for (const struct orr_service *s = d->services; s != NULL; s = s->next) {
    bool wants = false, is_free = false;
    if (s->policy != ORR_LEAST)
      continue;
    for (int i = 0; i < s->count; i++) {
      const struct orr_slot *other = s->slots[i];
      wants = wants || other == slot;
      is_free = is_free || (other != slot && orr_slot_is_open(d, other) &&
                            !orr_slot_is_busy(other, now));
    }
    if (wants && is_free)
      return true;
  }
  return false;
}

/* Takes nothing from a worker until the next tick: there are no fds for it, and
   it stays in the socket. Or takes it again. */
static void set_deaf(struct orr_slot *slot, bool on) {
  slot->deaf = on;
  if (slot->watched)
    orr_poll_change(slot->dispatch->poll, slot->socket, &slot->watch,
                    on ? 0 : EPOLLIN);
  if (on)
    tick(slot->dispatch, true);
}

/* Looks after a worker in which something waits. Returns whether something does
   afterwards. */
static bool see_to(struct orr_slot *slot, int64_t now, void *context) {
  struct orr_dispatch *d = slot->dispatch;
  orr_slot_observe(slot, now);
  slot->full = false;
  if (slot->deaf)
    set_deaf(slot, false);
  if (orr_slot_waiting(slot) == 0)
    return false;
  int64_t rests = now - slot->since;
  if (rests >= d->stall ||
      (rests > d->stall / HASTE && is_one_free(d, slot, now))) {
    const struct orr_hand_off probe = {.kind = ORR_PROBE};
    bool was = slot->stalled;
    slot->stalled = true;
    take_back(slot, context);
    if (!was) /* it may have nothing to do that shows when it moves again */
      orr_hand_off_send(slot->socket, &probe);
  }
  return orr_slot_waiting(slot) > 0;
}

static void on_tick(struct orr_watch *watch, uint32_t events, void *context) {
  struct orr_dispatch *d = (struct orr_dispatch *)(void *)watch;
  uint64_t times;
  (void)events;
  if (orr_read(d->timer_fd, &times, sizeof times) < 0)
    return;
  int64_t now = orr_now_ms();
  bool more = false;
  for (struct orr_slot *slot = d->slots; slot != NULL; slot = slot->next)
    more = see_to(slot, now, context) || more;
  if (d->held_count > 0)
    retry_held(d, now, context);
  bool paused = false;
  for (struct orr_service *s = d->services; s != NULL; s = s->next) {
    if (s->paused && s->count > 0 && (s->waiting == 0 || may_ask(s)))
      pause_service(s, false);
    paused = paused || (s->paused && s->count > 0);
  }
  tick(d, more || paused || d->held_count > 0);
}

/* A worker gives connections back, or has shut its socket. */
static void on_slot(struct orr_watch *watch, uint32_t events, void *context) {
  struct orr_slot *slot = (struct orr_slot *)(void *)watch;
  struct orr_dispatch *d = slot->dispatch;
  struct orr_hand_off message;
  (void)events;
  for (int i = 0; i < RETURNS && !slot->broken; i++) {
    int rc = orr_hand_off_receive(slot->socket, &message, true);
    if (rc == 0)
      break;
    if (rc == -EMFILE) {
      set_deaf(slot, true);
      break;
    }
    if (rc == 1)
      redistribute(d, &message, slot, context);
    else
      break_off(slot, context);
  }
}

/* Slots -------------------------------------------------------------------- */

int orr_slot_open(struct orr_dispatch *d, uint32_t id, struct orr_slot **made) {
  struct orr_slot *slot;
  int rc = orr_slot_new(&slot);
  if (rc < 0)
    return rc;
  slot->watch.ready = on_slot;
  slot->dispatch = d;
  slot->id = id;
  rc = orr_poll_add(d->poll, slot->socket, &slot->watch, EPOLLIN);
  if (rc < 0) {
    orr_slot_free(slot);
    return rc;
  }
  slot->watched = true;
  slot->next = d->slots;
  d->slots = slot;
  *made = slot;
  return 0;
}

void orr_slot_close(struct orr_slot *slot, void *context) {
  struct orr_dispatch *d = slot->dispatch;
  struct orr_slot **at = &d->slots;
  while (*at != slot)
    at = &(*at)->next;
  *at = slot->next;
  for (struct orr_service *s = d->services; s != NULL; s = s->next)
    orr_service_leave(s, slot, context);
  take_back(slot, context);
  struct orr_hand_off message; /* what it has given back at last */
  while (orr_hand_off_receive(slot->socket, &message, false) == 1)
    redistribute(d, &message, slot, context);
  orr_slot_free(slot);
}

/* All ---------------------------------------------------------------------- */

int orr_dispatch_open(struct orr_dispatch *d, struct orr_poll *poll,
                      const struct orr_dispatch_calls *calls) {
  *d = (struct orr_dispatch){
      .timer = {.ready = on_tick}, .calls = calls, .credit = 16, .stall = 100};
  d->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (d->timer_fd < 0)
    return -errno;
  int rc = orr_poll_add(poll, d->timer_fd, &d->timer, EPOLLIN);
  if (rc < 0) {
    close(d->timer_fd);
    return rc;
  }
  d->poll = poll;
  return 0;
}

void orr_dispatch_close(struct orr_dispatch *d) {
  if (d->poll == NULL)
    return;
  for (struct orr_service *s = d->services, *next; s != NULL; s = next) {
    next = s->next;
    orr_service_close(s);
  }
  for (struct orr_slot *slot = d->slots, *next; slot != NULL; slot = next) {
    next = slot->next;
    orr_slot_free(slot);
  }
  for (int i = 0; i < d->held_count; i++)
    close(d->held[i].fd);
  free(d->held);
  orr_poll_remove_watch(d->poll, d->timer_fd, &d->timer);
  close(d->timer_fd);
  d->poll = NULL;
}
