/* io.c - system calls, made again when a signal has interrupted them. */
#include "io.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t orr_read(int fd, void *data, size_t size) {
  ssize_t n;
  do
    n = read(fd, data, size);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

ssize_t orr_write(int fd, const void *data, size_t size) {
  ssize_t n;
  do
    n = write(fd, data, size);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

ssize_t orr_send(int socket, const void *data, size_t size) {
  ssize_t n;
  do
    n = send(socket, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static bool is_ready(int fd, short events) {
  struct pollfd p = {.fd = fd, .events = events};
  return poll(&p, 1, 0) > 0;
}

ssize_t orr_read_now(int fd, void *data, size_t size) {
  ssize_t n;
  do
    n = recv(fd, data, size, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n >= 0 || errno != ENOTSOCK)
    return n < 0 ? -errno : n;
  return is_ready(fd, POLLIN) ? orr_read(fd, data, size) : -EAGAIN;
}

ssize_t orr_write_now(int fd, const void *data, size_t size) {
  ssize_t n = orr_send(fd, data, size);
  if (n != -ENOTSOCK)
    return n;
  if (!is_ready(fd, POLLOUT))
    return -EAGAIN;
  return orr_write(fd, data, size < PIPE_BUF ? size : PIPE_BUF);
}

ssize_t orr_sendmsg(int socket, const struct msghdr *message) {
  ssize_t n;
  do
    n = sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

ssize_t orr_recvmsg(int socket, struct msghdr *message) {
  ssize_t n;
  do
    n = recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

int orr_accept(int socket, struct sockaddr *peer, socklen_t *size) {
  int fd;
  do
    fd = accept4(socket, peer, size, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  return fd < 0 ? -errno : fd;
}

int orr_waitid(idtype_t type, id_t id, siginfo_t *info, int options,
               struct rusage *usage) {
  long rc;
  do
    rc = syscall(SYS_waitid, type, id, info, options, usage);
  while (rc < 0 && errno == EINTR);
  return rc < 0 ? -errno : 0;
}

void orr_wait4(pid_t pid) {
  while (wait4(pid, NULL, 0, NULL) < 0 && errno == EINTR)
    ;
}

int orr_copy(pid_t self, void *to, const void *from, size_t size) {
  struct iovec into = {to, size}, of = {(void *)(uintptr_t)from, size};
  ssize_t n = process_vm_readv(self, &into, 1, &of, 1, 0);
  if (n < 0 && errno != EFAULT) {
    memcpy(to, from, size);
    return 0;
  }
  return n == (ssize_t)size ? 0 : -EFAULT;
}
