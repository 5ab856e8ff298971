/* buffer.h - bytes that grow at the end. Engine: no Lua. */
#ifndef ORR_BUFFER_H
#define ORR_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct orr_buffer {
  uint8_t *data; /* NULL until something is reserved */
  size_t length, capacity;
};

/* Makes room for `more` bytes behind the length. A small buffer is at least
   doubled, so that many small calls cost little. 0; -ENOMEM: nothing has
   changed. */
int orr_buffer_reserve(struct orr_buffer *buffer, size_t more);

/* Appends a copy of some bytes. 0; -ENOMEM: nothing has changed. */
int orr_buffer_append(struct orr_buffer *buffer, const void *data,
                      size_t length);

/* Frees the bytes. The buffer is empty then, and may be used again. */
void orr_buffer_free(struct orr_buffer *buffer);

/* Returns the bytes that all buffers of this process have reserved. */
size_t orr_buffers_size(void);

#endif
