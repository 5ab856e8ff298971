/*
** handles.c - what it costs in C to accept a connection in one process and to
** answer it in another: accept, sendmsg with SCM_RIGHTS, recvmsg, write, close,
** with calls that block.
**
**   handles COUNT
**
** The client is build/bench/connect. COUNT is preceded by a tenth of it, to
** warm up. Prints CPU time of parent and child together, in us for each
** connection.
*/
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int channel, server;
static char port[8];

static _Noreturn void die(const char *what) {
  fprintf(stderr, "handles: %s: %s\n", what, strerror(errno));
  exit(1);
}

union control {
  char bytes[CMSG_SPACE(sizeof(int))];
  struct cmsghdr align;
};

static void send_fd(int fd) {
  union control control;
  struct iovec byte = {"!", 1};
  struct msghdr message = {.msg_iov = &byte,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                             .cmsg_type = SCM_RIGHTS,
                             .cmsg_len = CMSG_LEN(sizeof fd)};
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (sendmsg(channel, &message, 0) != 1)
    die("sendmsg");
}

static int receive_fd(void) {
  union control control;
  char room;
  int fd;
  struct iovec byte = {&room, 1};
  struct msghdr message = {.msg_iov = &byte,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1)
    die("recvmsg");
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

static double cpu_us(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* What the child does: it gives COUNT answers, and tells what they cost it. */
static void answer(long count) {
  double begun = cpu_us();
  for (long i = 0; i < count; i++) {
    int fd = receive_fd();
    if (write(fd, "ok", 2) != 2)
      die("write");
    close(fd);
  }
  double cost = cpu_us() - begun;
  if (write(channel, &cost, sizeof cost) != sizeof cost)
    die("write");
}

static void start_client(long count) {
  char number[24];
  snprintf(number, sizeof number, "%ld", count);
  if (vfork() == 0) {
    execl("build/bench/connect", "connect", port, number, (char *)NULL);
    _exit(127);
  }
}

/* What the parent does. Returns the CPU time of both in us. */
static double pass_on(long count) {
  double begun = cpu_us(), childs;
  start_client(count);
  for (long i = 0; i < count; i++) {
    int fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
      die("accept");
    send_fd(fd);
    close(fd);
  }
  if (read(channel, &childs, sizeof childs) != sizeof childs)
    die("read");
  wait(NULL);
  return cpu_us() - begun + childs;
}

static void listen_anywhere(void) {
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (server < 0 || bind(server, (struct sockaddr *)&at, size) < 0 ||
      listen(server, 511) < 0 ||
      getsockname(server, (struct sockaddr *)&at, &size) < 0)
    die("listen");
  snprintf(port, sizeof port, "%d", ntohs(at.sin_port));
}

int main(int argc, char **argv) {
  int ends[2];
  if (argc != 2) {
    fprintf(stderr, "usage: handles COUNT\n");
    return 2;
  }
  long count = atol(argv[1]);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    die("socketpair");
  pid_t pid = fork();
  channel = ends[pid == 0];
  close(ends[pid != 0]);
  if (pid == 0) {
    answer(count / 10 + 1);
    answer(count);
    return 0;
  }
  listen_anywhere();
  pass_on(count / 10 + 1);
  printf("cpu_us_per_op %.3f\n", pass_on(count) / (double)count);
  wait(NULL);
  return 0;
}
