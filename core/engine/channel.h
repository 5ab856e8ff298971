/* channel.h - messages and fds over a Unix stream socket. Engine: no Lua.

   Two framings. FRAMES is our own: a header of 8 bytes
     u32le payload length | u8 type | u8 flags | u16le n
   and the payload. LINES is Node's: payload, newline; types do not exist.

   fds travel in sets. One sendmsg carries one set of at most 253 fds, and the
   frame that it begins with, of type ORR_FDS, gives the set's number (its
   payload, u32le) and how many they are (n). A frame with ORR_HAS_FD opens its
   payload with the number of a set, u32le, and n is the place in it, from 0. A
   set ends where the next begins. A receiver at its limit of open files gets
   fewer fds than were sent, or none; since it knows which bytes they came with,
   exactly those frames are known to have lost theirs. Fds that come with other
   bytes than an ORR_FDS frame's break the rules. With LINES a set is one fd,
   and may come with any byte of a line or of those before it; 16 may wait.

   The peer is hostile: what it sends is bounded and checked. */
#ifndef ORR_CHANNEL_H
#define ORR_CHANNEL_H

#include "buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum orr_framing { ORR_FRAMES, ORR_LINES };

enum {
  ORR_HEADER = 8,     /* bytes */
  ORR_SET_SIZE = 253, /* SCM_MAX_FD of Linux, see unix(7) */
};

/* Types of frames. Others are skipped: a newer peer may know more. */
enum {
  ORR_MESSAGE = 0,
  ORR_REQUEST = 1, /* payload: u32le id, value */
  ORR_REPLY = 2,   /* payload: u32le id, value */
  ORR_FDS = 3,
  ORR_INTERNAL = 4, /* between the two libraries, such as the cluster's */
  ORR_TYPES         /* how many there are */
};

/* Flags of frames. */
enum {
  ORR_HAS_FD = 1, /* an fd belongs to it */
  ORR_FAILED = 2, /* a reply with an error */
};

struct orr_set;
struct orr_segment;

struct orr_channel {
  int fd; /* owned; -1: closed */
  enum orr_framing framing;
  size_t max_message; /* bytes of a payload, both ways */

  struct orr_buffer in;
  size_t in_start;         /* first byte that is not used up */
  size_t scanned;          /* LINES: bytes from there without a newline */
  bool filled;             /* the last read may have left something */
  unsigned changes;        /* of `in`: each moved or freed what was in it */
  uint64_t received;       /* bytes, ever */
  struct orr_set *arrived; /* fds whose frame is not parsed yet, in order */
  struct orr_set *current; /* the set that frames may name */
  uint32_t current_number;
  uint32_t current_count; /* as its sender says */
  int given; /* the fd of the last frame, not taken yet; -1: none */

  struct orr_segment *head, *tail; /* to be sent */
  struct orr_segment *spare;
  uint64_t accepted, sent; /* bytes, ever */
  uint32_t next_set;
  int pending_fd; /* of the frame that is being built; -1: none */
  size_t frame_start;
};

struct orr_frame {
  int type, flags;
  unsigned n;
  const uint8_t *payload; /* until `changes` of the channel grows */
  size_t length;
};

/* Initializes a channel that owns `fd` from now on. No flag of the fd is
   changed, for other processes may share the open file. */
void orr_channel_open(struct orr_channel *channel, int fd,
                      enum orr_framing framing, size_t max_message);

/* Lets nothing more in or out, also if other processes hold its end: what has
   come is still received, and then the end. Does nothing to a channel that is
   closed. */
void orr_channel_hang_up(const struct orr_channel *channel);

/* Closes the fd and those that have arrived, and frees all. Does nothing to a
   channel that is closed. */
void orr_channel_close(struct orr_channel *channel);

/* Opens a frame, and returns the buffer to append the payload to; NULL if
   memory is short or the channel is closed. The frame is sent only after
   orr_channel_commit; one that was opened before and not committed is
   forgotten. `fd` (-1: none) stays the caller's, who keeps it open until `sent`
   reaches what `accepted` is after the commit. LINES ignores type and flags. */
struct orr_buffer *orr_channel_begin(struct orr_channel *channel, int type,
                                     int flags, int fd);

/* Queues the frame that is open. 0; -EMSGSIZE: the payload is longer than
   max_message; -ENOMEM. */
int orr_channel_commit(struct orr_channel *channel);

/* The same, for FRAMES, with `length` more bytes of payload. For many bytes:
   those that the socket takes at once are not copied. What the socket answers
   is left to the next orr_channel_flush. */
int orr_channel_commit_long(struct orr_channel *channel, const void *bytes,
                            size_t length);

/* Returns how many bytes wait to be sent. */
size_t orr_channel_queued(const struct orr_channel *channel);

/* Sends what the socket takes at once. 0: all is sent; -EAGAIN: send the rest
   when the fd is writable; -ETOOMANYREFS, -ENOBUFS, -ENOMEM, -EMFILE: some time
   later; other errors: the peer is gone. */
int orr_channel_flush(struct orr_channel *channel);

/* Reads once. Returns how many bytes, 0 at the end; -EAGAIN: nothing is there;
   -EPROTO: more fds have come than a peer may send; other errors. */
long orr_channel_receive(struct orr_channel *channel);

/* Gives the next whole frame; those of type ORR_FDS it takes for itself. 1:
   *frame is filled; 0: receive more first; -EPROTO, -EMSGSIZE: the peer breaks
   the rules, and the rest of the stream is of no use. */
int orr_channel_next(struct orr_channel *channel, struct orr_frame *frame);

/* Returns whether orr_channel_next would find nothing and do nothing. */
bool orr_channel_is_idle(const struct orr_channel *channel);

/* Returns how many bytes the frames that orr_channel_next gave had, ever: where
   in the stream the next one begins. */
uint64_t orr_channel_position(const struct orr_channel *channel);

/* Returns the fd of the frame that orr_channel_next gave last, which the caller
   owns from now on. To be called after a frame with ORR_HAS_FD, or a line that
   speaks of an fd; an fd that is not taken is closed by a later call. -1: there
   is none; `*lost` tells whether one was sent and did not arrive. */
int orr_channel_take_fd(struct orr_channel *channel, bool *lost);

/* Returns how many bytes have arrived of a frame that is not whole. At the end
   of the stream, such a frame was cut. */
size_t orr_channel_partial(const struct orr_channel *channel);

#endif
