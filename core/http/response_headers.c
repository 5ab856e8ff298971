/* response_headers.c - the headers that a response is going to have, and the
   texts of statuses. They are kept as records: the name, NUL, the value, NUL;
   there are few, and none is longer than what was checked on its way in. */
#include "server.h"

#include <string.h>
#include <strings.h>

int orr_headers_add(struct orr_buffer *headers, const char *name,
                    size_t name_length, const char *value, size_t length) {
  int rc = orr_buffer_reserve(headers, name_length + length + 2);
  if (rc < 0)
    return rc;
  uint8_t *at = headers->data + headers->length;
  memcpy(at, name, name_length);
  at[name_length] = '\0';
  memcpy(at + name_length + 1, value, length);
  at[name_length + 1 + length] = '\0';
  headers->length += name_length + length + 2;
  return 0;
}

const char *orr_headers_next(const struct orr_buffer *headers, const char *from,
                             const char *name, size_t name_length,
                             const char **value, size_t *length) {
  if (headers->length == 0)
    return NULL;
  const char *at = (const char *)headers->data, *end = at + headers->length;
  if (from != NULL) {
    at = from + strlen(from) + 1;
    at += strlen(at) + 1;
  }
  while (at < end) {
    size_t own = strlen(at);
    *value = at + own + 1;
    *length = strlen(*value);
    if (name == NULL || (own == name_length && strncasecmp(at, name, own) == 0))
      return at;
    at = *value + *length + 1;
  }
  return NULL;
}

void orr_headers_remove(struct orr_buffer *headers, const char *name,
                        size_t length) {
  const char *value = NULL, *at = NULL;
  size_t value_length = 0;
  while ((at = orr_headers_next(headers, NULL, name, length, &value,
                                &value_length)) != NULL) {
    size_t from = (size_t)(at - (const char *)headers->data);
    size_t to =
        (size_t)(value - (const char *)headers->data) + value_length + 1;
    memmove(headers->data + from, headers->data + to, headers->length - to);
    headers->length -= to - from;
  }
}

static const struct {
  int status;
  const char *text;
} texts[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

/* The texts are those of IANA's registry, and few enough for bisection. */
const char *orr_status_text(int status) {
  size_t low = 0, high = sizeof texts / sizeof *texts;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (texts[middle].status == status)
      return texts[middle].text;
    if (texts[middle].status < status)
      low = middle + 1;
    else
      high = middle;
  }
  return "Unknown";
}
