/*
** short.c - what a short connection costs a server in C: one loop on epoll that
** accepts, reads a request, writes an answer and closes.
**
**   short COUNT
**
** The client is build/bench/connect. COUNT is preceded by a tenth of it, to
** warm up. Prints the CPU time of this process in us for each connection.
*/
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EVENTS = 64 };

static int epoll, server;
static char port[8];

static _Noreturn void die(const char *what) {
  fprintf(stderr, "short: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double cpu_us(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void watch(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
    die("epoll_ctl");
}

static void accept_all(void) {
  int fd;
  while ((fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
    watch(fd);
  if (errno != EAGAIN)
    die("accept");
}

static void answer(int fd) {
  char request[64];
  if (read(fd, request, sizeof request) != 2 || write(fd, "ok", 2) != 2)
    die("answer");
  close(fd);
}

static void serve(long count) {
  struct epoll_event events[EVENTS];
  while (count > 0) {
    int n = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      if (events[i].data.fd == server) {
        accept_all();
      } else {
        answer(events[i].data.fd);
        count--;
      }
    }
  }
}

static double run(long count) {
  char number[24];
  snprintf(number, sizeof number, "%ld", count);
  double begun = cpu_us();
  if (vfork() == 0) {
    execl("build/bench/connect", "connect", port, number, "8", "hi",
          (char *)NULL);
    _exit(127);
  }
  serve(count);
  double cost = cpu_us() - begun;
  wait(NULL);
  return cost;
}

static void listen_anywhere(void) {
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (server < 0 || bind(server, (struct sockaddr *)&at, size) < 0 ||
      listen(server, 511) < 0 ||
      getsockname(server, (struct sockaddr *)&at, &size) < 0)
    die("listen");
  snprintf(port, sizeof port, "%d", ntohs(at.sin_port));
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 0;
  if (count < 1) {
    fprintf(stderr, "usage: short COUNT\n");
    return 2;
  }
  epoll = epoll_create1(EPOLL_CLOEXEC);
  listen_anywhere();
  watch(server);
  run(count / 10 + 1);
  printf("cpu_us_per_op %.3f\n", run(count) / (double)count);
  return 0;
}
