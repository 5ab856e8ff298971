/* load.h - what a worker of a cluster tells of itself: a page that it writes,
   and that its primary reads whenever it chooses; and what takes connections in
   a worker. Engine: no Lua. */
#ifndef ORR_LOAD_H
#define ORR_LOAD_H

#include <stdatomic.h>
#include <stdint.h>

/* Only the worker writes it, and what it writes can only hurt itself. The
   primary may see values that are a moment old. */
struct orr_load {
  _Atomic uint64_t taken; /* connections that were given to it, and it took */
  _Atomic uint64_t turns; /* of its loop, twice; odd: one is under way */
  _Atomic uint32_t connections; /* that are open */
  _Atomic uint32_t requests;    /* that are not answered */
  _Atomic uint32_t limit;       /* connections that it takes, and 1; 0: all */
};

/* What a worker's servers take connections with. Its owner has it as a member
   of something else. */
struct orr_taker {
  /* Takes over a connected socket. It must not raise. */
  void (*take)(struct orr_taker *taker, int fd, void *context);
};

/* What connections are given back to, so that another worker goes on with
   them. */
struct orr_giver {
  /* Sends a socket away. 0, and then it is to be closed here; -EAGAIN: there is
     no room for it now; or another -errno. */
  int (*give)(struct orr_giver *giver, uint32_t service, int fd);
};

/* Adds to a number of one's own page. */
static inline void orr_load_add(_Atomic uint32_t *number, int by) {
  uint32_t now = atomic_load_explicit(number, memory_order_relaxed);
  atomic_store_explicit(number, now + (uint32_t)by, memory_order_release);
}

#endif
