/* http.h - the parts of the module orrery.http. */
#ifndef ORR_HTTP_H
#define ORR_HTTP_H

#include "message.h"

#include <lauxlib.h>
#include <lua.h>

_Static_assert(sizeof(lua_Integer) == 8, "Orrery needs 64-bit Lua integers");

#define ORR_HTTP_PARSER "orrery.http_parser"

/* Add parser(type, max_head) and headers(raw_headers) to the module table on
   top. */
void orr_http_open_parser(lua_State *L);
void orr_http_open_headers(lua_State *L);

/* Pushes a table of headers by their names in lower case, as headers does. */
void orr_http_push_headers(lua_State *L, const char *bytes,
                           const struct orr_http_field *fields, size_t count);

/* Pushes a flat list of names and values, as they were received. */
void orr_push_raw_headers(lua_State *L, const char *bytes,
                          const struct orr_http_field *fields, size_t count);

#endif
