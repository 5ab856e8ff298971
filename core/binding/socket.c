/* socket.c - sockets without luv: what and where they are, binding, listening
   and accepting; Unix datagrams. Functions take the number of an fd and leave
   it open: its owner stays the same. */
#include "binding.h"
#include "engine/io.h"
#include "engine/place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

/* Fills in what kind of socket fd n is. Returns whether it is one; not: errno
   says why. */
static bool ask_kind(int n, int *domain, int *type) {
  socklen_t size = sizeof *type;
  return getsockopt(n, SOL_SOCKET, SO_TYPE, type, &size) == 0 &&
         getsockopt(n, SOL_SOCKET, SO_DOMAIN, domain, &size) == 0;
}

/* core.socket_kind(n) -> "tcp" or "pipe", as luv calls stream sockets of the
   Internet and of Unix; nil, errno (ENOTSOCK: fd n is something else;
   EBADF). */
static int l_socket_kind(lua_State *L) {
  int n = orr_check_fd(L, 1), domain = 0, type = 0;
  if (!ask_kind(n, &domain, &type))
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
static void push_place(lua_State *L, const union orr_place *at,
                       socklen_t size) {
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
    const char *path = at->path.sun_path;
    size_t length = size - before; /* an abstract name has NULs */
    if (length > sizeof at->path.sun_path)
      length = sizeof at->path.sun_path; /* the kernel counts a NUL behind it */
    lua_pushlstring(L, path, *path != '\0' ? strnlen(path, length) : length);
  } else {
    lua_pushnil(L);
  }
  lua_pushnil(L);
}

/* Pushes 4, 6, "unix", or nil. */
static void push_family(lua_State *L, const union orr_place *at) {
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
  union orr_place own = {.any.sa_family = AF_UNSPEC}, peer = own;
  socklen_t own_size = sizeof own, peer_size = sizeof peer;
  getsockname(n, &own.any, &own_size);
  push_place(L, &own, own_size);
  getpeername(n, &peer.any, &peer_size);
  push_place(L, &peer, peer_size);
  push_family(L, own.any.sa_family == AF_UNIX ? &own : &peer);
  return 5;
}

/* core.accept(n) -> the orrery.fd of the next connection, non-blocking; the
   peer's address and port, or its path; the family, as core.addresses has it;
   nil, errno (EAGAIN: none waits; EMFILE). */
static int l_accept(lua_State *L) {
  int n = orr_check_fd(L, 1);
  union orr_place peer = {.any.sa_family = AF_UNSPEC};
  socklen_t size = sizeof peer;
  orr_fd_push(L);
  int fd = orr_accept(n, &peer.any, &size);
  if (fd < 0)
    return orr_fail(L, -fd);
  orr_fd_set(L, -1, fd, true);
  push_place(L, &peer, size);
  push_family(L, &peer);
  return 4;
}

/* The types of sockets that core.bind makes. */
enum { TCP, UDP, UNIX };
static const char *const types[] = {
    [TCP] = "tcp", [UDP] = "udp", [UNIX] = "unix", NULL};

/* Returns whether field `name` of the table at `index`, if there is one, is
   true. */
static bool is_set(lua_State *L, int index, const char *name) {
  if (lua_isnoneornil(L, index))
    return false;
  lua_getfield(L, index, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

/* core.bind(type, ip, port, options) -> the orrery.fd of a new socket that is
   bound; nil, errno (EADDRINUSE, EADDRNOTAVAIL, EACCES; EINVAL: no address;
   EAFNOSUPPORT: there is no IPv6). `type` is "tcp" or "udp"; options.ipv6_only,
   .reuse_port and, for UDP, .reuse_addr are as socket(7) and ipv6(7) have them:
   TCP has SO_REUSEADDR in any case.
   core.bind("unix", path) -> a stream socket; nil, errno (ENAMETOOLONG). */
static int l_bind(lua_State *L) {
  int type = luaL_checkoption(L, 1, NULL, types);
  size_t length;
  const char *to = luaL_checklstring(L, 2, &length);
  union orr_place place;
  struct orr_bind how = {.type = SOCK_STREAM};
  int size;
  if (type == UNIX) {
    size = orr_place_path(&place, to, length);
  } else {
    lua_Integer port = luaL_checkinteger(L, 3);
    luaL_argcheck(L, port >= 0 && port <= 65535, 3, "not a port");
    lua_settop(L, 4);
    how.type = type == TCP ? SOCK_STREAM : SOCK_DGRAM;
    how.reuse_addr = type == TCP || is_set(L, 4, "reuse_addr");
    how.reuse_port = is_set(L, 4, "reuse_port");
    how.ipv6_only = is_set(L, 4, "ipv6_only");
    size = orr_place_ip(&place, to, (int)port);
  }
  orr_fd_push(L);
  int fd = size < 0 ? size : orr_bind(&place, size, &how);
  if (fd < 0)
    return orr_fail(L, -fd);
  orr_fd_set(L, -1, fd, true);
  return 1;
}

/* core.unix_datagram() -> the orrery.fd of a new Unix datagram socket; nil,
   errno (EMFILE). */
static int l_unix_datagram(lua_State *L) {
  orr_fd_push(L);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return orr_fail(L, errno);
  orr_fd_set(L, -1, fd, true);
  return 1;
}

/* core.datagram_family(n) -> 4, 6 or "unix", of a datagram socket; nil of all
   else. */
static int l_datagram_family(lua_State *L) {
  int n = orr_check_fd(L, 1), domain = 0, type = 0;
  bool good = ask_kind(n, &domain, &type) && type == SOCK_DGRAM;
  union orr_place of = {.any.sa_family = (sa_family_t)domain};
  if (!good)
    of.any.sa_family = AF_UNSPEC;
  push_family(L, &of);
  return 1;
}

/* Fills in the address that an argument is, a path or an abstract name. Returns
   its size; raises if it does not fit. */
static socklen_t check_path(lua_State *L, int arg, union orr_place *at) {
  size_t length;
  const char *path = luaL_checklstring(L, arg, &length);
  int size = orr_place_path(at, path, length);
  luaL_argcheck(L, size >= 0, arg, "too long for a socket");
  return (socklen_t)size;
}

/* core.bind_path(n, path) -> true; nil, errno. As bind(2). */
static int l_bind_path(lua_State *L) {
  int n = orr_check_fd(L, 1);
  union orr_place at;
  socklen_t size = check_path(L, 2, &at);
  if (bind(n, &at.any, size) < 0)
    return orr_fail(L, errno);
  lua_pushboolean(L, true);
  return 1;
}

/* core.send_to(n, data, path) -> the size of the datagram that was sent; nil,
   errno (EAGAIN: the receiver has no room). */
static int l_send_to(lua_State *L) {
  int n = orr_check_fd(L, 1);
  size_t length;
  const char *data = luaL_checklstring(L, 2, &length);
  union orr_place at;
  struct iovec part = {(void *)data, length};
  struct msghdr message = {.msg_name = &at,
                           .msg_namelen = check_path(L, 3, &at),
                           .msg_iov = &part,
                           .msg_iovlen = 1};
  ssize_t sent = orr_sendmsg(n, &message);
  if (sent < 0)
    return orr_fail(L, (int)-sent);
  lua_pushinteger(L, sent);
  return 1;
}

/* core.receive_from(n) -> the next datagram, and the path of its sender, or nil
   if that has none; nil, errno (EAGAIN: none is there). */
static int l_receive_from(lua_State *L) {
  int n = orr_check_fd(L, 1), waiting = 0;
  ioctl(n, FIONREAD, &waiting); /* of a datagram socket: the size of the next */
  size_t size = waiting > 0 ? (size_t)waiting : 1;
  char *data = lua_newuserdatauv(L, size, 0);
  union orr_place from = {.any.sa_family = AF_UNSPEC};
  struct iovec part = {data, size};
  struct msghdr message = {.msg_name = &from,
                           .msg_namelen = sizeof from,
                           .msg_iov = &part,
                           .msg_iovlen = 1};
  ssize_t got = orr_recvmsg(n, &message);
  if (got < 0)
    return orr_fail(L, (int)-got);
  lua_pushlstring(L, data, (size_t)got);
  push_place(L, &from, message.msg_namelen);
  lua_pop(L, 1);
  return 2;
}

void orr_open_socket(lua_State *L) {
  static const luaL_Reg functions[] = {{"socket_kind", l_socket_kind},
                                       {"listen", l_listen},
                                       {"accept", l_accept},
                                       {"bind", l_bind},
                                       {"addresses", l_addresses},
                                       {"unix_datagram", l_unix_datagram},
                                       {"datagram_family", l_datagram_family},
                                       {"bind_path", l_bind_path},
                                       {"send_to", l_send_to},
                                       {"receive_from", l_receive_from},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
