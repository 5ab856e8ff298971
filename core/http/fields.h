/* fields.h - headers and trailers as Lua gives and gets them. */
#ifndef ORR_HTTP_FIELDS_H
#define ORR_HTTP_FIELDS_H

#include "engine/buffer.h"
#include "message.h"

#include <lauxlib.h>
#include <lua.h>

/* Where headers go: calls add(name, value) for each. */
struct orr_field_sink {
  void (*add)(lua_State *L, struct orr_field_sink *sink, const char *name,
              size_t name_length, const char *value, size_t length);
  struct orr_buffer *buffer;
  bool replaces; /* its buffer has records, of which those of the name go */
};

/* Checks a header and adds it: `value` is a stack index with a string, a number
   or a list of strings. Raises if the name is no token or a value has a control
   character: with CR and LF it could end the head (RFC 9110, 5.5). */
void orr_field_add(lua_State *L, struct orr_field_sink *sink, int name,
                   int value);

/* Checks and adds all of a table at `index`: by name, or a flat list of names
   and values. */
void orr_field_add_all(lua_State *L, struct orr_field_sink *sink, int index);

/* Adds "name: value\r\n" to the sink's buffer. */
void orr_field_render(lua_State *L, struct orr_field_sink *sink,
                      const char *name, size_t name_length, const char *value,
                      size_t length);

/* Returns the argument at `index`, which is a name of a header, or raises. */
const char *orr_field_check_name(lua_State *L, int index, size_t *length);

/* Renders a header of an answer before the answer. Raises for those that say
   how long a body is: it has none (RFC 9110, 8.6; RFC 9112, 6.1). */
void orr_field_render_information(lua_State *L, struct orr_field_sink *sink,
                                  const char *name, size_t name_length,
                                  const char *value, size_t length);

/* Renders a trailer. Raises for those that decide about the message (RFC 9110,
   6.5.1). */
void orr_field_render_trailer(lua_State *L, struct orr_field_sink *sink,
                              const char *name, size_t name_length,
                              const char *value, size_t length);

#endif
