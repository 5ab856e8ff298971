/* map.h - values by number: places of members by pid, and what is known of
   processes and sessions. */
#ifndef ORR_KEEPER_MAP_H
#define ORR_KEEPER_MAP_H

#include "keeper.h"

struct map {
  struct vector slots; /* of struct slot; never full */
  size_t count;
};

/* Returns the value of a key, which is not 0; NULL: it has none. The pointer
   holds until the next map_put. */
uint64_t *map_at(const struct map *map, int key);

/* Gives a key a value; false: there is no memory. */
bool map_put(struct map *map, int key, uint64_t value);

/* Returns the key in the next slot that has one, from *at on, and moves *at
   behind it; 0: there is none. */
int map_next(const struct map *map, size_t *at);

void map_free(struct map *map);

#endif
