/* exchange.c - what a request and its response are, from the head that was
   received to the last byte that is sent: their memory, and the head of the
   response. */
#include "userdata.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Returns whether the value of a field, without regard to case, is `text`. */
static bool has_value(const char *bytes, const struct orr_http_field *field,
                      const char *text) {
  return field->value_length == strlen(text) &&
         strncasecmp(bytes + field->value, text, field->value_length) == 0;
}

/* Notes what Expect asks for. Of anything else than to be told to go on, RFC
   9110, 10.1.1 leaves it to us. */
static void note_expectation(struct orr_exchange *x) {
  for (uint32_t i = 0; i < x->count; i++) {
    const struct orr_http_field *field = &x->fields[i];
    if (field->name_length == 6 &&
        strncasecmp(x->bytes + field->name, "expect", 6) == 0)
      x->expects_continue =
          x->http_minor > 0 && has_value(x->bytes, field, "100-continue");
  }
}

/* Copies the head that was found behind the exchange. */
static void take_head(struct orr_exchange *x, struct orr_connection *c,
                      const struct orr_http_found *found) {
  const struct orr_http_fields *fields = c->parser.fields;
  struct orr_http_field *list = (struct orr_http_field *)(x + 1);
  char *bytes = (char *)(list + fields->count);
  if (fields->count > 0)
    memcpy(list, fields->list, fields->count * sizeof *list);
  memcpy(bytes, found->data, found->length);
  const llhttp_t *parsed = &c->parser.llhttp;
  x->fields = list;
  x->bytes = bytes;
  x->count = (uint32_t)fields->count;
  x->method = found->method.at;
  x->method_length = found->method.length;
  x->url = found->url.at;
  x->url_length = found->url.length;
  x->http_minor = parsed->http_minor;
  x->keeps_alive = orr_http_keeps_alive(&c->parser);
  x->is_head = parsed->method == HTTP_HEAD;
  x->is_connect = parsed->method == HTTP_CONNECT;
  x->upgrades = parsed->upgrade && !x->is_connect;
  note_expectation(x);
}

struct orr_exchange *orr_exchange_new(lua_State *L,
                                      struct orr_connection *connection,
                                      const struct orr_http_found *found) {
  size_t size = 0;
  if (found != NULL)
    size = connection->parser.fields->count * sizeof(struct orr_http_field) +
           found->length;
  struct orr_exchange *x =
      orr_push_request(L, sizeof *x + size, connection->server);
  memset(x, 0, sizeof *x);
  x->at = x->origin = connection;
  x->origin_number = connection->number;
  x->server = connection->server;
  x->status = 200;
  if (found != NULL)
    take_head(x, connection, found);
  orr_exchange_hold(L, x);
  x->counted = true;
  orr_load_add(&x->server->load->requests, 1);
  return x;
}

struct orr_connection *orr_exchange_origin(const struct orr_exchange *x) {
  struct orr_connection *c = x->origin;
  bool lasts = x->server->poll != NULL && c->number == x->origin_number &&
               c->fd >= 0; /* one that is served is cut, and keeps its number */
  return lasts ? c : NULL;
}

void orr_exchange_leave_body(struct orr_exchange *x, lua_State *L,
                             int request) {
  if (x->body.length == 0)
    return;
  request = lua_absindex(L, request);
  orr_push_fields(L, request);
  lua_pushlstring(L, (const char *)x->body.data, x->body.length);
  lua_setfield(L, -2, "unread_");
  lua_pop(L, 1);
  orr_buffer_free(&x->body);
}

static void free_used(struct orr_buffer *buffer) {
  if (buffer->data != NULL)
    orr_buffer_free(buffer);
}

void orr_exchange_uncount(struct orr_exchange *x) {
  if (x->counted)
    orr_load_add(&x->server->load->requests, -1);
  x->counted = false;
}

void orr_exchange_over(struct orr_exchange *x, lua_State *L) {
  if (L != NULL)
    orr_exchange_let_go(L, x);
  orr_exchange_uncount(x);
  x->at = NULL;
  x->listed = false;
  x->over = true;
  free_used(&x->body);
  free_used(&x->reason);
  free_used(&x->headers);
  free_used(&x->trailer_lines);
  free_used(&x->information);
  free_used(&x->out);
}

struct orr_buffer *orr_exchange_out(struct orr_exchange *x) {
  if (x->at == NULL)
    return NULL;
  return x->at->first == x ? orr_connection_out(x->at) : &x->out;
}

/* The head of a response -------------------------------------------------- */

/* Text that grows in a buffer; once there is no memory, it stays as it is. */
struct text {
  struct orr_buffer *buffer;
  int rc;
};

static void add(struct text *text, const void *data, size_t length) {
  if (text->rc == 0)
    text->rc = orr_buffer_append(text->buffer, data, length);
}

static void add_string(struct text *text, const char *string) {
  add(text, string, strlen(string));
}

static void add_header(struct text *text, const char *name, size_t name_length,
                       const char *value, size_t length) {
  add(text, name, name_length);
  add(text, ": ", 2);
  add(text, value, length);
  add(text, "\r\n", 2);
}

/* Adds a number in decimal: snprintf would take as long as all the rest. */
static void add_number(struct text *text, uint64_t number) {
  char digits[20], *at = digits + sizeof digits;
  do
    *--at = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  add(text, at, (size_t)(digits + sizeof digits - at));
}

/* Renders the headers that all responses of this second end with: Date (RFC
   9110, 6.6.1), those that announce how long a connection is kept, and the
   empty line. */
static void renew_tail(struct orr_http_server *server) {
  static const char days[][4] = {"Sun", "Mon", "Tue", "Wed",
                                 "Thu", "Fri", "Sat"};
  static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  struct timespec now;
  struct tm day;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec == server->date_at)
    return;
  gmtime_r(&now.tv_sec, &day);
  int n = snprintf(server->tail, sizeof server->tail,
                   "Date: %s, %02u %s %04u %02u:%02u:%02u GMT\r\n",
                   days[day.tm_wday], (unsigned)day.tm_mday % 100,
                   months[day.tm_mon], (unsigned)(day.tm_year + 1900) % 10000,
                   (unsigned)day.tm_hour % 100, (unsigned)day.tm_min % 100,
                   (unsigned)day.tm_sec % 100);
  server->date_length = (size_t)n;
  n += snprintf(server->tail + n, sizeof server->tail - (size_t)n, "%s\r\n",
                server->keep_alive);
  server->tail_length = (size_t)n;
  server->date_at = now.tv_sec;
}

/* Which headers the user has set that are otherwise ours. */
struct given {
  bool length, coding, connection, close, date; /* close: Connection says so */
};

static bool is_name(const char *name, size_t length, const char *other) {
  return length == strlen(other) && strncasecmp(name, other, length) == 0;
}

/* Returns whether a list, as Connection has it, has an item. */
static bool has_item(const char *list, const char *item) {
  size_t length = strlen(item);
  while (*list != '\0') {
    list += strspn(list, ", \t");
    size_t own = strcspn(list, ", \t");
    if (own == length && strncasecmp(list, item, own) == 0)
      return true;
    list += own;
  }
  return false;
}

bool orr_exchange_is_coded(const struct orr_exchange *x) {
  const char *value = NULL;
  size_t length = 0;
  if (x->status == 204 || x->status == 304 || x->http_minor == 0)
    return false;
  return orr_headers_next(&x->headers, NULL, "transfer-encoding", 17, &value,
                          &length) != NULL;
}

/* Returns whether a header may not stand in a response with this status (RFC
   9110, 8.6; RFC 9112, 6.1), or beside others (RFC 9112, 6.2). */
static bool is_barred(const struct orr_exchange *x, bool is_coded,
                      const char *name, size_t length) {
  if (is_name(name, length, "content-length"))
    return is_coded || x->status == 204;
  return !is_coded && is_name(name, length, "transfer-encoding");
}

/* Renders the headers that the user has set, and notes which they are. */
static struct given add_headers(struct text *text, struct orr_exchange *x) {
  struct given given = {0};
  const char *value = NULL, *at = NULL;
  size_t length = 0;
  bool is_coded = orr_exchange_is_coded(x);
  while ((at = orr_headers_next(&x->headers, at, NULL, 0, &value, &length)) !=
         NULL) {
    size_t own = strlen(at);
    if (is_barred(x, is_coded, at, own))
      continue;
    if (is_name(at, own, "content-length")) {
      given.length = true;
      x->left = strtoull(value, NULL, 10);
    } else if (is_name(at, own, "transfer-encoding")) {
      given.coding = true;
    } else if (is_name(at, own, "connection")) {
      given.connection = true;
      given.close = given.close || has_item(value, "close");
    } else if (is_name(at, own, "date")) {
      given.date = true;
    }
    add_header(text, at, own, value, length);
  }
  return given;
}

/* Decides how the body's end is told, and renders the header for it. */
static void add_framing(struct text *text, struct orr_exchange *x,
                        const struct given *given, int64_t length) {
  bool bare = x->status == 204 || x->status == 304;
  if (given->length) {
    x->framing = ORR_LENGTH;
  } else if (bare) {
    x->framing = ORR_NO_BODY;
  } else if (given->coding) {
    x->framing = ORR_CHUNKED;
  } else if (length >= 0) {
    add(text, "Content-Length: ", 16);
    add_number(text, (uint64_t)length);
    add(text, "\r\n", 2);
    x->framing = ORR_LENGTH;
    x->left = (uint64_t)length;
  } else if (x->http_minor > 0) {
    add_string(text, "Transfer-Encoding: chunked\r\n");
    x->framing = ORR_CHUNKED;
  } else {
    x->framing = ORR_UNTIL_END;
  }
  if (x->is_head || bare)
    x->framing = ORR_NO_BODY;
}

/* Tells whether the connection ends with this response. One that is complete
   before its request is ends with it, too: whether the client goes on to send
   the rest is its choice. */
static bool is_last(const struct orr_exchange *x, const struct given *given,
                    int64_t length) {
  const struct orr_http_server *server = x->server;
  bool leaves = server->closing && (server->giver == NULL || x->at->known);
  return !x->keeps_alive || given->close || leaves ||
         x->framing == ORR_UNTIL_END || (length >= 0 && !x->complete) ||
         (server->max_requests > 0 && x->number >= server->max_requests);
}

/* Renders the status line (RFC 9112, 4). */
static void add_status(struct text *text, const struct orr_exchange *x) {
  static const char ok[] = "HTTP/1.1 200 OK\r\n";
  if (x->status == 200 && x->reason.length == 0) {
    add(text, ok, sizeof ok - 1);
    return;
  }
  add(text, "HTTP/1.1 ", 9);
  add_number(text, x->status);
  add(text, " ", 1);
  if (x->reason.length > 0)
    add(text, x->reason.data, x->reason.length);
  else
    add_string(text, orr_status_text(x->status));
  add(text, "\r\n", 2);
}

/* Renders the last headers, and the end of the head. */
static void add_tail(struct text *text, const struct orr_exchange *x,
                     const struct given *given) {
  struct orr_http_server *server = x->server;
  renew_tail(server);
  if (!given->date && !given->connection && !x->closes && x->http_minor > 0) {
    add(text, server->tail, server->tail_length);
    return;
  }
  if (!given->date)
    add(text, server->tail, server->date_length);
  if (x->closes && !given->close)
    add_string(text, "Connection: close\r\n");
  else if (!given->connection)
    add_string(text, x->http_minor == 0 ? "Connection: keep-alive\r\n"
                                        : server->keep_alive);
  add(text, "\r\n", 2);
}

int orr_exchange_render(struct orr_exchange *x, int64_t length) {
  struct text text = {.buffer = orr_exchange_out(x)};
  if (text.buffer == NULL)
    return 0; /* nobody is there to get it */
  add_status(&text, x);
  struct given given = {0};
  if (x->headers.length > 0)
    given = add_headers(&text, x);
  add_framing(&text, x, &given, length);
  x->closes = is_last(x, &given, length);
  add_tail(&text, x, &given);
  x->fixed = x->head_out = true;
  return text.rc;
}

int orr_exchange_go_on(struct orr_exchange *x) {
  static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
  x->expects_continue = false;
  return orr_buffer_append(orr_exchange_out(x), text, sizeof text - 1);
}

int orr_exchange_refuse(struct orr_exchange *x, int status,
                        const char *reason) {
  struct text text = {.buffer = orr_exchange_out(x)};
  x->status = (uint16_t)status;
  x->keeps_alive = false;
  x->headers.length = x->reason.length = 0;
  static const char type[] = "text/plain";
  int rc =
      orr_headers_add(&x->headers, "Content-Type", 12, type, sizeof type - 1);
  if (rc == 0)
    rc = orr_exchange_render(x, (int64_t)strlen(reason) + 1);
  if (rc < 0)
    return rc;
  if (x->framing == ORR_LENGTH && text.buffer != NULL) {
    add_string(&text, reason);
    add(&text, "\n", 1);
  }
  return text.rc;
}
