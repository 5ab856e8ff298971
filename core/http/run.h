/* run.h - llhttp, run to where it stops: it pauses itself, by its callbacks,
   where there is something to tell. What it reads of a head or of trailers goes
   into the list of fields. Engine: no Lua. */
#ifndef ORR_HTTP_RUN_H
#define ORR_HTTP_RUN_H

#include "message.h"

/* Why llhttp has stopped. */
enum orr_http_stop {
  ORR_HTTP_WANTS_MORE, /* it has used all bytes */
  ORR_HTTP_HEAD_ENDS,
  ORR_HTTP_BYTES,        /* of a body: found->data and found->length */
  ORR_HTTP_CHUNK_BEGINS, /* behind the line of its size; 0: trailers follow */
  ORR_HTTP_CHUNK_ENDS,   /* behind the line of its end */
  ORR_HTTP_MESSAGE_ENDS,
  ORR_HTTP_REFUSES /* found->status and found->reason say why */
};

/* Bytes that are left to look at. */
struct orr_http_rest {
  const char *at;
  size_t left;
};

/* Makes llhttp forget what it has read: a message is to begin. */
void orr_http_run_anew(struct orr_http_parser *parser, llhttp_type_t type);

/* Runs llhttp on the first `length` of the bytes that are left, and takes away
   those that it has used. Offsets of fields count from the first of them. */
enum orr_http_stop orr_http_run(struct orr_http_parser *parser,
                                struct orr_http_rest *rest, size_t length,
                                struct orr_http_found *found);

#endif
