/* socket.c - stream sockets that luv has no handle of: what they are and where,
   listening and accepting. Functions take the number of an fd and leave it
   open: whoever owns it goes on owning it. */
#include "binding.h"
#include "engine/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* core.socket_kind(n) -> "tcp" or "pipe", as luv calls stream sockets of the
   Internet and of Unix; nil, errno (ENOTSOCK: fd n is something else;
   EBADF). */
static int l_socket_kind(lua_State *L) {
  int n = orr_check_fd(L, 1), domain = 0, type = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(n, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
      getsockopt(n, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
    return orr_fail(L, errno);
  if (type == SOCK_STREAM && (domain == AF_INET || domain == AF_INET6))
    lua_pushliteral(L, "tcp");
  else if (type == SOCK_STREAM && domain == AF_UNIX)
    lua_pushliteral(L, "pipe");
  else
    return orr_fail(L, ENOTSOCK);
  return 1;
}

/* core.listen(n, backlog) -> true; nil, errno. As listen(2). */
static int l_listen(lua_State *L) {
  int n = orr_check_fd(L, 1), backlog = (int)luaL_checkinteger(L, 2);
  if (listen(n, backlog) < 0)
    return orr_fail(L, errno);
  lua_pushboolean(L, true);
  return 1;
}

/* core.accept(n) -> the orrery.fd of the next connection, non-blocking; nil,
   errno (EAGAIN: none waits; EMFILE). */
static int l_accept(lua_State *L) {
  int n = orr_check_fd(L, 1);
  orr_fd_push(L);
  int fd = orr_accept(n);
  if (fd < 0)
    return orr_fail(L, -fd);
  orr_fd_set(L, -1, fd, true);
  return 1;
}

union place {
  struct sockaddr any;
  struct sockaddr_in ip4;
  struct sockaddr_in6 ip6;
  struct sockaddr_un unix_;
};

/* Pushes an IPv4 address; inet_ntop would take 1,700 instructions. */
static void push_ip4(lua_State *L, const struct in_addr *at) {
  const unsigned char *bytes = (const unsigned char *)&at->s_addr;
  char text[INET_ADDRSTRLEN], *end = text;
  for (int i = 0; i < 4; i++) {
    unsigned byte = bytes[i];
    if (byte >= 100)
      *end++ = (char)('0' + byte / 100);
    if (byte >= 10)
      *end++ = (char)('0' + byte / 10 % 10);
    *end++ = (char)('0' + byte % 10);
    *end++ = '.';
  }
  lua_pushlstring(L, text, (size_t)(end - text - 1));
}

/* Pushes an IP address and a port, or the path of a Unix socket and nil, or nil
   and nil if there is no address. `size` is what the kernel said. */
static void push_place(lua_State *L, const union place *at, socklen_t size) {
  char text[INET6_ADDRSTRLEN];
  size_t before = offsetof(struct sockaddr_un, sun_path);
  if (at->any.sa_family == AF_INET) {
    push_ip4(L, &at->ip4.sin_addr);
    lua_pushinteger(L, ntohs(at->ip4.sin_port));
    return;
  } else if (at->any.sa_family == AF_INET6) {
    lua_pushstring(L,
                   inet_ntop(AF_INET6, &at->ip6.sin6_addr, text, sizeof text));
    lua_pushinteger(L, ntohs(at->ip6.sin6_port));
    return;
  } else if (at->any.sa_family == AF_UNIX && size > before) {
    const char *path = at->unix_.sun_path;
    size_t length = size - before; /* an abstract name has NULs */
    if (length > sizeof at->unix_.sun_path)
      length =
          sizeof at->unix_.sun_path; /* the kernel counts a NUL behind it */
    lua_pushlstring(L, path, *path != '\0' ? strnlen(path, length) : length);
  } else {
    lua_pushnil(L);
  }
  lua_pushnil(L);
}

/* Pushes 4, 6, "unix", or nil. */
static void push_family(lua_State *L, const union place *at) {
  switch (at->any.sa_family) {
  case AF_INET:
    lua_pushinteger(L, 4);
    break;
  case AF_INET6:
    lua_pushinteger(L, 6);
    break;
  case AF_UNIX:
    lua_pushliteral(L, "unix");
    break;
  default:
    lua_pushnil(L);
  }
}

/* core.addresses(n) -> own address, own port, the peer's address, its port, the
   family (4, 6 or "unix") of a connected socket. Of a Unix socket the address
   is its path and there is no port. What does not exist is nil: all that is
   asked of a peer that has gone. */
static int l_addresses(lua_State *L) {
  int n = orr_check_fd(L, 1);
  union place own = {.any.sa_family = AF_UNSPEC}, peer = own;
  socklen_t own_size = sizeof own, peer_size = sizeof peer;
  getsockname(n, &own.any, &own_size);
  push_place(L, &own, own_size);
  getpeername(n, &peer.any, &peer_size);
  push_place(L, &peer, peer_size);
  push_family(L, own.any.sa_family == AF_UNIX ? &own : &peer);
  return 5;
}

void orr_open_socket(lua_State *L) {
  static const luaL_Reg functions[] = {{"socket_kind", l_socket_kind},
                                       {"listen", l_listen},
                                       {"accept", l_accept},
                                       {"addresses", l_addresses},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
