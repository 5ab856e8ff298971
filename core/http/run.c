/* run.c - llhttp, run to where it stops: see run.h. */
#include "run.h"

#include <stdlib.h>

enum { FIRST_FIELDS = 32 };

/* What the callbacks of one run fill in. */
struct run {
  const char *base; /* what offsets count from */
  struct orr_http_fields *fields;
  struct orr_http_found *found;
  enum orr_http_stop stop;
  bool no_memory;
};

void orr_http_fields_free(struct orr_http_fields *fields) {
  free(fields->list);
  *fields = (struct orr_http_fields){0};
}

static int pause_for(llhttp_t *llhttp, enum orr_http_stop stop) {
  struct run *run = llhttp->data;
  run->stop = stop;
  return HPE_PAUSED;
}

static uint32_t offset(const struct run *run, const char *at) {
  return (uint32_t)(at - run->base);
}

static int on_method(llhttp_t *llhttp, const char *at, size_t length) {
  struct run *run = llhttp->data;
  run->found->method.at = offset(run, at);
  run->found->method.length = (uint32_t)length;
  return 0;
}

/* The status message, too. */
static int on_url(llhttp_t *llhttp, const char *at, size_t length) {
  struct run *run = llhttp->data;
  run->found->url.at = offset(run, at);
  run->found->url.length = (uint32_t)length;
  return 0;
}

/* Makes room for one field more. False: there is no memory. */
static bool reserve_field(struct orr_http_fields *fields) {
  if (fields->count < fields->capacity)
    return true;
  size_t capacity =
      fields->capacity > 0 ? 2 * fields->capacity : (size_t)FIRST_FIELDS;
  struct orr_http_field *list =
      realloc(fields->list, capacity * sizeof *fields->list);
  if (list == NULL)
    return false;
  fields->list = list;
  fields->capacity = capacity;
  return true;
}

static int on_name(llhttp_t *llhttp, const char *at, size_t length) {
  struct run *run = llhttp->data;
  if (!reserve_field(run->fields)) {
    run->no_memory = true;
    return HPE_USER;
  }
  run->fields->list[run->fields->count++] = (struct orr_http_field){
      .name = offset(run, at), .name_length = (uint32_t)length};
  return 0;
}

/* llhttp leaves the blanks behind a value to it. */
static int on_value(llhttp_t *llhttp, const char *at, size_t length) {
  struct run *run = llhttp->data;
  struct orr_http_field *field = &run->fields->list[run->fields->count - 1];
  while (length > 0 && (at[length - 1] == ' ' || at[length - 1] == '\t'))
    length--;
  field->value = offset(run, at);
  field->value_length = (uint32_t)length;
  return 0;
}

static int on_head_end(llhttp_t *llhttp) {
  return pause_for(llhttp, ORR_HTTP_HEAD_ENDS);
}

/* Is called with no bytes if llhttp is run on none in the middle of a body. */
static int on_bytes(llhttp_t *llhttp, const char *at, size_t length) {
  struct run *run = llhttp->data;
  if (length == 0)
    return 0;
  run->found->data = at;
  run->found->length = length;
  return pause_for(llhttp, ORR_HTTP_BYTES);
}

static int on_chunk_begin(llhttp_t *llhttp) {
  return pause_for(llhttp, ORR_HTTP_CHUNK_BEGINS);
}

/* The trailers end the last chunk, and then the message. */
static int on_chunk_end(llhttp_t *llhttp) {
  return llhttp->flags & F_TRAILING ? 0
                                    : pause_for(llhttp, ORR_HTTP_CHUNK_ENDS);
}

static int on_end(llhttp_t *llhttp) {
  return pause_for(llhttp, ORR_HTTP_MESSAGE_ENDS);
}

static const llhttp_settings_t settings = {
    .on_method = on_method,
    .on_url = on_url,
    .on_status = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head_end,
    .on_body = on_bytes,
    .on_chunk_header = on_chunk_begin,
    .on_chunk_complete = on_chunk_end,
    .on_message_complete = on_end,
};

void orr_http_run_anew(struct orr_http_parser *parser, llhttp_type_t type) {
  llhttp_init(&parser->llhttp, type, &settings);
}

enum orr_http_stop orr_http_run(struct orr_http_parser *parser,
                                struct orr_http_rest *rest, size_t length,
                                struct orr_http_found *found) {
  struct run run = {rest->at, parser->fields, found, ORR_HTTP_WANTS_MORE,
                    false};
  llhttp_t *llhttp = &parser->llhttp;
  llhttp->data = &run;
  llhttp_resume(llhttp);
  llhttp_errno_t error = llhttp_execute(llhttp, rest->at, length);
  llhttp->data = NULL;
  size_t used = length;
  if (error != HPE_OK)
    used = (size_t)(llhttp_get_error_pos(llhttp) - rest->at);
  rest->at += used;
  rest->left -= used;
  if (error == HPE_OK || error == HPE_PAUSED)
    return run.stop;
  found->status = run.no_memory ? 500 : 400;
  found->reason = run.no_memory ? "no memory" : llhttp_get_error_reason(llhttp);
  return ORR_HTTP_REFUSES;
}
