/* message.h - bytes of one direction of an HTTP/1.1 connection as messages:
   llhttp parses them, and a guard judges what llhttp lets through and others
   read differently (RFC 9112). Engine: no Lua, no system calls.

   Nothing is copied: what is found lies in the bytes that were given. Hence a
   head, and the trailers, must be given as a whole: as long as they are not
   complete, `next` uses none of them, and is to be given the same bytes again,
   with more behind them. It looks at none of them twice. */
#ifndef ORR_HTTP_MESSAGE_H
#define ORR_HTTP_MESSAGE_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A header: offsets from the first byte of the head (or of the trailers). The
   value is without the blanks around it. */
struct orr_http_field {
  uint32_t name, name_length, value, value_length;
};

/* The fields of the head that was found last. Many parsers share one list, for
   it is of use only until the next head. Zeroed at first. */
struct orr_http_fields {
  struct orr_http_field *list; /* owned */
  size_t count, capacity;
};

void orr_http_fields_free(struct orr_http_fields *fields);

/* One direction of a connection. No memory of its own: need not be freed. */
struct orr_http_parser {
  llhttp_t llhttp;
  struct orr_http_fields *fields;
  size_t scanned;        /* bytes of an incomplete head that were judged */
  uint32_t max_head;     /* bytes of a head, or of the trailers */
  uint32_t line_bytes;   /* of the line of a head or chunk that has not ended */
  uint16_t error_status; /* after an ERROR; its reason is llhttp's */
  uint8_t state;         /* message.c */
};

/* Prepares for messages of a type, HTTP_REQUEST or HTTP_RESPONSE. The list of
   fields must outlive the parser. */
void orr_http_init(struct orr_http_parser *parser, llhttp_type_t type,
                   struct orr_http_fields *fields, uint32_t max_head);

enum orr_http_event {
  ORR_HTTP_MORE, /* nothing, until there are more bytes behind these */
  ORR_HTTP_HEAD,
  ORR_HTTP_BODY, /* some bytes of the body, at least one */
  ORR_HTTP_END,  /* of the message, with trailers if fields->count > 0 */
  ORR_HTTP_ERROR /* nothing after this; the connection is of no use any more */
};

struct orr_http_found {
  size_t used; /* bytes that are done with, also with MORE and ERROR */
  /* HEAD: the first byte of its first line, which is what offsets count from,
     and how long it is with the empty line. END: the same of the trailers.
     BODY: the bytes. */
  const char *data;
  size_t length;
  /* HEAD of a request: the method and the url; of a response: `url` is the
     status message, which may be empty. Offsets into the head. */
  struct {
    uint32_t at, length;
  } method, url;
  /* ERROR: the status to answer with: 400, 413 (chunk extensions), 431 (a head
     or trailers that are too large), 500 (no memory), 501 (a transfer coding),
     505; and what is wrong, for people, which is a constant. */
  int status;
  const char *reason;
};

/* Finds what comes next in `length` bytes. To be called again with what follows
   `used`, also if that is nothing, until it gives MORE or ERROR. What follows a
   message that was the last one, as its head has said, is used and gives MORE.
   Between a HEAD and the next call, the functions below may be called, and
   parser->llhttp be looked at (method, http_minor, status_code, flags, upgrade,
   content_length). */
enum orr_http_event orr_http_next(struct orr_http_parser *parser,
                                  const char *data, size_t length,
                                  struct orr_http_found *found);

/* Tells what the end of the connection is to the message that has begun: END:
   it ends by it (a response without a length); MORE: there was none; ERROR: it
   was cut off, found->reason says so. To be called when next has given MORE. */
enum orr_http_event orr_http_finish(struct orr_http_parser *parser,
                                    struct orr_http_found *found);

/* After a HEAD: the message has no body, whatever it says (an answer to HEAD or
   CONNECT). That those with a status of 1xx, 204 and 304 have none is known. */
void orr_http_skip_body(struct orr_http_parser *parser);

/* After a HEAD with parser->llhttp.upgrade: it is an ordinary message, and no
   other protocol follows it. Otherwise END comes next, or its body and END, and
   then MORE with none used: the bytes are the other protocol's. */
void orr_http_no_upgrade(struct orr_http_parser *parser);

/* After a HEAD: whether another message may follow on this connection. A body
   that is to be skipped ends without the connection's end: ask after that. */
bool orr_http_keeps_alive(const struct orr_http_parser *parser);

#endif
