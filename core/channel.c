/*
** channel.c - messages and fds over a Unix stream socket: see channel.h for the
** format.
**
** What is to be sent lies in segments. A segment is what one sendmsg begins
** with: it has fds, or it has none; more bytes join it until it is being sent.
*/
#include "channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  FDS_FRAME = ORR_HEADER + 4, /* bytes */
  SEGMENT = 64 * 1024,        /* bytes: then a new one is begun */
  KEPT = 256 * 1024,          /* bytes of an idle buffer that are kept */
  READ_FIRST = 4 * 1024,
  READ_BULK = 192 * 1024, /* once a read has filled its room */
  READ_MOST = 256 * 1024,
  MAX_ARRIVED = 16, /* sets whose frame is not there: more is nonsense */
};

struct orr_set {
  struct orr_set *next;
  uint64_t from, to; /* it came with these bytes */
  int count;
  int fds[]; /* -1: taken */
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

static void put32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++)
    at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get32(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
         (uint32_t)at[3] << 24;
}

static void put_header(uint8_t *at, size_t length, int type, int flags,
                       unsigned n) {
  put32(at, (uint32_t)length);
  at[4] = (uint8_t)type;
  at[5] = (uint8_t)flags;
  at[6] = (uint8_t)n;
  at[7] = (uint8_t)(n >> 8);
}

/* Opening and closing -------------------------------------------------------
 */

void orr_channel_open(struct orr_channel *channel, int fd,
                      enum orr_framing framing, size_t max_message) {
  memset(channel, 0, sizeof *channel);
  channel->fd = fd;
  channel->framing = framing;
  channel->max_message =
      max_message < UINT32_MAX - 64 ? max_message : UINT32_MAX - 64;
  channel->pending_fd = channel->given = -1;
}

static void free_set(struct orr_set *set) {
  for (int i = 0; set != NULL && i < set->count; i++)
    if (set->fds[i] >= 0)
      close(set->fds[i]);
  free(set);
}

static void free_segment(struct orr_segment *segment) {
  if (segment == NULL)
    return;
  orr_buffer_free(&segment->bytes);
  free(segment->fds);
  free(segment);
}

static void drop_first_set(struct orr_channel *channel) {
  struct orr_set *set = channel->arrived;
  channel->arrived = set->next;
  free_set(set);
}

static void drop_given(struct orr_channel *channel) {
  if (channel->given >= 0)
    close(channel->given);
  channel->given = -1;
}

static void drop_input(struct orr_channel *channel) {
  orr_buffer_free(&channel->in);
  channel->in_start = channel->scanned = 0;
  channel->changes++;
}

void orr_channel_close(struct orr_channel *channel) {
  if (channel->fd >= 0)
    close(channel->fd);
  channel->fd = -1;
  drop_input(channel);
  drop_given(channel);
  while (channel->arrived != NULL)
    drop_first_set(channel);
  free_set(channel->current);
  channel->current = NULL;
  while (channel->head != NULL) {
    struct orr_segment *segment = channel->head;
    channel->head = segment->next;
    free_segment(segment);
  }
  channel->tail = NULL;
  free_segment(channel->spare);
  channel->spare = NULL;
}

/* Sending -------------------------------------------------------------------
 */

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

/* Whether one more frame may go into a segment. */
static bool has_place(const struct orr_segment *segment, bool with_fd) {
  if (segment->committed == 0)
    return true;
  if (!with_fd)
    return segment->committed < SEGMENT;
  return segment->carrier && !segment->started &&
         segment->count < ORR_SET_SIZE && segment->committed < SEGMENT;
}

/* The segment for the next frame, its buffer cut to what is committed. */
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

/* Room for the fd that is being sent: all that can fail comes before commit. */
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
    flags |= ORR_HANDLE;
  put_header(out->data + out->length, 0, type, flags, (unsigned)segment->count);
  out->length += ORR_HEADER;
  if (fd >= 0) {
    put32(out->data + out->length, segment->number);
    out->length += 4;
  }
  return out;
}

/* Ends a frame of which `more` bytes are still to be appended. */
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
  put32(out->data + channel->frame_start, (uint32_t)(length - ORR_HEADER));
  return 0;
}

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

static ssize_t send_message(const struct orr_channel *channel,
                            const struct msghdr *message) {
  ssize_t n;
  do
    n = sendmsg(channel->fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

/* sendmsg of a segment's rest, with its fds where it has not been begun. */
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
  return send_message(channel, &message);
}

/* A segment that is sent is used again: for the next frames, or by the next
   segment. */
static void retire_head(struct orr_channel *channel) {
  struct orr_segment *segment = channel->head;
  segment->committed = segment->sent = segment->bytes.length = 0;
  segment->carrier = segment->started = false;
  segment->count = 0;
  if (segment->bytes.capacity > KEPT)
    orr_buffer_free(&segment->bytes);
  if (segment->next == NULL)
    return;
  channel->head = segment->next;
  segment->next = NULL;
  free_segment(channel->spare);
  channel->spare = segment;
}

static void note_sent(struct orr_channel *channel, size_t n) {
  struct orr_segment *segment = channel->head;
  segment->started = true;
  segment->sent += n;
  channel->sent += n;
  if (segment->sent == segment->committed)
    retire_head(channel);
}

static void open_set(struct orr_segment *segment) {
  put_header(segment->bytes.data, 4, ORR_FDS, 0, (unsigned)segment->count);
  put32(segment->bytes.data + ORR_HEADER, segment->number);
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
    ssize_t n = send_message(
        channel, &(struct msghdr){.msg_iov = parts, .msg_iovlen = 2});
    sent = n > 0 ? (size_t)n : 0; /* errors come back with the next flush */
  }
  size_t gone = sent > start ? sent - start : 0;
  memcpy(out->data + start + gone, (const char *)bytes + gone, length - gone);
  out->length += length;
  commit_bytes(channel);
  if (sent > 0)
    note_sent(channel, sent);
  return 0;
}

/* Receiving -----------------------------------------------------------------
 */

uint64_t orr_channel_position(const struct orr_channel *channel) {
  return channel->received - (channel->in.length - channel->in_start);
}

/* How many bytes more would complete the frame that is begun, as far as known.
 */
static size_t wanted(const struct orr_channel *channel) {
  size_t there = channel->in.length - channel->in_start;
  if (channel->framing == ORR_LINES || there < ORR_HEADER)
    return 0;
  size_t whole =
      ORR_HEADER + (size_t)get32(channel->in.data + channel->in_start);
  return whole > there ? whole - there : 0;
}

/* Room to read into: more where the last read filled it or a long frame is on
   its way, but never much beyond what has come: a length may be a lie. */
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

/* Notes the fds of one recvmsg: 1 where it had some. MSG_CTRUNC without any is
   a set as well, of which the kernel could give us nothing. */
static int note_set(struct orr_channel *channel, struct msghdr *message,
                    uint64_t from, uint64_t to) {
  struct cmsghdr *header = CMSG_FIRSTHDR(message);
  while (header != NULL &&
         (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS))
    header = CMSG_NXTHDR(message, header);
  int count = 0;
  if (header != NULL)
    count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  if (count == 0 && !(message->msg_flags & MSG_CTRUNC))
    return 0;
  struct orr_set *set = malloc(sizeof *set + (size_t)count * sizeof(int));
  struct orr_set **last = &channel->arrived;
  int sets = 0;
  for (; *last != NULL; last = &(*last)->next)
    sets++;
  if (set == NULL) {
    for (int i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + (size_t)i * sizeof fd, sizeof fd);
      close(fd);
    }
    return -ENOMEM;
  }
  *set = (struct orr_set){.from = from, .to = to, .count = count};
  if (count > 0)
    memcpy(set->fds, CMSG_DATA(header), (size_t)count * sizeof(int));
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
    message.msg_controllen = CMSG_LEN(sizeof(int)); /* nobody asks for more */
  ssize_t n;
  do
    n = recvmsg(channel->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    return -errno;
  uint64_t from = channel->received;
  channel->filled = (size_t)n == bytes.iov_len;
  in->length += (size_t)n;
  channel->received += (uint64_t)n;
  error = note_set(channel, &message, from, channel->received);
  if (error < 0)
    return error;
  if (error > 0)
    channel->filled = true; /* recvmsg ends with the bytes that fds came with */
  return n;
}

/* The set that came with the byte at `place`, out of those that have arrived;
   NULL: it was lost. Sets of earlier bytes were announced by no frame. */
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
  channel->current_number = get32(frame->payload);
  channel->current_count = frame->n;
  return set != NULL && set->count > (int)frame->n ? -EPROTO : 0;
}

/* Gives a frame the fd that it names. */
static int attach_fd(struct orr_channel *channel, struct orr_frame *frame) {
  if (frame->length < 4 || get32(frame->payload) != channel->current_number ||
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

/* The next frame of any type, and its place in the stream. */
static int parse_frame(struct orr_channel *channel, struct orr_frame *frame,
                       uint64_t *place) {
  size_t there = channel->in.length - channel->in_start;
  if (there < ORR_HEADER)
    return 0;
  const uint8_t *at = channel->in.data + channel->in_start;
  size_t length = get32(at);
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

static int next_frame(struct orr_channel *channel, struct orr_frame *frame) {
  uint64_t place = 0;
  int rc;
  while ((rc = parse_frame(channel, frame, &place)) == 1) {
    int error = 0;
    if (frame->type == ORR_FDS)
      error = begin_set(channel, frame, place);
    else if (frame->flags & ORR_HANDLE)
      error = attach_fd(channel, frame);
    if (error < 0)
      return error;
    if (frame->type != ORR_FDS)
      return 1;
  }
  /* Fds that came with bytes which are all used up belong to no frame. */
  if (rc == 0 && channel->arrived != NULL &&
      channel->arrived->to <= orr_channel_position(channel))
    return -EPROTO;
  return rc;
}

static int next_line(struct orr_channel *channel, struct orr_frame *frame) {
  /* Fds that came with lines which are done, and that nobody asked for. */
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
      channel->in.capacity > KEPT)
    drop_input(channel);
  return rc;
}

/* LINES: the set that came with the line, or with those before it in one read.
 */
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
         channel->arrived == NULL && channel->in.capacity <= KEPT;
}

size_t orr_channel_partial(const struct orr_channel *channel) {
  return channel->in.length - channel->in_start;
}
