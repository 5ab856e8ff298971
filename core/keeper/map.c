/* map.c - values by number. */
#include "map.h"

struct slot {
  int key; /* 0: empty */
  uint64_t value;
};

static size_t room(const struct map *map) {
  return map->slots.size / sizeof(struct slot); /* a power of two */
}

/* Returns the slot of a key; an empty one if it has none. */
static struct slot *slot_of(const struct map *map, int key) {
  struct slot *slots = map->slots.data;
  size_t at = (size_t)((uint32_t)key * 2654435761U) & (room(map) - 1);
  while (slots[at].key != 0 && slots[at].key != key)
    at = (at + 1) & (room(map) - 1);
  return &slots[at];
}

uint64_t *map_at(const struct map *map, int key) {
  if (map->count == 0)
    return NULL;
  struct slot *slot = slot_of(map, key);
  return slot->key == key ? &slot->value : NULL;
}

/* Makes room for one more key; false: there is no memory. */
static bool grow(struct map *map) {
  if (map->count * 2 < room(map))
    return true;
  struct map wider = {{NULL, 0}, map->count};
  size_t size = map->slots.size > 0 ? map->slots.size * 2 : 1;
  if (!vector_grow(&wider.slots, size))
    return false;
  const struct slot *slots = map->slots.data;
  for (size_t i = 0; i < room(map); i++)
    if (slots[i].key != 0)
      *slot_of(&wider, slots[i].key) = slots[i];
  vector_free(&map->slots);
  *map = wider;
  return true;
}

bool map_put(struct map *map, int key, uint64_t value) {
  if (!grow(map))
    return false;
  struct slot *slot = slot_of(map, key);
  map->count += slot->key == 0;
  *slot = (struct slot){key, value};
  return true;
}

int map_next(const struct map *map, size_t *at) {
  const struct slot *slots = map->slots.data;
  while (*at < room(map))
    if (slots[(*at)++].key != 0)
      return slots[*at - 1].key;
  return 0;
}

void map_free(struct map *map) {
  vector_free(&map->slots);
  map->count = 0;
}
