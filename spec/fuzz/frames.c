/* frames.c - fuzzes the channel. The first byte chooses: a hostile peer, which
   sends any bytes in any chunks with any fds, or two channels that talk to each
   other, of which one reads slowly and is short of fds at times. */
#include "engine/channel.h"
#include "fds.h"
#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OUT = 64 * 1024 };

static void connect_pair(int ends[2], int buffer) {
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  if (buffer > 0)
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
}

/* A hostile peer ----------------------------------------------------------- */

struct hostile {
  struct input input;
  struct orr_channel channel;
  int peer;
  size_t most; /* bytes that lay in its buffer */
  uint8_t out[OUT];
  size_t length;
};

static void append(struct hostile *test, const uint8_t *data, size_t size) {
  if (size > OUT - test->length)
    size = OUT - test->length;
  if (size > 0)
    memcpy(test->out + test->length, data, size);
  test->length += size;
}

static void append_header(struct hostile *test, uint32_t length, unsigned type,
                          unsigned flags, unsigned n) {
  uint8_t header[ORR_HEADER] = {(uint8_t)length,
                                (uint8_t)(length >> 8),
                                (uint8_t)(length >> 16),
                                (uint8_t)(length >> 24),
                                (uint8_t)type,
                                (uint8_t)flags,
                                (uint8_t)n,
                                (uint8_t)(n >> 8)};
  append(test, header, sizeof header);
}

static void append_frame(struct hostile *test) {
  struct input *input = &test->input;
  unsigned type = next_byte(input) % (ORR_TYPES + 1),
           flags = next_byte(input) % 4;
  unsigned n = next_byte(input);
  const uint8_t *payload;
  size_t size = next_bytes(input, next_byte(input), &payload);
  append_header(test, (uint32_t)size, type, flags, n);
  append(test, payload, size);
}

/* Announces a set of fds, and maybe sends frames which name all of them. */
static void append_set(struct hostile *test) {
  struct input *input = &test->input;
  uint8_t number[4] = {(uint8_t)next_byte(input)};
  unsigned n = next_byte(input), users = next_byte(input);
  append_header(test, 4, ORR_FDS, 0, n);
  append(test, number, sizeof number);
  for (unsigned i = 0; i < users; i++) {
    append_header(test, sizeof number, ORR_MESSAGE, ORR_HAS_FD, i);
    append(test, number, sizeof number);
  }
}

static void append_raw(struct hostile *test) {
  const uint8_t *data;
  size_t size = next_bytes(&test->input, next_byte(&test->input), &data);
  append(test, data, size);
}

static void append_long(struct hostile *test) {
  unsigned byte = next_byte(&test->input), times = next_byte(&test->input);
  uint8_t data[251];
  memset(data, (int)byte, sizeof data);
  while (times-- > 0)
    append(test, data, sizeof data);
}

static void send_out(struct hostile *test) {
  unsigned fds = next_byte(&test->input);
  if (test->length > 0)
    send_with_files(test->peer, test->out, test->length,
                    (int)(fds > MOST_FDS ? MOST_FDS
                          : fds > 128    ? fds % 8
                                         : 0));
  test->length = 0;
}

static void take(struct hostile *test) {
  bool lost;
  int fd = orr_channel_take_fd(&test->channel, &lost);
  if (fd < 0)
    return;
  CHECK(!lost && is_file(fd, -1));
  if (held_fds() < 1000)
    hold_fd(fd);
  else
    close(fd);
}

static void check_frame(struct hostile *test, const struct orr_frame *frame) {
  const struct orr_channel *channel = &test->channel;
  const uint8_t *data = channel->in.data;
  CHECK(frame->length <= channel->max_message + 8);
  CHECK(frame->payload >= data);
  CHECK(frame->payload + frame->length <= data + channel->in.length);
  if (channel->framing == ORR_LINES)
    CHECK(memchr(frame->payload, '\n', frame->length) == NULL);
  else
    CHECK(frame->type != ORR_FDS);
  bool handle = channel->framing == ORR_LINES
                    ? frame->length > 0 && frame->payload[0] == 'H'
                    : (frame->flags & ORR_HAS_FD) != 0;
  if (handle && next_byte(&test->input) % 4 != 1)
    take(test);
}

/* A length that is a lie reserves nothing. */
static long read_once(struct hostile *test) {
  struct orr_channel *channel = &test->channel;
  long n = orr_channel_receive(channel);
  if (channel->in.length > test->most)
    test->most = channel->in.length;
  CHECK(channel->in.capacity <= 3 * test->most + (1 << 20));
  return n;
}

static long receive(struct hostile *test) {
  struct orr_frame frame;
  long n = read_once(test);
  while (orr_channel_next(&test->channel, &frame) == 1)
    check_frame(test, &frame);
  return n;
}

static void read_limited(struct hostile *test) {
  limit_fds((int)(next_byte(&test->input) % 8));
  read_once(test);
  limit_fds(-1);
}

static void step_hostile(struct hostile *test) {
  switch (next_byte(&test->input) % 10) {
  case 0:
    append_raw(test);
    break;
  case 1:
  case 2:
    append_frame(test);
    break;
  case 3:
    append_set(test);
    break;
  case 4:
    append_long(test);
    break;
  case 5:
  case 6:
    send_out(test);
    break;
  case 7:
    receive(test);
    break;
  case 8:
    read_limited(test);
    break;
  default:
    read_once(test); /* more than one before the next */
  }
}

static void run_hostile(struct input input, enum orr_framing framing) {
  static const size_t limits[] = {16, 1000, 100000, SIZE_MAX};
  static struct hostile test;
  int ends[2];
  connect_pair(ends, 0);
  test.input = input;
  test.peer = ends[1];
  test.length = test.most = 0;
  orr_channel_open(&test.channel, ends[0], framing,
                   limits[next_byte(&test.input) % 4]);
  while (test.input.left > 0)
    step_hostile(&test);
  send_out(&test);
  for (int i = 0; i < 100 && receive(&test) > 0; i++)
    continue;
  close(test.peer);
  receive(&test);
  orr_channel_close(&test.channel);
  CHECK(orr_channel_begin(&test.channel, 0, 0, -1) == NULL);
  CHECK(receive(&test) == -EBADF);
  orr_channel_close(&test.channel);
}

/* Two channels ------------------------------------------------------------- */

enum { MOST_QUEUED = 4096, MOST_BYTES = 4 * 1024 * 1024, LIMIT = 500000 };

struct sent {
  int type, flags, file; /* file: -1: none */
  size_t size;
  uint8_t seed;
};

struct talk {
  struct input input;
  struct orr_channel from, to;
  struct sent queue[MOST_QUEUED]; /* a ring */
  unsigned first, count;
  uint8_t seed;
  bool flying;        /* LINES: an fd is on its way, and no other may be */
  bool limited;       /* fds may have been lost */
  uint64_t lossy_set; /* the last set that lost one, plus 1 */
};

/* A message consists of an 'H' if an fd comes along, or a '-', and then of one
   letter many times. */
static int first_byte(const struct sent *sent) {
  return sent->file >= 0 ? 'H' : '-';
}

static int letter(const struct sent *sent) {
  return '0' + sent->seed % 64;
}

static bool is_content(const struct sent *sent, const uint8_t *data) {
  if (data[0] != first_byte(sent))
    return false;
  return sent->size == 1 || (data[1] == letter(sent) &&
                             memcmp(data + 1, data + 2, sent->size - 2) == 0);
}

static int put_message(struct talk *test, const struct sent *sent) {
  struct orr_buffer *out =
      orr_channel_begin(&test->from, sent->type, sent->flags,
                        sent->file >= 0 ? file_number(sent->file) : -1);
  CHECK(out != NULL && orr_buffer_reserve(out, sent->size) == 0);
  memset(out->data + out->length, letter(sent), sent->size);
  out->data[out->length] = (uint8_t)first_byte(sent);
  out->length += sent->size;
  return next_byte(&test->input) % 16 == 15 ? 1 /* abandoned */
                                            : orr_channel_commit(&test->from);
}

/* Returns the next message, of which type and flags follow from its number. */
static struct sent next_message(struct talk *test, size_t size, int file) {
  struct sent sent = {.size = size + 1, .file = file, .seed = test->seed++};
  if (test->flying)
    sent.file = -1;
  if (test->from.framing == ORR_FRAMES) {
    sent.type = sent.seed % 5 == ORR_FDS ? ORR_MESSAGE : sent.seed % 5;
    sent.flags = (sent.seed & 8) != 0 ? ORR_FAILED : 0;
  }
  return sent;
}

/* Checks that a message was refused only for its length, and expects one that
   was not. */
static void expect(struct talk *test, const struct sent *sent, int rc) {
  bool handle = sent->file >= 0, lines = test->from.framing == ORR_LINES;
  size_t most = LIMIT - (handle && !lines ? 4 : 0);
  if (rc < 0)
    CHECK(rc == -EMSGSIZE && sent->size > most);
  if (rc != 0)
    return;
  CHECK(sent->size <= most);
  test->flying = test->flying || (lines && handle);
  test->queue[(test->first + test->count++) % MOST_QUEUED] = *sent;
}

static void say(struct talk *test, size_t size, int file) {
  struct sent sent = next_message(test, size, file);
  if (test->count < MOST_QUEUED &&
      orr_channel_queued(&test->from) <= MOST_BYTES)
    expect(test, &sent, put_message(test, &sent));
}

static void say_many(struct talk *test) {
  unsigned n = next_byte(&test->input) * 2, size = next_byte(&test->input);
  unsigned files = next_byte(&test->input);
  for (unsigned i = 0; i < n; i++)
    say(test, size, i % 8 < files % 16 ? (int)(i % FILES) : -1);
}

/* A lost fd is one of the last of its set. */
static void check_fd(struct talk *test, const struct sent *sent,
                     const struct orr_frame *frame) {
  bool lost;
  int fd = orr_channel_take_fd(&test->to, &lost);
  uint64_t set = 0;
  test->flying = false;
  if (test->to.framing == ORR_FRAMES) {
    const uint8_t *at = frame->payload - 4;
    set = 1 + (at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16);
    CHECK(frame->flags == (sent->flags | ORR_HAS_FD));
  }
  if (fd < 0) {
    CHECK(lost && test->limited);
    test->lossy_set = set;
    return;
  }
  CHECK(!lost && is_file(fd, sent->file));
  CHECK(set == 0 || set != test->lossy_set);
  close(fd);
}

static void check_message(struct talk *test, const struct orr_frame *frame) {
  CHECK(test->count > 0);
  struct sent sent = test->queue[test->first];
  test->first = (test->first + 1) % MOST_QUEUED;
  test->count--;
  CHECK(frame->type == sent.type && frame->length == sent.size);
  CHECK(is_content(&sent, frame->payload));
  if (sent.file >= 0)
    check_fd(test, &sent, frame);
  else
    CHECK(frame->flags == sent.flags);
}

static void hear(struct talk *test, int room) {
  struct orr_frame frame;
  if (room >= 0) {
    test->limited = true;
    limit_fds(room);
  }
  long n = orr_channel_receive(&test->to);
  limit_fds(-1);
  CHECK(n > 0 || n == -EAGAIN);
  int rc;
  while ((rc = orr_channel_next(&test->to, &frame)) == 1)
    check_message(test, &frame);
  CHECK(rc == 0);
}

static void flush(struct talk *test) {
  int rc = orr_channel_flush(&test->from);
  CHECK(rc == 0 || rc == -EAGAIN || rc == -ETOOMANYREFS);
  CHECK((rc == 0) == (orr_channel_queued(&test->from) == 0));
}

static void step_talk(struct talk *test) {
  struct input *input = &test->input;
  switch (next_byte(input) % 8) {
  case 0:
    say(test, next_byte(input), -1);
    break;
  case 1:
    say(test, next_byte(input), (int)(next_byte(input) % FILES));
    break;
  case 2:
    say(test, 2000 * (size_t)next_byte(input), -1);
    break;
  case 3:
    say(test, 2000 * (size_t)next_byte(input), 0);
    break;
  case 4:
    say_many(test);
    break;
  case 5:
    flush(test);
    break;
  case 6:
    hear(test, -1);
    break;
  default:
    hear(test, (int)next_byte(input));
  }
}

static void run_talk(struct input input, enum orr_framing framing) {
  static struct talk test;
  int ends[2];
  memset(&test, 0, sizeof test);
  test.input = input;
  connect_pair(ends, 4096 * (int)(next_byte(&test.input) % 16));
  orr_channel_open(&test.from, ends[0], framing, LIMIT);
  orr_channel_open(&test.to, ends[1], framing, LIMIT);
  while (test.input.left > 0)
    step_talk(&test);
  do {
    flush(&test);
    hear(&test, -1);
  } while (test.count > 0);
  CHECK(orr_channel_queued(&test.from) == 0);
  CHECK(orr_channel_partial(&test.to) == 0);
  orr_channel_close(&test.from);
  orr_channel_close(&test.to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  open_files();
  int before = count_fds();
  unsigned kind = next_byte(&input);
  enum orr_framing framing = (kind & 1) != 0 ? ORR_LINES : ORR_FRAMES;
  if ((kind & 2) != 0)
    run_talk(input, framing);
  else
    run_hostile(input, framing);
  close_held();
  CHECK(count_fds() == before);
  return 0;
}
