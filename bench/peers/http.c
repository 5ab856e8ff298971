/*
** http.c - what an HTTP server costs at least: an epoll loop that answers each
** read with a constant, and parses nothing.
**
**   http PORT [keep|close [PROCESSES]]
**
** Port 0 is one of the system's choice. With `close`, each connection ends with
** its answer. Several processes have a socket each (SO_REUSEPORT), and end with
** the first one. Prints "ready PORT", and runs until it is ended.
*/
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\n"
                             "Content-Length: 6\r\n"
                             "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                             "Connection: keep-alive\r\n"
                             "Keep-Alive: timeout=75\r\n\r\nhello\n";

static int set, listener, closes;

/* Returns a socket that listens on the port of 127.0.0.1. */
static int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 511) < 0) {
    perror("http");
    exit(1);
  }
  return fd;
}

static void watch(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
}

static void accept_all(void) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
    watch(fd);
}

static void serve(int fd) {
  static char data[65536];
  ssize_t n = read(fd, data, sizeof data);
  if (n > 0 && write(fd, answer, sizeof answer - 1) > 0 && !closes)
    return;
  close(fd);
}

int main(int argc, char **argv) {
  struct epoll_event events[64];
  listener = listen_on(argc > 1 ? atoi(argv[1]) : 0);
  closes = argc > 2 && strcmp(argv[2], "close") == 0;
  struct sockaddr_in at;
  socklen_t size = sizeof at;
  getsockname(listener, (struct sockaddr *)&at, &size);
  printf("ready %d\n", ntohs(at.sin_port));
  fflush(stdout);
  for (int i = 1; i < (argc > 3 ? atoi(argv[3]) : 1); i++)
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(listener);
      listener = listen_on(ntohs(at.sin_port));
      break;
    }
  set = epoll_create1(0);
  watch(listener);
  for (;;) {
    int n = epoll_wait(set, events, 64, -1);
    for (int i = 0; i < n; i++)
      if (events[i].data.fd == listener)
        accept_all();
      else
        serve(events[i].data.fd);
  }
}
