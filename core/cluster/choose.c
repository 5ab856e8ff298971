/* choose.c - the worker for a connection, by the policies that are built in:
   see dispatch.h. */
#include "dispatch.h"

#include <stddef.h>

/* What workers are compared by, the first first. */
struct rank {
  bool busy;
  uint64_t requests, connections;
};

static struct rank rank_of(const struct orr_slot *slot, int64_t now) {
  uint64_t waiting = (uint64_t)orr_slot_waiting(slot);
  return (struct rank){
      .busy = orr_slot_is_busy(slot, now),
      .requests = waiting + atomic_load_explicit(&slot->load->requests,
                                                 memory_order_acquire),
      .connections = waiting + atomic_load_explicit(&slot->load->connections,
                                                    memory_order_acquire)};
}

static bool is_less(const struct rank *a, const struct rank *b) {
  if (a->busy != b->busy)
    return b->busy;
  if (a->requests != b->requests)
    return a->requests < b->requests;
  return a->connections < b->connections;
}

struct orr_slot *orr_choose(struct orr_service *service,
                            const struct orr_slot *but, int64_t now) {
  struct orr_slot *best = NULL;
  struct rank least = {0};
  int at = service->first;
  for (int i = 0; i < service->count; i++) {
    int place = (service->first + i) % service->count;
    struct orr_slot *slot = service->slots[place];
    if (slot == but)
      continue;
    orr_slot_observe(slot, now);
    if (!orr_slot_is_open(service->dispatch, slot))
      continue;
    struct rank rank = rank_of(slot, now);
    if (best != NULL && !is_less(&rank, &least))
      continue;
    best = slot;
    least = rank;
    at = place + 1;
    if (service->policy == ORR_ROTATE)
      break;
  }
  service->first = service->count > 0 ? at % service->count : 0;
  return best;
}
