/* pace.h - whether making Lua's values of a message takes the time that it
   ordinarily takes. Both decoders are built with it.

   Who knows the seed of a Lua state can make strings whose hashes are all the
   same: each is compared with all others then, and 800 kB held the loop for 3
   seconds. A string's hash is not to be had; the time that it takes is. */
#ifndef ORR_PACE_H
#define ORR_PACE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a decoder keeps for one message; begins as ORR_PACE. */
struct orr_pace {
  int64_t left; /* values until the clock is read */
  int64_t read; /* ns: when it was; 0: not yet */
  double slow;  /* see pace.c */
};

enum {
  ORR_PACE_VALUES = 1024, /* from one look at the clock to the next */
  ORR_PACE_BYTES = 128,   /* of a string, which count as one value more */
};

#define ORR_PACE                                                               \
  { ORR_PACE_VALUES, 0, 0 }

/* Counts a value. Returns false if the message takes too much time. May run
   finalizers, and uses 3 slots of the stack. */
bool orr_keeps_pace(lua_State *L, struct orr_pace *pace);

/* Counts the bytes of a string, which is a value besides. */
static inline void orr_pace_bytes(struct orr_pace *pace, size_t length) {
  pace->left -= (int64_t)(length / ORR_PACE_BYTES);
}

#endif
