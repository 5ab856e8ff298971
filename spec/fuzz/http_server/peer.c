/* peer.c - the clients of the fuzz target http_server: see peer.h. */
#include "peer.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_HEAD = 1 << 20, READ = 64 << 10, FILLER = 32 << 10 };

#define HEAD " / HTTP/1.1\r\nHost: a\r\n"

/* The first are those that are met most. */
static const char *const pieces[] = {
    "GET" HEAD "\r\n",
    "POST" HEAD "Content-Length: 5\r\n\r\n",
    "hello",
    "POST" HEAD "Transfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nT: v\r\n\r\n",
    "HEAD" HEAD "\r\n",
    "GET" HEAD "\r\nGET" HEAD "\r\nGET" HEAD "\r\n",
    "POST" HEAD "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "POST" HEAD "Content-Length: 5\r\n\r\nhello",
    "GET" HEAD "Connection: upgrade\r\nUpgrade: b\r\n\r\n",
    "POST" HEAD "Content-Length: 5\r\nConnection: upgrade\r\n"
    "Upgrade: b\r\n\r\nhello",
    "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET" HEAD "Connection: close\r\n\r\n",
    "POST" HEAD "Content-Length: 200000\r\n\r\n",
    "POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    "HEAD" HEAD "\r\nPOST" HEAD "Content-Length: 5\r\n\r\nhelloGET" HEAD "\r\n",
    "GET" HEAD "Cookie: a\r\nCookie: b\r\nSet-Cookie: c\r\nage: 1\r\nage: 2\r\n"
    "\r\n",
    "GET / HT",
    "TP/1.1\r\nHost: a\r\n",
    "\r\n",
    "\r\n\r\n",
    "X / HTTP/3.0\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "POST" HEAD "Transfer-Encoding: gzip\r\n\r\n",
};

void peer_connect(struct peer *peer, int fd) {
  *peer = (struct peer){.fd = fd};
  orr_http_init(&peer->parser, HTTP_RESPONSE, &peer->fields, MAX_HEAD);
}

void peer_close(struct peer *peer) {
  if (peer->fd >= 0)
    close(peer->fd);
  peer->fd = -1;
  orr_http_fields_free(&peer->fields);
  orr_buffer_free(&peer->in);
}

/* What the socket does not take is not sent. */
static void put(struct peer *peer, const void *data, size_t size) {
  if (peer->fd >= 0 && size > 0)
    (void)!send(peer->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void peer_send_piece(struct peer *peer, struct input *input) {
  static char filler[FILLER];
  size_t which = next_byte(input), count = sizeof pieces / sizeof *pieces;
  if (which < 2 * count) {
    put(peer, pieces[which % count], strlen(pieces[which % count]));
    return;
  }
  if (filler[0] == '\0')
    memset(filler, 'x', sizeof filler);
  for (size_t times = which % 4 + 1; times > 0; times--)
    put(peer, filler, sizeof filler);
}

void peer_send_bytes(struct peer *peer, struct input *input) {
  const uint8_t *bytes;
  size_t size = next_bytes(input, next_byte(input), &bytes);
  put(peer, bytes, size);
}

/* Notes whether an answer is the last one. One before the answer proper that
   says so is not; the parser believes it. */
static void note_end(struct peer *peer) {
  peer->last = !orr_http_keeps_alive(&peer->parser);
  if (peer->last && peer->parser.llhttp.status_code < 200)
    peer->blind = true;
}

static void check_head(struct peer *peer, const struct orr_http_found *found) {
  CHECK(found->length > 9 && memcmp(found->data, "HTTP/1.1 ", 9) == 0);
  for (size_t i = 0; i < peer->fields.count; i++) {
    const struct orr_http_field *field = &peer->fields.list[i];
    if (field->name_length != strlen(MARK) ||
        memcmp(found->data + field->name, MARK, strlen(MARK)) != 0)
      continue;
    char *end;
    unsigned long mark = strtoul(found->data + field->value, &end, 10);
    CHECK(mark > peer->mark);
    peer->mark = mark;
    if (*end == 'h')
      orr_http_skip_body(&peer->parser);
  }
  note_end(peer);
}

/* Parses what has come. */
static void check(struct peer *peer) {
  size_t used = 0;
  enum orr_http_event event = ORR_HTTP_HEAD;
  while (event != ORR_HTTP_MORE && !peer->blind) {
    struct orr_http_found found;
    CHECK(!peer->over || used == peer->in.length);
    event = orr_http_next(&peer->parser, (const char *)peer->in.data + used,
                          peer->in.length - used, &found);
    used += found.used;
    if (event == ORR_HTTP_HEAD)
      check_head(peer, &found);
    if (event == ORR_HTTP_END)
      peer->over = peer->last;
    if (event == ORR_HTTP_ERROR)
      fprintf(stderr, "an answer is none: %s\n%.*s\n", found.reason,
              (int)peer->in.length, (const char *)peer->in.data);
    CHECK(event != ORR_HTTP_ERROR);
  }
  peer->in.length -= used;
  if (used > 0 && peer->in.length > 0)
    memmove(peer->in.data, peer->in.data + used, peer->in.length);
}

bool peer_read(struct peer *peer) {
  if (peer->fd < 0)
    return false;
  CHECK(orr_buffer_reserve(&peer->in, READ) == 0);
  ssize_t n =
      recv(peer->fd, peer->in.data + peer->in.length, READ, MSG_DONTWAIT);
  if (n <= 0)
    return false;
  if (peer->blind)
    return true;
  peer->in.length += (size_t)n;
  check(peer);
  return true;
}
