/* buffer.c - bytes that grow at the end. */
#include "buffer.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST = 1024, DOUBLED = 1 << 20 }; /* bytes: at first; doubled below */

/* Threads that each have a Lua state may share a process. */
static atomic_size_t reserved;

size_t orr_buffers_size(void) {
  return reserved;
}

int orr_buffer_reserve(struct orr_buffer *buffer, size_t more) {
  if (more <= buffer->capacity - buffer->length)
    return 0;
  if (more > SIZE_MAX / 2 - buffer->length)
    return -ENOMEM;
  size_t wanted = buffer->length + more;
  /* Large buffers are moved by remapping: less than doubling is enough. */
  size_t grown = buffer->capacity < DOUBLED
                     ? buffer->capacity * 2
                     : buffer->capacity + buffer->capacity / 4;
  if (wanted < grown)
    wanted = grown;
  if (wanted < FIRST)
    wanted = FIRST;
  uint8_t *data = realloc(buffer->data, wanted);
  if (data == NULL)
    return -ENOMEM;
  reserved += wanted - buffer->capacity;
  buffer->data = data;
  buffer->capacity = wanted;
  return 0;
}

int orr_buffer_append(struct orr_buffer *buffer, const void *data,
                      size_t length) {
  if (length == 0)
    return 0;
  int rc = orr_buffer_reserve(buffer, length);
  if (rc < 0)
    return rc;
  memcpy(buffer->data + buffer->length, data, length);
  buffer->length += length;
  return 0;
}

void orr_buffer_free(struct orr_buffer *buffer) {
  free(buffer->data);
  reserved -= buffer->capacity;
  buffer->data = NULL;
  buffer->length = buffer->capacity = 0;
}
