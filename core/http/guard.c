/* guard.c - what llhttp lets through and others read differently: see guard.h.
   A message that two programs on its way take for different ones lets a peer
   hide a request from the first of them (RFC 9112, section 11.2). */
#include "guard.h"

#include <string.h>

static struct orr_http_fault fault(int status, const char *reason) {
  return (struct orr_http_fault){status, reason};
}

static struct orr_http_fault bad(const char *reason) {
  return fault(400, reason);
}

static struct orr_http_fault none(void) {
  return fault(0, NULL);
}

/* A CR that is not before its LF, and an LF without one, end a line for some
   programs and not for others. */
bool orr_http_has_stray_cr(const char *bytes, size_t length, bool goes_on) {
  if (goes_on && length > 0 && bytes[-1] == '\r' && bytes[0] != '\n')
    return true;
  const char *cr = memchr(bytes, '\r', length);
  return cr != NULL && cr + 1 < bytes + length && cr[1] != '\n';
}

/* A line that begins with a blank continues the one before it, for some. */
struct orr_http_fault orr_http_judge_line(const char *line, size_t length) {
  if (length < 2 || line[length - 2] != '\r')
    return bad("a line ends in LF without CR");
  if (line[0] == ' ' || line[0] == '\t')
    return bad("a line begins with a blank");
  if (line[0] == ':')
    return bad("a header has no name");
  return none();
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Judges what has to be a version that we speak. */
static struct orr_http_fault judge_version(const char *at, size_t length) {
  if (length != 8 || memcmp(at, "HTTP/", 5) != 0 || !is_digit(at[5]) ||
      at[6] != '.' || !is_digit(at[7]))
    return bad("the version is not HTTP/1.1");
  if (at[5] == '1' && at[7] <= '1')
    return none();
  return fault(505, "the version is neither HTTP/1.0 nor HTTP/1.1");
}

/* Returns what follows the first space; NULL if there is none. */
static const char *after_space(const char *at, const char *end) {
  const char *space = memchr(at, ' ', (size_t)(end - at));
  return space != NULL ? space + 1 : NULL;
}

struct orr_http_fault orr_http_judge_request_line(const char *line,
                                                  size_t length) {
  const char *end = line + length - 2;
  const char *url = after_space(line, end);
  if (url == NULL || url == end)
    return bad("the request line has no url");
  if (url - line == 4 && memcmp(line, "PRI", 3) == 0)
    return bad("HTTP/2 is not spoken here"); /* RFC 9113, section 3.4 */
  const char *version = after_space(url, end);
  if (version == NULL && url - line == 4 && memcmp(line, "GET", 3) == 0)
    return fault(505, "the request line has no version: HTTP/0.9");
  if (version == NULL)
    return bad("the request line has no version");
  size_t url_length = (size_t)(version - 1 - url);
  size_t version_length = (size_t)(end - version);
  if (url_length == 0 || memchr(version, ' ', version_length) != NULL)
    return bad("the request line has not one space each between its parts");
  if (memchr(url, '#', url_length) != NULL)
    return bad("the url has a fragment");
  return judge_version(version, version_length);
}

/* Returns whether the bytes have no control characters but tabs. */
static bool is_text(const char *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)bytes[i];
    if ((c < 0x20 && c != '\t') || c == 0x7f)
      return false;
  }
  return true;
}

struct orr_http_fault orr_http_judge_status_line(const char *line,
                                                 size_t length) {
  enum { CODE = 9, TEXT = 12 }; /* HTTP/1.1 200 OK */
  size_t end = length - 2;
  if (end < TEXT)
    return bad("the status line is too short");
  struct orr_http_fault version = judge_version(line, 8);
  if (version.status != 0)
    return version;
  if (line[CODE - 1] != ' ' || line[CODE] < '1' || !is_digit(line[CODE]) ||
      !is_digit(line[CODE + 1]) || !is_digit(line[CODE + 2]) ||
      (end > TEXT && line[TEXT] != ' '))
    return bad("the status line has no status code");
  if (!is_text(line + TEXT, end - TEXT))
    return bad("the status line has a control character");
  return none();
}

/* Returns whether some bytes are a name, given in small letters. Only letters
   that are tokens may be asked for, for which the bit 0x20 is their case. */
static bool is_name(const char *bytes, size_t length, const char *name) {
  if (length != strlen(name))
    return false;
  for (size_t i = 0; i < length; i++)
    if ((bytes[i] | 0x20) != name[i])
      return false;
  return true;
}

/* The fields that name the host, and those that tell the length of the body. */
struct framing {
  size_t hosts, lengths, codings;      /* how many of each there are */
  const struct orr_http_field *coding; /* the last Transfer-Encoding */
};

static struct framing find_framing(const char *head,
                                   const struct orr_http_fields *fields) {
  struct framing framing = {0};
  for (size_t i = 0; i < fields->count; i++) {
    const struct orr_http_field *field = &fields->list[i];
    const char *name = head + field->name;
    if (is_name(name, field->name_length, "host"))
      framing.hosts++;
    else if (is_name(name, field->name_length, "content-length"))
      framing.lengths++;
    else if (is_name(name, field->name_length, "transfer-encoding")) {
      framing.codings++;
      framing.coding = field;
    }
  }
  return framing;
}

/* Judges a list of transfer codings. Only `chunked` says where a body ends, and
   other codings would have to be undone. */
static struct orr_http_fault judge_codings(const char *list, size_t length) {
  size_t last = length;
  while (last > 0 && list[last - 1] != ',')
    last--;
  size_t from = last;
  while (from < length && (list[from] == ' ' || list[from] == '\t'))
    from++;
  if (!is_name(list + from, length - from, "chunked"))
    return bad("the last transfer coding is not chunked");
  if (last > 0)
    return fault(501, "a transfer coding other than chunked");
  return none();
}

/* Judges the fields that tell the length of the body. At last it compares them
   with what llhttp has read, since llhttp finds the end of the body by that. */
static struct orr_http_fault judge_framing(const llhttp_t *llhttp,
                                           const char *head,
                                           const struct framing *framing) {
  if (framing->codings > 0 && llhttp->http_minor == 0)
    return bad("HTTP/1.0 has no Transfer-Encoding");
  if (framing->codings > 1)
    return bad("more than one Transfer-Encoding");
  if (framing->codings > 0 && framing->lengths > 0)
    return bad("both Content-Length and Transfer-Encoding");
  if (framing->codings > 0) {
    struct orr_http_fault fault = judge_codings(head + framing->coding->value,
                                                framing->coding->value_length);
    if (fault.status != 0)
      return fault;
  }
  if (framing->lengths > 0 && llhttp->content_length > ORR_HTTP_MOST_BYTES)
    return bad("the Content-Length is too large");
  if (framing->codings != (llhttp->flags & F_CHUNKED ? 1 : 0) ||
      framing->lengths != (llhttp->flags & F_CONTENT_LENGTH ? 1 : 0))
    return bad("where the body ends can be read in two ways");
  return none();
}

struct orr_http_fault
orr_http_judge_head(const llhttp_t *llhttp, const char *head,
                    const struct orr_http_fields *fields) {
  struct framing framing = find_framing(head, fields);
  if (llhttp->type == HTTP_REQUEST && framing.hosts > 1)
    return bad("more than one Host");
  if (llhttp->type == HTTP_REQUEST && framing.hosts == 0 &&
      llhttp->http_minor > 0)
    return bad("no Host");
  return judge_framing(llhttp, head, &framing);
}

struct orr_http_fault
orr_http_judge_trailers(const char *trailers,
                        const struct orr_http_fields *fields) {
  struct framing framing = find_framing(trailers, fields);
  if (framing.hosts + framing.lengths + framing.codings > 0)
    return bad("the trailers have a field that belongs in the head");
  return none();
}

struct orr_http_fault orr_http_judge_extension(const char *bytes,
                                               size_t length) {
  if (!is_text(bytes, length))
    return bad("a chunk extension has a control character");
  return none();
}
