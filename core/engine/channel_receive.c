/* channel_receive.c - the receiving half of a channel: bytes and fds become
   frames. What the peer sends is bounded and checked here. */
#include "channel.h"
#include "channel_halves.h"
#include "io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  READ_FIRST = 4 * 1024,  /* bytes */
  READ_BULK = 192 * 1024, /* once a read has filled its room */
  READ_MOST = 256 * 1024,
  MAX_ARRIVED = 16, /* sets whose frame is not there: more is nonsense */
};

/* The fds of one recvmsg. */
struct orr_set {
  struct orr_set *next;
  uint64_t from, to; /* it came with these bytes */
  int count;
  int fds[]; /* -1: taken */
};

/* Frees a set, or NULL, and closes the fds in it. */
static void free_set(struct orr_set *set) {
  for (int i = 0; set != NULL && i < set->count; i++)
    if (set->fds[i] >= 0)
      close(set->fds[i]);
  free(set);
}

static void drop_first_set(struct orr_channel *channel) {
  struct orr_set *set = channel->arrived;
  channel->arrived = set->next;
  free_set(set);
}

/* Closes the fd of the last frame, if it was not taken. */
static void drop_given(struct orr_channel *channel) {
  if (channel->given >= 0)
    close(channel->given);
  channel->given = -1;
}

/* Frees the buffer, and what is in it. */
static void drop_bytes(struct orr_channel *channel) {
  orr_buffer_free(&channel->in);
  channel->in_start = channel->scanned = 0;
  channel->changes++;
}

void orr_channel_drop_input(struct orr_channel *channel) {
  drop_bytes(channel);
  drop_given(channel);
  while (channel->arrived != NULL)
    drop_first_set(channel);
  free_set(channel->current);
  channel->current = NULL;
}

uint64_t orr_channel_position(const struct orr_channel *channel) {
  return channel->received - (channel->in.length - channel->in_start);
}

/* Returns how many bytes more would complete the frame that is begun; 0 if that
   is not known. */
static size_t wanted(const struct orr_channel *channel) {
  size_t there = channel->in.length - channel->in_start;
  if (channel->framing == ORR_LINES || there < ORR_HEADER)
    return 0;
  size_t whole =
      ORR_HEADER + (size_t)orr_get_u32le(channel->in.data + channel->in_start);
  return whole > there ? whole - there : 0;
}

/* Makes room to read into: more if the last read filled the room or a long
   frame is on its way, but never much more than has come, for a length may be a
   lie. Moves what is there to the front of the buffer. 0 or -ENOMEM. */
static int make_room(struct orr_channel *channel) {
  struct orr_buffer *in = &channel->in;
  size_t there = in->length - channel->in_start;
  channel->changes++;
  if (channel->in_start > 0) {
    if (there > 0)
      memmove(in->data, in->data + channel->in_start, there);
    in->length = there;
    channel->in_start = 0;
  }
  size_t room = in->capacity - in->length;
  size_t size = wanted(channel),
         least = channel->filled ? READ_BULK : READ_FIRST;
  if (size < least)
    size = least;
  if (room >= size)
    return 0;
  size_t most = there > READ_MOST ? there : READ_MOST;
  return orr_buffer_reserve(in, size < most ? size : most);
}

/* Returns the fds that a recvmsg has brought, or NULL; *count is how many. */
static const unsigned char *find_fds(struct msghdr *message, int *count) {
  struct cmsghdr *header = CMSG_FIRSTHDR(message);
  *count = 0;
  while (header != NULL &&
         (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS))
    header = CMSG_NXTHDR(message, header);
  if (header == NULL)
    return NULL;
  *count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  return CMSG_DATA(header);
}

/* Returns a set of these fds; NULL if memory is short, and then they are
   closed. */
static struct orr_set *new_set(const unsigned char *fds, int count) {
  struct orr_set *set = malloc(sizeof *set + (size_t)count * sizeof(int));
  if (set != NULL) {
    *set = (struct orr_set){.count = count};
    if (count > 0)
      memcpy(set->fds, fds, (size_t)count * sizeof(int));
    return set;
  }
  for (int i = 0; i < count; i++) {
    int fd;
    memcpy(&fd, fds + (size_t)i * sizeof fd, sizeof fd);
    close(fd);
  }
  return NULL;
}

/* Notes the fds of one recvmsg, which came with the bytes from `from` to `to`.
   1: it had some; 0: it had none; -ENOMEM; -EPROTO: there are too many.
   MSG_CTRUNC without any is a set as well, of which the kernel could give us
   nothing. */
static int note_set(struct orr_channel *channel, struct msghdr *message,
                    uint64_t from, uint64_t to) {
  int count, sets = 0;
  const unsigned char *fds = find_fds(message, &count);
  if (count == 0 && !(message->msg_flags & MSG_CTRUNC))
    return 0;
  struct orr_set *set = new_set(fds, count);
  if (set == NULL)
    return -ENOMEM;
  set->from = from;
  set->to = to;
  struct orr_set **last = &channel->arrived;
  for (; *last != NULL; last = &(*last)->next)
    sets++;
  *last = set;
  if (channel->framing == ORR_LINES && count > 1)
    return -EPROTO; /* Node sends one at a time */
  return sets < MAX_ARRIVED ? 1 : -EPROTO;
}

long orr_channel_receive(struct orr_channel *channel) {
  union {
    char bytes[CMSG_SPACE(ORR_SET_SIZE * sizeof(int))];
    struct cmsghdr align;
  } control;
  if (channel->fd < 0)
    return -EBADF;
  int error = make_room(channel);
  if (error < 0)
    return error;
  struct orr_buffer *in = &channel->in;
  struct iovec bytes = {in->data + in->length, in->capacity - in->length};
  struct msghdr message = {.msg_iov = &bytes,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  if (channel->framing == ORR_LINES)
    message.msg_controllen = CMSG_LEN(sizeof(int)); /* Node sends one */
  ssize_t n = orr_recvmsg(channel->fd, &message);
  channel->filled = n == (ssize_t)bytes.iov_len;
  if (n < 0)
    return n;
  uint64_t from = channel->received;
  in->length += (size_t)n;
  channel->received += (uint64_t)n;
  error = note_set(channel, &message, from, channel->received);
  if (error < 0)
    return error;
  if (error > 0)
    channel->filled = true; /* recvmsg ends with the bytes that fds came with */
  return n;
}

/* Takes the set that came with the byte at `place` out of those that have
   arrived; NULL: it was lost. 0; -EPROTO: a set came with earlier bytes, and no
   frame had announced it. */
static int claim_set(struct orr_channel *channel, uint64_t place,
                     struct orr_set **claimed) {
  struct orr_set *set = channel->arrived;
  *claimed = NULL;
  if (set == NULL || set->from > place)
    return 0;
  if (set->to <= place)
    return -EPROTO;
  channel->arrived = set->next;
  *claimed = set;
  return 0;
}

/* Makes the set that an ORR_FDS frame announces the current one. 0 or
   -EPROTO. */
static int begin_set(struct orr_channel *channel, const struct orr_frame *frame,
                     uint64_t place) {
  struct orr_set *set;
  if (frame->length != 4 || frame->n == 0 || frame->n > ORR_SET_SIZE)
    return -EPROTO;
  int error = claim_set(channel, place, &set);
  if (error < 0)
    return error;
  free_set(channel->current);
  channel->current = set;
  channel->current_number = orr_get_u32le(frame->payload);
  channel->current_count = frame->n;
  return set != NULL && set->count > (int)frame->n ? -EPROTO : 0;
}

/* Takes the name of an fd off the frame, and makes that fd the given one, or
   none if it was lost. 0; -EPROTO: there is no such fd, or it was named
   before. */
static int attach_fd(struct orr_channel *channel, struct orr_frame *frame) {
  if (frame->length < 4 ||
      orr_get_u32le(frame->payload) != channel->current_number ||
      frame->n >= channel->current_count)
    return -EPROTO;
  frame->payload += 4;
  frame->length -= 4;
  struct orr_set *set = channel->current;
  if (set == NULL || (int)frame->n >= set->count)
    return 0; /* lost on the way */
  channel->given = set->fds[frame->n];
  set->fds[frame->n] = -1;
  return channel->given < 0 ? -EPROTO : 0;
}

/* Gives the next frame of any type, and its place in the stream. 1; 0: it is
   not whole; -EMSGSIZE. */
static int parse_frame(struct orr_channel *channel, struct orr_frame *frame,
                       uint64_t *place) {
  size_t there = channel->in.length - channel->in_start;
  if (there < ORR_HEADER)
    return 0;
  const uint8_t *at = channel->in.data + channel->in_start;
  size_t length = orr_get_u32le(at);
  if (length > channel->max_message + 8) /* set and id come on top */
    return -EMSGSIZE;
  if (there - ORR_HEADER < length)
    return 0;
  *frame = (struct orr_frame){.type = at[4],
                              .flags = at[5],
                              .n = at[6] | (unsigned)at[7] << 8,
                              .payload = at + ORR_HEADER,
                              .length = length};
  *place = orr_channel_position(channel);
  channel->in_start += ORR_HEADER + length;
  return 1;
}

/* Returns whether fds have come that no ORR_FDS frame can announce, while the
   next frame is not whole: with bytes that are all used up, or amid a frame.
   Only a cut ORR_FDS frame may wait with its set. A peer that sent the head of
   a long frame and fds with its bytes would fill our table of fds. */
static bool has_strays(const struct orr_channel *channel) {
  const struct orr_set *set = channel->arrived;
  uint64_t place = orr_channel_position(channel);
  if (set == NULL)
    return false;
  if (set->next != NULL || set->from > place || set->to <= place)
    return true;
  return orr_channel_partial(channel) >= ORR_HEADER &&
         channel->in.data[channel->in_start + 4] != ORR_FDS;
}

/* orr_channel_next for FRAMES. */
static int next_frame(struct orr_channel *channel, struct orr_frame *frame) {
  uint64_t place = 0;
  int rc;
  while ((rc = parse_frame(channel, frame, &place)) == 1) {
    int error = 0;
    if (frame->type == ORR_FDS)
      error = begin_set(channel, frame, place);
    else if (frame->flags & ORR_HAS_FD)
      error = attach_fd(channel, frame);
    if (error < 0)
      return error;
    if (frame->type != ORR_FDS)
      return 1;
  }
  return rc == 0 && has_strays(channel) ? -EPROTO : rc;
}

/* orr_channel_next for LINES. */
static int next_line(struct orr_channel *channel, struct orr_frame *frame) {
  /* Fds that came with lines which are used up, and were not asked for. */
  while (channel->arrived != NULL &&
         channel->arrived->to <= orr_channel_position(channel))
    drop_first_set(channel);
  size_t there = channel->in.length - channel->in_start;
  if (there == 0)
    return 0;
  const uint8_t *at = channel->in.data + channel->in_start;
  const uint8_t *end = NULL;
  if (there > channel->scanned)
    end = memchr(at + channel->scanned, '\n', there - channel->scanned);
  size_t length = end != NULL ? (size_t)(end - at) : there;
  if (length > channel->max_message)
    return -EMSGSIZE;
  channel->scanned = end != NULL ? 0 : there;
  if (end == NULL)
    return 0;
  *frame = (struct orr_frame){.payload = at, .length = length};
  channel->in_start += length + 1;
  return 1;
}

int orr_channel_next(struct orr_channel *channel, struct orr_frame *frame) {
  drop_given(channel);
  int rc = channel->framing == ORR_LINES ? next_line(channel, frame)
                                         : next_frame(channel, frame);
  /* A channel that falls idle after a long message gives its memory back. */
  if (rc == 0 && channel->in_start == channel->in.length &&
      channel->in.capacity > ORR_KEPT)
    drop_bytes(channel);
  return rc;
}

/* orr_channel_take_fd for LINES: the fd came with the line, or with those
   before it in one read. */
static int take_from_line(struct orr_channel *channel, bool *lost) {
  struct orr_set *set = channel->arrived;
  if (set == NULL || set->from >= orr_channel_position(channel))
    return -1;
  int fd = -1;
  if (set->count > 0) {
    fd = set->fds[0];
    set->fds[0] = -1;
  }
  *lost = fd < 0;
  drop_first_set(channel);
  return fd;
}

int orr_channel_take_fd(struct orr_channel *channel, bool *lost) {
  *lost = false;
  if (channel->framing == ORR_LINES)
    return take_from_line(channel, lost);
  int fd = channel->given;
  channel->given = -1;
  *lost = fd < 0;
  return fd;
}

bool orr_channel_is_idle(const struct orr_channel *channel) {
  return channel->in_start == channel->in.length && channel->given < 0 &&
         channel->arrived == NULL && channel->in.capacity <= ORR_KEPT;
}

size_t orr_channel_partial(const struct orr_channel *channel) {
  return channel->in.length - channel->in_start;
}
