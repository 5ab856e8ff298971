/* guard.h - judges heads, trailers and chunk extensions for what llhttp lets
   through and others read differently (RFC 9112). It judges and never parses,
   so it needs no state. Engine: no Lua. */
#ifndef ORR_HTTP_GUARD_H
#define ORR_HTTP_GUARD_H

#include "message.h"

/* The longest body or chunk: beyond it, JavaScript and others count wrong. */
#define ORR_HTTP_MOST_BYTES ((UINT64_C(1) << 53) - 1)

/* What is wrong: the status to answer with (0: nothing is), and a constant that
   says it. */
struct orr_http_fault {
  int status;
  const char *reason;
};

/* Returns whether bytes of a line have a CR without a LF behind it. The bytes
   are the line up to its end, or as much of it as has come; `goes_on` says that
   the line has begun before them. */
bool orr_http_has_stray_cr(const char *bytes, size_t length, bool goes_on);

/* Judges any line of a head or of trailers that has no stray CR. All lines are
   given with their LF. */
struct orr_http_fault orr_http_judge_line(const char *line, size_t length);

/* Judge the first line of a head, which is not empty and ends in CR LF. */
struct orr_http_fault orr_http_judge_request_line(const char *line,
                                                  size_t length);
struct orr_http_fault orr_http_judge_status_line(const char *line,
                                                 size_t length);

/* Judges the fields of a head that llhttp has parsed, of a request or of a
   response. */
struct orr_http_fault orr_http_judge_head(const llhttp_t *llhttp,
                                          const char *head,
                                          const struct orr_http_fields *fields);

/* Judges the fields of trailers, which may say nothing that has to be known
   before a body. */
struct orr_http_fault
orr_http_judge_trailers(const char *trailers,
                        const struct orr_http_fields *fields);

/* Judges some bytes of a chunk's extensions. */
struct orr_http_fault orr_http_judge_extension(const char *bytes,
                                               size_t length);

#endif
