/* channel_send.c - the sending half of a channel.

   What is to be sent lies in segments. A segment is what one sendmsg begins
   with: it has fds, or it has none; more bytes join it until it is being sent.
   With FRAMES, one with fds is a carrier: it opens with an ORR_FDS frame. */
#include "channel.h"
#include "channel_halves.h"
#include "io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
  FDS_FRAME = ORR_HEADER + 4, /* bytes */
  SEGMENT = 64 * 1024,        /* bytes: then a new one is begun */
};

struct orr_segment {
  struct orr_segment *next;
  struct orr_buffer bytes;
  size_t committed, sent;
  bool carrier;    /* opens with an ORR_FDS frame */
  bool started;    /* a sendmsg took some of it: the fds are gone */
  uint32_t number; /* a carrier's set */
  int count;
  int *fds; /* ORR_SET_SIZE of them; NULL while there are none */
};

static void put_header(uint8_t *at, size_t length, int type, int flags,
                       unsigned n) {
  orr_put_u32le(at, (uint32_t)length);
  at[4] = (uint8_t)type;
  at[5] = (uint8_t)flags;
  at[6] = (uint8_t)n;
  at[7] = (uint8_t)(n >> 8);
}

static void free_segment(struct orr_segment *segment) {
  if (segment == NULL)
    return;
  orr_buffer_free(&segment->bytes);
  free(segment->fds);
  free(segment);
}

void orr_channel_drop_output(struct orr_channel *channel) {
  while (channel->head != NULL) {
    struct orr_segment *segment = channel->head;
    channel->head = segment->next;
    free_segment(segment);
  }
  channel->tail = NULL;
  free_segment(channel->spare);
  channel->spare = NULL;
}

/* Appends an empty segment, the spare one if there is one, and returns it; NULL
   if memory is short. */
static struct orr_segment *new_segment(struct orr_channel *channel) {
  struct orr_segment *segment = channel->spare;
  channel->spare = NULL;
  if (segment == NULL)
    segment = calloc(1, sizeof *segment);
  if (segment == NULL)
    return NULL;
  if (channel->tail != NULL)
    channel->tail->next = segment;
  else
    channel->head = segment;
  channel->tail = segment;
  return segment;
}

/* Returns whether one more frame may go into a segment. */
static bool has_place(const struct orr_segment *segment, bool with_fd) {
  if (segment->committed == 0)
    return true;
  if (!with_fd)
    return segment->committed < SEGMENT;
  return segment->carrier && !segment->started &&
         segment->count < ORR_SET_SIZE && segment->committed < SEGMENT;
}

/* Returns the segment for the next frame, its buffer cut to what is committed;
   NULL if memory is short. */
static struct orr_segment *segment_for(struct orr_channel *channel,
                                       bool with_fd) {
  struct orr_segment *segment = channel->tail;
  if (segment == NULL || !has_place(segment, with_fd))
    segment = new_segment(channel);
  if (segment == NULL)
    return NULL;
  segment->bytes.length = segment->committed;
  if (segment->committed > 0)
    return segment;
  segment->carrier = with_fd && channel->framing == ORR_FRAMES;
  if (!segment->carrier)
    return segment;
  if (orr_buffer_reserve(&segment->bytes, FDS_FRAME) < 0)
    return NULL;
  segment->bytes.length = FDS_FRAME; /* filled in when it is sent */
  segment->number = channel->next_set++;
  return segment;
}

/* Makes room for an fd, before the frame is committed: commit cannot fail by
   it. */
static bool reserve_fd(struct orr_segment *segment) {
  if (segment->fds == NULL)
    segment->fds = malloc(ORR_SET_SIZE * sizeof *segment->fds);
  return segment->fds != NULL;
}

struct orr_buffer *orr_channel_begin(struct orr_channel *channel, int type,
                                     int flags, int fd) {
  if (channel->fd < 0)
    return NULL; /* nothing would free it after a last close by a finalizer */
  struct orr_segment *segment = segment_for(channel, fd >= 0);
  if (segment == NULL || (fd >= 0 && !reserve_fd(segment)))
    return NULL;
  struct orr_buffer *out = &segment->bytes;
  channel->pending_fd = fd;
  channel->frame_start = out->length;
  if (channel->framing == ORR_LINES)
    return out;
  if (orr_buffer_reserve(out, ORR_HEADER + 4) < 0)
    return NULL;
  if (fd >= 0)
    flags |= ORR_HAS_FD;
  put_header(out->data + out->length, 0, type, flags, (unsigned)segment->count);
  out->length += ORR_HEADER;
  if (fd >= 0) {
    orr_put_u32le(out->data + out->length, segment->number);
    out->length += 4;
  }
  return out;
}

/* Ends the open frame, to which `more` bytes are still to be appended: writes
   its length into the header, or appends the newline. 0, -EMSGSIZE or
   -ENOMEM. */
static int seal_frame(struct orr_channel *channel, struct orr_buffer *out,
                      size_t more) {
  size_t length = out->length - channel->frame_start + more;
  if (channel->framing == ORR_LINES) {
    if (length > channel->max_message)
      return -EMSGSIZE;
    if (orr_buffer_reserve(out, 1) < 0)
      return -ENOMEM;
    out->data[out->length++] = '\n';
    return 0;
  }
  if (length - ORR_HEADER > channel->max_message)
    return -EMSGSIZE;
  orr_put_u32le(out->data + channel->frame_start,
                (uint32_t)(length - ORR_HEADER));
  return 0;
}

/* Makes what is in the last segment part of what is sent, with the fd. */
static void commit_bytes(struct orr_channel *channel) {
  struct orr_segment *segment = channel->tail;
  if (channel->pending_fd >= 0)
    segment->fds[segment->count++] = channel->pending_fd;
  channel->pending_fd = -1;
  channel->accepted += segment->bytes.length - segment->committed;
  segment->committed = segment->bytes.length;
}

int orr_channel_commit(struct orr_channel *channel) {
  struct orr_segment *segment = channel->tail;
  int error = seal_frame(channel, &segment->bytes, 0);
  if (error < 0)
    return error;
  commit_bytes(channel);
  return 0;
}

size_t orr_channel_queued(const struct orr_channel *channel) {
  return (size_t)(channel->accepted - channel->sent);
}

/* Sends the rest of a segment, with its fds if nothing of it has been sent.
   Returns as orr_sendmsg. */
static ssize_t send_segment(struct orr_channel *channel,
                            struct orr_segment *segment) {
  union {
    char bytes[CMSG_SPACE(ORR_SET_SIZE * sizeof(int))];
    struct cmsghdr align;
  } control;
  struct iovec bytes = {segment->bytes.data + segment->sent,
                        segment->committed - segment->sent};
  struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
  if (!segment->started && segment->count > 0) {
    size_t size = (size_t)segment->count * sizeof(int);
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), segment->fds, size);
  }
  return orr_sendmsg(channel->fd, &message);
}

/* Takes the head off, which is sent: it becomes the spare segment, or, if it is
   the only one, stays for the next frames. */
static void retire_head(struct orr_channel *channel) {
  struct orr_segment *segment = channel->head;
  segment->committed = segment->sent = segment->bytes.length = 0;
  segment->carrier = segment->started = false;
  segment->count = 0;
  if (segment->bytes.capacity > ORR_KEPT)
    orr_buffer_free(&segment->bytes);
  if (segment->next == NULL)
    return;
  channel->head = segment->next;
  segment->next = NULL;
  free_segment(channel->spare);
  channel->spare = segment;
}

/* Notes that the socket has taken `n` bytes of the head, and its fds. */
static void note_sent(struct orr_channel *channel, size_t n) {
  struct orr_segment *segment = channel->head;
  segment->started = true;
  segment->sent += n;
  channel->sent += n;
  if (segment->sent == segment->committed)
    retire_head(channel);
}

/* Writes the ORR_FDS frame of a carrier, now that it gets no more fds. */
static void open_set(struct orr_segment *segment) {
  put_header(segment->bytes.data, 4, ORR_FDS, 0, (unsigned)segment->count);
  orr_put_u32le(segment->bytes.data + ORR_HEADER, segment->number);
}

int orr_channel_flush(struct orr_channel *channel) {
  if (channel->fd < 0)
    return -EBADF;
  while (orr_channel_queued(channel) > 0) {
    struct orr_segment *segment = channel->head;
    if (segment->carrier && !segment->started)
      open_set(segment);
    ssize_t n = send_segment(channel, segment);
    if (n < 0)
      return (int)n;
    note_sent(channel, (size_t)n);
  }
  return 0;
}

int orr_channel_commit_long(struct orr_channel *channel, const void *bytes,
                            size_t length) {
  bool first = orr_channel_queued(channel) == 0 && channel->pending_fd < 0;
  struct orr_buffer *out = &channel->tail->bytes;
  size_t start = out->length, sent = 0;
  if (orr_buffer_reserve(out, length) < 0) /* before anything is sent */
    return -ENOMEM;
  int error = seal_frame(channel, out, length);
  if (error < 0)
    return error;
  if (first) {
    struct iovec parts[] = {{out->data, start}, {(void *)bytes, length}};
    ssize_t n = orr_sendmsg(
        channel->fd, &(struct msghdr){.msg_iov = parts, .msg_iovlen = 2});
    sent = n > 0 ? (size_t)n : 0; /* the next flush meets the error again */
  }
  size_t gone = sent > start ? sent - start : 0;
  memcpy(out->data + start + gone, (const char *)bytes + gone, length - gone);
  out->length += length;
  commit_bytes(channel);
  if (sent > 0)
    note_sent(channel, sent);
  return 0;
}
