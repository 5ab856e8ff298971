/* output.c - what connections send. While one is served, what it answers is
   gathered in the server's buffer, so that one that is idle has none; what the
   socket does not take is kept in the connection's own. */
#include "engine/io.h"
#include "server.h"

#include <errno.h>
#include <string.h>

enum {
  KEPT = 256 << 10, /* bytes that the server's buffer keeps reserved */
  SMALL = 16 << 10, /* bytes that are copied rather than given away */
};

struct orr_buffer *orr_connection_out(struct orr_connection *c) {
  bool own = c->server->serving != c || c->out.length > 0;
  return own ? &c->out : &c->server->out;
}

/* Returns the bytes that are to be sent next, and how many there are. */
static const uint8_t *waiting(const struct orr_connection *c, size_t *length) {
  if (c->out.length > 0) {
    *length = c->out.length - c->sent;
    return c->out.data + c->sent;
  }
  bool served = c->server->serving == c;
  *length = served ? c->server->out.length : 0;
  return c->server->out.data;
}

size_t orr_connection_queued(const struct orr_connection *c) {
  size_t length;
  waiting(c, &length);
  return length;
}

/* Drops what has been sent from the front, if that is more than what is left:
   then moving the rest costs no more than sending did. */
static void drop_sent(struct orr_connection *c) {
  size_t left = c->out.length - c->sent;
  if (c->sent < left)
    return;
  memmove(c->out.data, c->out.data + c->sent, left);
  c->out.length = left;
  c->sent = 0;
}

/* Keeps what the socket has not taken: of the server's buffer a copy, or the
   buffer itself. Returns false if there is no memory. */
static bool keep_rest(struct orr_connection *c, const uint8_t *data,
                      size_t sent, size_t length) {
  struct orr_buffer *shared = &c->server->out;
  if (c->out.length > 0) {
    c->sent += sent;
    drop_sent(c);
    return true;
  }
  if (length - sent > SMALL) {
    orr_buffer_free(&c->out);
    c->out = *shared;
    memset(shared, 0, sizeof *shared);
    c->sent = sent;
    return true;
  }
  if (orr_buffer_reserve(&c->out, length - sent) < 0)
    return false;
  memcpy(c->out.data, data + sent, length - sent);
  c->out.length = length - sent;
  c->sent = 0;
  shared->length = 0;
  return true;
}

/* Notes that all has been sent. */
static void sent_all(struct orr_connection *c) {
  struct orr_http_server *server = c->server;
  if (c->out.capacity > 0)
    orr_buffer_free(&c->out);
  c->sent = 0;
  if (server->serving != c)
    return;
  server->out.length = 0;
  if (server->out.capacity > KEPT)
    orr_buffer_free(&server->out);
}

int orr_connection_flush(struct orr_connection *c) {
  size_t length;
  const uint8_t *data = waiting(c, &length);
  if (length == 0 || c->fd < 0)
    return 0;
  ssize_t n = orr_send(c->fd, data, length);
  if (n < 0 && n != -EAGAIN)
    return (int)n;
  size_t sent = n < 0 ? 0 : (size_t)n;
  if (sent == length)
    sent_all(c);
  else if (!keep_rest(c, data, sent, length))
    return -ENOMEM;
  return 0;
}

int orr_connection_keep(struct orr_connection *c) {
  size_t length;
  const uint8_t *data = waiting(c, &length);
  bool kept = length == 0 || c->out.length > 0 || keep_rest(c, data, 0, length);
  return kept ? 0 : -ENOMEM;
}
