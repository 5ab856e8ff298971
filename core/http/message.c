/* message.c - bytes as messages: see message.h. What is expected next is a
   state, and each state has a function that looks for it. The guard sees each
   line of a head first; llhttp gets heads and trailers as a whole, and of a
   body what comes. Each message begins with an llhttp that knows nothing of the
   one before. */
#include "message.h"
#include "guard.h"
#include "run.h"

#include <string.h>

enum { MAX_CHUNK_LINE = 16 * 1024 }; /* bytes, with its extensions */

/* What is expected next. */
enum state {
  EXPECTING,      /* a message, or empty lines before it */
  IN_HEAD,        /* its first line was there */
  AFTER_HEAD,     /* llhttp is paused at its end */
  IN_BODY,        /* of a length that is known */
  UNTIL_CLOSE,    /* a body that the connection's end ends */
  IN_CHUNK_SIZE,  /* or in the end of that line */
  IN_EXTENSION,   /* of a chunk */
  IN_CHUNK,       /* or in the end of its line */
  IN_TRAILERS,    /* or in the empty line that is in their place */
  OTHER_PROTOCOL, /* no message any more, but bytes for somebody else */
  AFTER_LAST,     /* no message any more */
  FAILED
};

enum { GO_ON = -1 }; /* no event yet: the next state is to look */

static int fail(struct orr_http_parser *parser, struct orr_http_found *found,
                int status, const char *reason) {
  parser->state = FAILED;
  parser->error_status = (uint16_t)status;
  llhttp_set_error_reason(&parser->llhttp, reason);
  *found = (struct orr_http_found){.status = status, .reason = reason};
  return ORR_HTTP_ERROR;
}

static int fail_by(struct orr_http_parser *parser, struct orr_http_found *found,
                   struct orr_http_fault fault) {
  return fail(parser, found, fault.status, fault.reason);
}

/* What llhttp refuses, or takes for something else than we do. */
static int fail_by_llhttp(struct orr_http_parser *parser,
                          struct orr_http_found *found,
                          enum orr_http_stop stop) {
  if (stop == ORR_HTTP_REFUSES)
    return fail(parser, found, found->status, found->reason);
  return fail(parser, found, 400, "where it ends can be read in two ways");
}

static void expect(struct orr_http_parser *parser, enum state state) {
  parser->state = (uint8_t)state;
  parser->scanned = parser->line_bytes = 0;
}

/* Judges a line that is not empty, by what is expected. */
static struct orr_http_fault judge_line(struct orr_http_parser *parser,
                                        const char *line, size_t length) {
  struct orr_http_fault fault = orr_http_judge_line(line, length);
  if (fault.status != 0 || parser->state != EXPECTING)
    return fault;
  parser->state = IN_HEAD;
  return llhttp_get_type(&parser->llhttp) == HTTP_REQUEST
             ? orr_http_judge_request_line(line, length)
             : orr_http_judge_status_line(line, length);
}

/* Takes the next bytes of a line, which may end it: GO_ON, or MORE: it has not
   ended. */
static int scan_line(struct orr_http_parser *parser,
                     const struct orr_http_rest *rest,
                     struct orr_http_found *found) {
  const char *from = rest->at + parser->scanned;
  size_t there = rest->left - parser->scanned;
  size_t most = parser->max_head - parser->scanned;
  const char *lf = memchr(from, '\n', there < most ? there : most);
  size_t taken = lf != NULL ? (size_t)(lf + 1 - from) : there;
  bool is_too_long = taken > most;
  if (is_too_long)
    taken = most;
  if (orr_http_has_stray_cr(from, taken, parser->line_bytes > 0))
    return fail(parser, found, 400, "a CR without LF");
  if (is_too_long)
    return fail(parser, found, 431, "the head or the trailers are too large");
  parser->scanned += taken;
  parser->line_bytes += (uint32_t)taken;
  return lf != NULL ? GO_ON : ORR_HTTP_MORE;
}

/* Judges the lines that are there, up to the empty one that ends the head or
   the trailers: GO_ON, they are the first parser->scanned bytes. MORE: it is
   not there yet. Empty lines in front of a request are no end (RFC 9112,
   section 2.2). */
static int scan_lines(struct orr_http_parser *parser,
                      const struct orr_http_rest *rest,
                      struct orr_http_found *found) {
  while (parser->scanned < rest->left) {
    int event = scan_line(parser, rest, found);
    if (event != GO_ON)
      return event;
    size_t length = parser->line_bytes;
    const char *line = rest->at + parser->scanned - length;
    parser->line_bytes = 0;
    bool is_empty = length == 2 && line[0] == '\r';
    if (is_empty && parser->state != EXPECTING)
      return GO_ON;
    if (is_empty && llhttp_get_type(&parser->llhttp) == HTTP_REQUEST)
      continue;
    struct orr_http_fault fault = judge_line(parser, line, length);
    if (fault.status != 0)
      return fail_by(parser, found, fault);
  }
  return ORR_HTTP_MORE;
}

/* Corrects what llhttp makes of a head. A response of these statuses has no
   body (RFC 9112, section 6.3), and HTTP/1.0 no upgrade (RFC 9110, section
   7.8). */
static void correct_head(llhttp_t *llhttp) {
  if (llhttp->type == HTTP_RESPONSE &&
      (llhttp->status_code < 200 || llhttp->status_code == 204 ||
       llhttp->status_code == 304))
    llhttp->flags |= F_SKIPBODY;
  if (llhttp->http_minor == 0 && llhttp->method != HTTP_CONNECT)
    llhttp->upgrade = 0;
}

static int find_head(struct orr_http_parser *parser, struct orr_http_rest *rest,
                     struct orr_http_found *found) {
  int event = scan_lines(parser, rest, found);
  if (event != GO_ON)
    return event;
  size_t length = parser->scanned;
  for (; *rest->at == '\r'; length -= 2) {
    rest->at += 2;
    rest->left -= 2;
  }
  found->data = rest->at;
  found->length = length;
  orr_http_run_anew(parser, llhttp_get_type(&parser->llhttp));
  parser->fields->count = 0;
  enum orr_http_stop stop = orr_http_run(parser, rest, length, found);
  if (stop != ORR_HTTP_HEAD_ENDS || rest->at != found->data + length)
    return fail_by_llhttp(parser, found, stop);
  struct orr_http_fault fault =
      orr_http_judge_head(&parser->llhttp, found->data, parser->fields);
  if (fault.status != 0)
    return fail_by(parser, found, fault);
  correct_head(&parser->llhttp);
  parser->state = AFTER_HEAD;
  return ORR_HTTP_HEAD;
}

/* Ends the message. Its trailers are in the list, or there are none. */
static int end_message(struct orr_http_parser *parser) {
  enum state next = EXPECTING;
  if (parser->llhttp.upgrade)
    next = OTHER_PROTOCOL;
  else if (!orr_http_keeps_alive(parser))
    next = AFTER_LAST;
  expect(parser, next);
  return ORR_HTTP_END;
}

/* Has llhttp, which is at the end of a head, say what follows. */
static int begin_body(struct orr_http_parser *parser,
                      struct orr_http_rest *rest,
                      struct orr_http_found *found) {
  parser->fields->count = 0;
  if (llhttp_message_needs_eof(&parser->llhttp)) {
    parser->state = UNTIL_CLOSE;
    return GO_ON;
  }
  enum orr_http_stop stop = orr_http_run(parser, rest, 0, found);
  if (stop == ORR_HTTP_MESSAGE_ENDS)
    return end_message(parser);
  if (stop != ORR_HTTP_WANTS_MORE)
    return fail_by_llhttp(parser, found, stop);
  expect(parser, parser->llhttp.flags & F_CHUNKED ? IN_CHUNK_SIZE : IN_BODY);
  return GO_ON;
}

static int take_body(struct orr_http_parser *parser, struct orr_http_rest *rest,
                     struct orr_http_found *found) {
  enum orr_http_stop stop = orr_http_run(parser, rest, rest->left, found);
  if (stop == ORR_HTTP_WANTS_MORE)
    return ORR_HTTP_MORE;
  if (stop == ORR_HTTP_BYTES)
    return ORR_HTTP_BODY;
  if (stop == ORR_HTTP_MESSAGE_ENDS) {
    parser->fields->count = 0;
    return end_message(parser);
  }
  if (stop != ORR_HTTP_CHUNK_ENDS)
    return fail_by_llhttp(parser, found, stop);
  expect(parser, IN_CHUNK_SIZE);
  return GO_ON;
}

static int take_until_close(struct orr_http_parser *parser,
                            struct orr_http_rest *rest,
                            struct orr_http_found *found) {
  (void)parser;
  if (rest->left == 0)
    return ORR_HTTP_MORE;
  found->data = rest->at;
  found->length = rest->left;
  rest->at += rest->left;
  rest->left = 0;
  return ORR_HTTP_BODY;
}

/* Returns how many of the bytes that are left belong to the line of a chunk,
   and are not too many for it. */
static size_t in_chunk_line(const struct orr_http_parser *parser,
                            const struct orr_http_rest *rest) {
  size_t most = MAX_CHUNK_LINE - parser->line_bytes;
  size_t there = rest->left < most ? rest->left : most;
  const char *lf = memchr(rest->at, '\n', there);
  return lf != NULL ? (size_t)(lf + 1 - rest->at) : there;
}

/* Says that the line of a chunk goes on in bytes that are not there, or in
   those that would be too many. */
static int await_line_end(struct orr_http_parser *parser,
                          const struct orr_http_rest *rest,
                          struct orr_http_found *found) {
  if (rest->left > 0)
    return fail(parser, found, 413, "the line of a chunk is too long");
  return ORR_HTTP_MORE;
}

/* Gives llhttp the line of a chunk without its extensions, of which it takes
   some for bad that are not (two of them that have values). */
static int read_chunk_size(struct orr_http_parser *parser,
                           struct orr_http_rest *rest,
                           struct orr_http_found *found) {
  size_t length = in_chunk_line(parser, rest);
  const char *semicolon = memchr(rest->at, ';', length);
  if (semicolon != NULL)
    length = (size_t)(semicolon - rest->at);
  parser->line_bytes += (uint32_t)length;
  enum orr_http_stop stop = orr_http_run(parser, rest, length, found);
  if (stop == ORR_HTTP_WANTS_MORE && semicolon != NULL) {
    parser->state = IN_EXTENSION;
    return GO_ON;
  }
  if (stop == ORR_HTTP_WANTS_MORE)
    return await_line_end(parser, rest, found);
  if (stop != ORR_HTTP_CHUNK_BEGINS)
    return fail_by_llhttp(parser, found, stop);
  if (parser->llhttp.content_length > ORR_HTTP_MOST_BYTES)
    return fail(parser, found, 400, "the size of a chunk is too large");
  expect(parser, parser->llhttp.content_length > 0 ? IN_CHUNK : IN_TRAILERS);
  return GO_ON;
}

/* Passes over extensions, from the semicolon up to the CR. */
static int skip_extension(struct orr_http_parser *parser,
                          struct orr_http_rest *rest,
                          struct orr_http_found *found) {
  size_t length = in_chunk_line(parser, rest);
  const char *cr = memchr(rest->at, '\r', length);
  if (cr != NULL)
    length = (size_t)(cr - rest->at);
  struct orr_http_fault fault = orr_http_judge_extension(rest->at, length);
  if (fault.status != 0)
    return fail_by(parser, found, fault);
  parser->line_bytes += (uint32_t)length;
  rest->at += length;
  rest->left -= length;
  if (cr == NULL)
    return await_line_end(parser, rest, found);
  parser->state = IN_CHUNK_SIZE;
  return GO_ON;
}

/* What a trailer says of the connection has no meaning: the flags that llhttp
   makes of it are undone. */
static int find_trailers(struct orr_http_parser *parser,
                         struct orr_http_rest *rest,
                         struct orr_http_found *found) {
  int event = scan_lines(parser, rest, found);
  if (event != GO_ON)
    return event;
  found->data = rest->at;
  found->length = parser->scanned;
  uint16_t flags = parser->llhttp.flags;
  parser->fields->count = 0;
  enum orr_http_stop stop = orr_http_run(parser, rest, parser->scanned, found);
  parser->llhttp.flags = flags;
  if (stop != ORR_HTTP_MESSAGE_ENDS || rest->at != found->data + found->length)
    return fail_by_llhttp(parser, found, stop);
  struct orr_http_fault fault =
      orr_http_judge_trailers(found->data, parser->fields);
  if (fault.status != 0)
    return fail_by(parser, found, fault);
  return end_message(parser);
}

static int leave_all(struct orr_http_parser *parser, struct orr_http_rest *rest,
                     struct orr_http_found *found) {
  (void)parser;
  (void)rest;
  (void)found;
  return ORR_HTTP_MORE;
}

static int drop_all(struct orr_http_parser *parser, struct orr_http_rest *rest,
                    struct orr_http_found *found) {
  (void)parser;
  (void)found;
  rest->at += rest->left;
  rest->left = 0;
  return ORR_HTTP_MORE;
}

static int fail_again(struct orr_http_parser *parser,
                      struct orr_http_rest *rest,
                      struct orr_http_found *found) {
  (void)rest;
  return fail(parser, found, parser->error_status,
              llhttp_get_error_reason(&parser->llhttp));
}

/* What looks for the next event, in each state. */
static int (*const look[])(struct orr_http_parser *, struct orr_http_rest *,
                           struct orr_http_found *) = {
    [EXPECTING] = find_head,          [IN_HEAD] = find_head,
    [AFTER_HEAD] = begin_body,        [IN_BODY] = take_body,
    [UNTIL_CLOSE] = take_until_close, [IN_CHUNK_SIZE] = read_chunk_size,
    [IN_EXTENSION] = skip_extension,  [IN_CHUNK] = take_body,
    [IN_TRAILERS] = find_trailers,    [OTHER_PROTOCOL] = leave_all,
    [AFTER_LAST] = drop_all,          [FAILED] = fail_again,
};

void orr_http_init(struct orr_http_parser *parser, llhttp_type_t type,
                   struct orr_http_fields *fields, uint32_t max_head) {
  *parser = (struct orr_http_parser){.fields = fields, .max_head = max_head};
  orr_http_run_anew(parser, type);
}

enum orr_http_event orr_http_next(struct orr_http_parser *parser,
                                  const char *data, size_t length,
                                  struct orr_http_found *found) {
  const char *start = length > 0 ? data : "";
  struct orr_http_rest rest = {start, length};
  *found = (struct orr_http_found){0};
  int event;
  do
    event = look[parser->state](parser, &rest, found);
  while (event == GO_ON);
  found->used = event == ORR_HTTP_ERROR ? length : (size_t)(rest.at - start);
  return (enum orr_http_event)event;
}

enum orr_http_event orr_http_finish(struct orr_http_parser *parser,
                                    struct orr_http_found *found) {
  enum orr_http_event event = orr_http_next(parser, NULL, 0, found);
  bool has_none = parser->state == OTHER_PROTOCOL ||
                  parser->state == AFTER_LAST ||
                  (parser->state == EXPECTING && parser->line_bytes == 0);
  if (event != ORR_HTTP_MORE || has_none)
    return event;
  if (parser->state == UNTIL_CLOSE)
    return (enum orr_http_event)end_message(parser);
  return (enum orr_http_event)fail(parser, found, 400,
                                   "the connection ended inside a message");
}

void orr_http_skip_body(struct orr_http_parser *parser) {
  if (parser->state == AFTER_HEAD)
    parser->llhttp.flags |= F_SKIPBODY;
}

void orr_http_no_upgrade(struct orr_http_parser *parser) {
  if (parser->state == AFTER_HEAD)
    parser->llhttp.upgrade = 0;
}

/* What comes before an answer (100, 102, 103) has the last word in nothing. */
bool orr_http_keeps_alive(const struct orr_http_parser *parser) {
  const llhttp_t *llhttp = &parser->llhttp;
  if (llhttp->type == HTTP_RESPONSE && llhttp->status_code < 200 &&
      llhttp->status_code != 101)
    return true;
  return !(llhttp->flags & F_CONNECTION_CLOSE) &&
         llhttp_should_keep_alive(llhttp) != 0;
}
