/* slot.c - a worker's hand-off socket and page, and what they tell of it: see
   dispatch.h. */
#include "dispatch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
  MOMENTS = 50, /* in a stall: who has not moved for one is busy */
  PAGE = 4096
};

int64_t orr_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Makes the page, which nobody can make smaller. Returns its fd, or -errno. */
static int open_page(struct orr_load **load) {
  int fd = memfd_create("orrery-load", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return -errno;
  int rc = ftruncate(fd, PAGE) < 0 ||
                   fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0
               ? -errno
               : 0;
  void *at = rc == 0 ? mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) : NULL;
  if (at == MAP_FAILED)
    rc = -errno;
  if (rc < 0) {
    close(fd);
    return rc;
  }
  *load = at;
  return fd;
}

void orr_slot_free(struct orr_slot *slot) {
  if (slot->watched)
    orr_poll_remove_watch(slot->dispatch->poll, slot->socket, &slot->watch);
  if (slot->socket >= 0)
    close(slot->socket);
  if (slot->back >= 0)
    close(slot->back);
  if (slot->load != NULL)
    munmap(slot->load, PAGE);
  if (slot->page >= 0)
    close(slot->page);
  free(slot);
}

int orr_slot_new(struct orr_slot **made) {
  struct orr_slot *slot = calloc(1, sizeof *slot);
  if (slot == NULL)
    return -ENOMEM;
  *slot = (struct orr_slot){
      .socket = -1, .back = -1, .page = -1, .since = orr_now_ms()};
  int ends[2];
  int rc = orr_hand_off_open(ends);
  if (rc == 0) {
    slot->socket = ends[0];
    slot->back = ends[1];
    rc = slot->page = open_page(&slot->load);
  }
  if (rc < 0) {
    orr_slot_free(slot);
    return rc;
  }
  *made = slot;
  return 0;
}

struct orr_slot *orr_slot_find(struct orr_dispatch *d, uint32_t id) {
  struct orr_slot *slot = d->slots;
  while (slot != NULL && slot->id != id)
    slot = slot->next;
  return slot;
}

int orr_slot_send_listening(struct orr_slot *slot, uint32_t id, int fd) {
  struct orr_hand_off message = {
      .kind = ORR_LISTENING, .id = id, .fds = {fd}, .count = 1};
  return orr_hand_off_send(slot->socket, &message);
}

/* Loads -------------------------------------------------------------------- */

static uint64_t taken(const struct orr_slot *slot) {
  return atomic_load_explicit(&slot->load->taken, memory_order_acquire);
}

int64_t orr_slot_waiting(const struct orr_slot *slot) {
  uint64_t sent = slot->sent, took = taken(slot);
  return (took > sent ? 0 : (int64_t)(sent - took));
}

void orr_slot_observe(struct orr_slot *slot, int64_t now) {
  uint64_t turns =
      atomic_load_explicit(&slot->load->turns, memory_order_acquire);
  uint64_t progress = turns * 31 + taken(slot);
  if (progress == slot->progress)
    return;
  slot->progress = progress;
  slot->since = now;
  slot->stalled = false;
}

bool orr_slot_is_busy(const struct orr_slot *slot, int64_t now) {
  int64_t moment = slot->dispatch->stall / MOMENTS + 1;
  uint64_t turns =
      atomic_load_explicit(&slot->load->turns, memory_order_acquire);
  bool working = (turns & 1) || orr_slot_waiting(slot) > 0;
  return working && now - slot->since > moment;
}

/* Tells whether a worker has as many connections as it takes. */
static bool is_sated(const struct orr_slot *slot) {
  uint32_t limit =
      atomic_load_explicit(&slot->load->limit, memory_order_acquire);
  uint32_t connections =
      atomic_load_explicit(&slot->load->connections, memory_order_acquire);
  return limit > 0 &&
         (int64_t)connections + orr_slot_waiting(slot) + 1 >= (int64_t)limit;
}

bool orr_slot_is_open(const struct orr_dispatch *d,
                      const struct orr_slot *slot) {
  return !slot->broken && !slot->full && !slot->stalled &&
         orr_slot_waiting(slot) < d->credit && !is_sated(slot);
}
