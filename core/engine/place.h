/* place.h - addresses of sockets, and binding to them. */
#ifndef ORR_PLACE_H
#define ORR_PLACE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

union orr_place {
  struct sockaddr any;
  struct sockaddr_in ip4;
  struct sockaddr_in6 ip6;
  struct sockaddr_un path;
};

/* Fills in an IP address and a port, 0 to 65535. An address of IPv6 may have a
   scope behind it: "fe80::1%eth0", "fe80::1%2". Returns the size of what it has
   filled in; -EINVAL: it is no address; -ENODEV: there is no such scope. */
int orr_place_ip(union orr_place *place, const char *ip, int port);

/* Fills in a path, or an abstract name, which begins with a NUL and may have
   others. Returns the size; -ENAMETOOLONG: it does not fit. */
int orr_place_path(union orr_place *place, const char *path, size_t length);

struct orr_bind {
  int type; /* SOCK_STREAM or SOCK_DGRAM */
  bool reuse_addr, reuse_port, ipv6_only;
};

/* Makes a socket, non-blocking and CLOEXEC, and binds it. Returns its fd, or
   -errno. */
int orr_bind(const union orr_place *place, int size,
             const struct orr_bind *how);

#endif
