/* handoff.c - messages with fds between a primary and a worker: see
   handoff.h. */
#include "handoff.h"

#include "engine/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

struct head {
  uint32_t kind, id;
};

union control {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(ORR_MOST_HANDED * sizeof(int))];
};

int orr_hand_off_open(int ends[2]) {
  static const int most = 1 << 20; /* bytes; the kernel takes what it allows */
  int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
  if (socketpair(AF_UNIX, type, 0, ends) < 0)
    return -errno;
  for (int i = 0; i < 2; i++)
    setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &most, sizeof most);
  return 0;
}

/* Puts the fds of a message into what is to be sent. */
static void put_fds(struct msghdr *header, union control *control,
                    const struct orr_hand_off *message) {
  size_t size = (size_t)message->count * sizeof(int);
  memset(control, 0, sizeof *control);
  header->msg_control = control->bytes;
  header->msg_controllen = CMSG_SPACE(size);
  struct cmsghdr *rights = CMSG_FIRSTHDR(header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(rights), message->fds, size);
}

int orr_hand_off_send(int socket, const struct orr_hand_off *message) {
  struct head head = {message->kind, message->id};
  union control control;
  struct iovec part = {&head, sizeof head};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (message->count > 0)
    put_fds(&header, &control, message);
  ssize_t n = orr_sendmsg(socket, &header);
  if (n == -ECONNRESET)
    return -EPIPE;
  return n < 0 ? (int)n : 0;
}

void orr_hand_off_close(struct orr_hand_off *message) {
  for (int i = 0; i < message->count; i++)
    close(message->fds[i]);
  message->count = 0;
}

/* Takes the fds out of what was received; those beyond what a message may have
   are closed by the kernel. */
static void take_fds(struct msghdr *header, struct orr_hand_off *message) {
  message->count = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL;
       c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    if (count > ORR_MOST_HANDED - message->count)
      count = ORR_MOST_HANDED - message->count;
    memcpy(message->fds + message->count, CMSG_DATA(c),
           (size_t)count * sizeof(int));
    message->count += count;
  }
}

/* Receives, or with MSG_PEEK looks at, a message. Returns its size, or -errno;
 *cut says whether fds of it are lost. */
static ssize_t receive(int socket, struct orr_hand_off *message, int flags,
                       bool *cut) {
  struct head head = {0, 0};
  union control control;
  struct iovec part = {&head, sizeof head};
  struct msghdr header = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes};
  ssize_t n;
  do
    n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
  while (n < 0 && errno == EINTR);
  message->count = 0;
  if (n < 0)
    return -errno;
  take_fds(&header, message);
  *cut = header.msg_flags & MSG_CTRUNC;
  if (header.msg_flags & MSG_TRUNC)
    n = (ssize_t)sizeof head + 1; /* whatever its size is, it is none of ours */
  message->kind = head.kind;
  message->id = head.id;
  return n;
}

/* What recv(2) of an end gives is a message of no bytes as well: only one that
   is empty and brings no fds is taken for the end. */
static int judge(ssize_t n, struct orr_hand_off *message) {
  if (n == -EAGAIN)
    return 0;
  if (n < 0)
    return n == -ECONNRESET ? -EPIPE : (int)n;
  if (n == 0 && message->count == 0)
    return -EPIPE;
  if (n == (ssize_t)sizeof(struct head) && message->kind <= ORR_PROBE &&
      (message->count > 0) == (message->kind != ORR_PROBE))
    return 1;
  orr_hand_off_close(message);
  return -EPROTO;
}

int orr_hand_off_receive(int socket, struct orr_hand_off *message,
                         bool scarce) {
  struct orr_hand_off seen;
  bool cut = false;
  if (!scarce)
    return judge(receive(socket, message, 0, &cut), message);
  ssize_t n = receive(socket, &seen, MSG_PEEK, &cut);
  orr_hand_off_close(&seen);
  if (cut && seen.count < ORR_MOST_HANDED)
    return -EMFILE;
  if (n < 0)
    return judge(n, &seen);
  return judge(receive(socket, message, 0, &cut), message);
}
