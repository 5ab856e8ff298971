/*
** messages.c - what messages between a child and its parent cost in C: frames
** of 8 bytes and a payload over a Unix socketpair, with calls that block.
**
**   messages roundtrip COUNT
**   messages down|up COUNT SIZE
**
** roundtrip: one message in flight, which the child sends back. down, up: COUNT
** messages to the child, or from it, each a string of SIZE bytes, or if SIZE is
** 0 the record {id=i, name="zfpx"}. The writer passes header and payload to one
** writev; the reader takes frames apart and copies each payload once.
**
** COUNT is preceded by a tenth of it, to warm up, unless it is 1. Prints
** DIRECTION_per_second and so on: messages and MB a second, wall time of all of
** them in ms, and for each MiB, and the peak of resident memory of both.
*/
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 8, TAG = 5, RECORD = 19, READ = 256 * 1024 };

static const char *mode;
static size_t size;
static int fd;

/* What has been read and not taken apart, and the copy of the last payload. */
static uint8_t *in, *copy;
static size_t start, end, capacity, copied;

static _Noreturn void die(const char *what) {
  fprintf(stderr, "messages: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *allocate(void *old, size_t bytes) {
  void *p = realloc(old, bytes);
  if (p == NULL)
    die("realloc");
  return p;
}

static void write_all(struct iovec *iov, int n) {
  while (n > 0) {
    ssize_t done = writev(fd, iov, n);
    if (done < 0)
      die("writev");
    for (; n > 0 && (size_t)done >= iov->iov_len; n--, iov++)
      done -= (ssize_t)iov->iov_len;
    if (n > 0) {
      iov->iov_base = (uint8_t *)iov->iov_base + done;
      iov->iov_len -= (size_t)done;
    }
  }
}

static void put32(uint8_t *at, size_t value) {
  uint32_t n = (uint32_t)value;
  memcpy(at, &n, sizeof n);
}

/* Makes a frame with the record. */
static void make_record(uint8_t *frame, size_t i) {
  memset(frame, 0, HEADER);
  put32(frame, RECORD);
  memcpy(frame + HEADER, "\x82\xa2id\xce____\xa4name\xa4zfpx", RECORD);
  put32(frame + HEADER + 5, i);
}

static void send_all(size_t n) {
  uint8_t head[HEADER + TAG] = {0}, frame[HEADER + RECORD];
  uint8_t *text = allocate(NULL, size + 1);
  memset(text, 'x', size);
  put32(head, size + TAG);
  head[HEADER] = 0xdb;
  put32(head + HEADER + 1, size);
  for (size_t i = 0; i < n; i++) {
    make_record(frame, i);
    struct iovec record[] = {{frame, HEADER}, {frame + HEADER, RECORD}};
    struct iovec string[] = {{head, sizeof head}, {text, size}};
    write_all(size > 0 ? string : record, 2);
  }
  free(text);
}

static void receive_some(size_t room) {
  memmove(in, in + start, end - start);
  end -= start;
  start = 0;
  if (capacity < room)
    in = allocate(in, capacity = room);
  ssize_t n = read(fd, in + end, capacity - end);
  if (n <= 0)
    die("read");
  end += (size_t)n;
}

/* Takes one frame, of which the payload is copied. */
static void receive_frame(void) {
  uint32_t length;
  while (end - start < HEADER)
    receive_some(READ);
  memcpy(&length, in + start, sizeof length);
  while (end - start < HEADER + length)
    receive_some(HEADER + length > READ ? HEADER + length : READ);
  if (copied < length)
    copy = allocate(copy, copied = length);
  memcpy(copy, in + start + HEADER, length);
  start += HEADER + length;
}

static void receive_all(size_t n) {
  while (n-- > 0)
    receive_frame();
}

static void signal_peer(void) {
  if (write(fd, "!", 1) != 1)
    die("write");
}

static void await_peer(void) {
  char byte;
  if (read(fd, &byte, 1) != 1)
    die("read");
}

/* Sends n messages there and back, one at a time. */
static void bounce(size_t n, int first) {
  uint8_t frame[HEADER + RECORD];
  make_record(frame, 0);
  for (size_t i = 0; i < n; i++) {
    if (first && write(fd, frame, sizeof frame) != sizeof frame)
      die("write");
    if (read(fd, frame, sizeof frame) != sizeof frame)
      die("read");
    if (!first && write(fd, frame, sizeof frame) != sizeof frame)
      die("write");
  }
}

static void run(size_t n, int parent) {
  if (mode[0] == 'r')
    return bounce(n, parent);
  if ((mode[0] == 'd') == parent) {
    if (!parent)
      await_peer();
    send_all(n);
    if (parent)
      await_peer();
  } else {
    if (parent)
      signal_peer();
    receive_all(n);
    if (!parent)
      signal_peer();
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double peak_mib(int who) {
  struct rusage u;
  getrusage(who, &u);
  return (double)u.ru_maxrss / 1024;
}

static void print(const char *name, double value) {
  printf("%s_%s %.3f\n", mode, name, value);
}

int main(int argc, char **argv) {
  int ends[2];
  if (argc < 3) {
    fprintf(stderr, "usage: messages roundtrip|down|up COUNT [SIZE]\n");
    return 2;
  }
  mode = argv[1];
  size_t count = strtoul(argv[2], NULL, 10);
  size = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    die("socketpair");
  pid_t pid = fork();
  fd = ends[pid == 0];
  if (count > 1)
    run(count / 10 + 1, pid != 0);
  double begun = now();
  run(count, pid != 0);
  double seconds = now() - begun;
  if (pid == 0)
    return 0;
  waitpid(pid, NULL, 0);
  print("per_second", (double)count / seconds);
  print("mb_per_second", (double)count * (double)size / seconds / 1e6);
  print("ms", seconds * 1e3);
  print("ms_per_mib", seconds * 1e3 / ((double)(count * size) / (1 << 20)));
  print("parent_peak_mib", peak_mib(RUSAGE_SELF));
  print("child_peak_mib", peak_mib(RUSAGE_CHILDREN));
  return 0;
}
