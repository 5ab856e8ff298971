/* dispatch.h - the primary's side of a cluster: which worker gets a connection.

   A service is a listening socket, and the workers that want its connections; a
   slot is a worker. Of each worker's hand-off socket both ends are kept here,
   so that what it has not taken can be taken back: from one that has died, was
   stopped, or is busy with something else. What it says of its load is in the
   page of load.h. Engine: no Lua. */
#ifndef ORR_CLUSTER_DISPATCH_H
#define ORR_CLUSTER_DISPATCH_H

#include "engine/load.h"
#include "engine/poll.h"
#include "handoff.h"

#include <stdbool.h>

enum orr_policy { ORR_LEAST, ORR_ROTATE, ORR_ASK };

struct orr_dispatch;

struct orr_slot {
  struct orr_watch watch; /* of `socket`: what the worker gives back */
  struct orr_dispatch *dispatch;
  struct orr_slot *next;
  uint32_t id;
  int socket, back;      /* owned: our end, and the worker's */
  int page;              /* owned: the fd of `load` */
  struct orr_load *load; /* mapped */
  uint64_t sent;         /* connections, but for those that were taken back */
  uint64_t progress;     /* what was last seen of its work */
  int64_t since;         /* ms: when that changed last */
  bool broken;           /* it has shut its socket */
  bool full;             /* the kernel takes no more for it now */
  bool stalled;          /* has not moved for too long */
  bool watched;
  bool deaf; /* there were no fds for what it gives back */
};

struct orr_service {
  struct orr_watch watch; /* of `fd` */
  struct orr_dispatch *dispatch;
  struct orr_service *next;
  uint32_t id;
  int fd; /* listening; the caller's; -1: the workers accept themselves, and
             what comes here is only what they give back */
  enum orr_policy policy;
  struct orr_slot **slots; /* that want its connections */
  int count, room;
  int first;   /* the place of the slot that is looked at first */
  int waiting; /* of its connections, in dispatch.held */
  bool paused; /* nothing is accepted now */
};

/* A connection that no worker can have yet. */
struct orr_held {
  int fd;
  uint32_t service;
};

/* What the dispatcher asks and tells who has it. */
struct orr_dispatch_calls {
  /* Chooses a worker for a connection: its id, or 0: none is to have it. */
  uint32_t (*ask)(struct orr_dispatch *, struct orr_service *, int fd,
                  void *context);
  /* A worker's hand-off socket is of no use any more. */
  void (*broken)(struct orr_dispatch *, struct orr_slot *, void *context);
};

struct orr_dispatch {
  struct orr_watch timer; /* of timer_fd; runs while something waits */
  struct orr_poll *poll;  /* NULL: closed */
  int timer_fd;
  bool ticking;
  int credit;    /* connections that wait in a worker at most */
  int64_t stall; /* ms */
  struct orr_slot *slots;
  struct orr_service *services;
  struct orr_held *held;
  int held_count, held_room;
  const struct orr_dispatch_calls *calls;
};

/* 0 or -errno. */
int orr_dispatch_open(struct orr_dispatch *dispatch, struct orr_poll *poll,
                      const struct orr_dispatch_calls *calls);

/* Closes all; connections that wait are closed, too. Again, it does nothing. */
void orr_dispatch_close(struct orr_dispatch *dispatch);

/* Makes a slot for a worker. 0 or -errno. */
int orr_slot_open(struct orr_dispatch *dispatch, uint32_t id,
                  struct orr_slot **slot);

/* Ends a slot: what waits in it goes to others. */
void orr_slot_close(struct orr_slot *slot, void *context);
struct orr_slot *orr_slot_find(struct orr_dispatch *dispatch, uint32_t id);

/* Sends a listening socket. 0 or -errno. */
int orr_slot_send_listening(struct orr_slot *slot, uint32_t id, int fd);

/* slot.c ------------------------------------------------------------------- */

/* Makes one that is of no dispatcher yet. 0 or -errno. */
int orr_slot_new(struct orr_slot **slot);

/* Frees it with what is its own. */
void orr_slot_free(struct orr_slot *slot);

/* Returns how many connections wait in a slot. */
int64_t orr_slot_waiting(const struct orr_slot *slot);

/* Notes whether the worker has moved. */
void orr_slot_observe(struct orr_slot *slot, int64_t now);

/* Tells whether the worker seems to be busy with something that takes long: a
   turn of its loop has not ended for a while, or it has not taken what it was
   given. */
bool orr_slot_is_busy(const struct orr_slot *slot, int64_t now);

/* Tells whether the worker can be given a connection. */
bool orr_slot_is_open(const struct orr_dispatch *dispatch,
                      const struct orr_slot *slot);

/* Returns the time, in ms, since some moment. */
int64_t orr_now_ms(void);

/* choose.c ----------------------------------------------------------------- */

/* Returns the worker for the next connection by the policies that are built in:
   the next one in turn, or of all but one the one with the least to do; NULL:
   none can have it now. */
struct orr_slot *orr_choose(struct orr_service *service,
                            const struct orr_slot *but, int64_t now);

/* Adds a service, whose listening socket, if it has one, stays the caller's. 0
   or -errno. */
int orr_service_open(struct orr_dispatch *dispatch, uint32_t id, int fd,
                     enum orr_policy policy);
void orr_service_close(struct orr_service *service);
struct orr_service *orr_service_find(struct orr_dispatch *dispatch,
                                     uint32_t id);

/* A worker begins to take a service's connections, or takes no more of them. 0
   or -ENOMEM. */
int orr_service_join(struct orr_service *service, struct orr_slot *slot);
void orr_service_leave(struct orr_service *service, struct orr_slot *slot,
                       void *context);

#endif
