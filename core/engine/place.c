/* place.c - addresses of sockets, and binding to them. */
#include "place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Returns the number of a scope, which is a name or a number; 0: there is no
   such one. */
static unsigned scope_of(const char *text) {
  unsigned number = if_nametoindex(text);
  char *end;
  if (number > 0)
    return number;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  bool good = *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
  return good && value <= UINT32_MAX ? (unsigned)value : 0;
}

static int place_ip6(struct sockaddr_in6 *at, const char *ip, int port) {
  char bare[INET6_ADDRSTRLEN];
  const char *scope = strchr(ip, '%');
  size_t length = scope != NULL ? (size_t)(scope - ip) : strlen(ip);
  if (length >= sizeof bare)
    return -EINVAL;
  memcpy(bare, ip, length);
  bare[length] = '\0';
  *at = (struct sockaddr_in6){.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET6, bare, &at->sin6_addr) != 1)
    return -EINVAL;
  if (scope != NULL && (at->sin6_scope_id = scope_of(scope + 1)) == 0)
    return -ENODEV;
  return sizeof *at;
}

int orr_place_ip(union orr_place *place, const char *ip, int port) {
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, ip, &at.sin_addr) != 1)
    return place_ip6(&place->ip6, ip, port);
  place->ip4 = at;
  return sizeof at;
}

int orr_place_path(union orr_place *place, const char *path, size_t length) {
  struct sockaddr_un *at = &place->path;
  if (length >= sizeof at->sun_path)
    return -ENAMETOOLONG;
  at->sun_family = AF_UNIX;
  memcpy(at->sun_path, path, length);
  at->sun_path[length] = '\0';
  bool is_abstract = length > 0 && *path == '\0';
  return (int)(offsetof(struct sockaddr_un, sun_path) + length +
               (is_abstract ? 0 : 1));
}

static int set(int fd, int level, int name, int on) {
  return setsockopt(fd, level, name, &on, sizeof on);
}

/* Sets what has to be set before the bind. */
static int prepare(int fd, int family, const struct orr_bind *how) {
  if (how->reuse_addr && set(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0)
    return -1;
  if (how->reuse_port && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
    return -1;
  return family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_V6ONLY, how->ipv6_only)
                            : 0;
}

int orr_bind(const union orr_place *place, int size,
             const struct orr_bind *how) {
  int family = place->any.sa_family;
  int fd = socket(family, how->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -errno;
  if (prepare(fd, family, how) == 0 &&
      bind(fd, &place->any, (socklen_t)size) == 0)
    return fd;
  int error = errno;
  close(fd);
  return -error;
}
