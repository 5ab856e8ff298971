/*
** connect.c - a client: opens COUNT TCP connections to a port of this machine,
** AT_ONCE of them at a time (8), writes REQUEST to each, if there is one, and
** reads each to its end, which must be "ok".
**
**   connect PORT COUNT [AT_ONCE [REQUEST]]
*/
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_AT_ONCE = 8 };

static _Noreturn void die(const char *what) {
  fprintf(stderr, "connect: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int open_one(const struct sockaddr_in *to, const char *request) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  ssize_t size = (ssize_t)strlen(request);
  if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) < 0)
    die("connect");
  if (size > 0 && write(fd, request, (size_t)size) != size)
    die("write");
  return fd;
}

static void finish(int fd) {
  char answer[8];
  size_t size = 0;
  ssize_t n;
  while ((n = read(fd, answer + size, sizeof answer - size)) > 0)
    size += (size_t)n;
  if (n < 0)
    die("read");
  if (size != 2 || memcmp(answer, "ok", 2) != 0) {
    fprintf(stderr, "connect: wrong answer\n");
    exit(1);
  }
  close(fd);
}

int main(int argc, char **argv) {
  long count = argc > 2 ? atol(argv[2]) : 0;
  long at_once = argc > 3 ? atol(argv[3]) : MOST_AT_ONCE;
  if (count < 1 || at_once < 1 || at_once > MOST_AT_ONCE) {
    fprintf(stderr, "usage: connect PORT COUNT [AT_ONCE [REQUEST]]\n");
    return 2;
  }
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)atoi(argv[1])),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fds[MOST_AT_ONCE];
  for (long i = 0; i < count + at_once; i++) {
    if (i >= at_once && i - at_once < count)
      finish(fds[i % at_once]);
    if (i < count)
      fds[i % at_once] = open_one(&to, argc > 4 ? argv[4] : "");
  }
  return 0;
}
