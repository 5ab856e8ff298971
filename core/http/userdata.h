/* userdata.h - what the two userdata of an exchange have in common. The request
   holds the exchange, the response a pointer to it. What C does not know of is
   looked up in the class, which Lua fills; then among the object's own fields,
   a table that it has once something was put in; then C is asked for a
   property; at last a getter of Lua's makes the value. */
#ifndef ORR_HTTP_USERDATA_H
#define ORR_HTTP_USERDATA_H

#include "server.h"

/* User values: the fields; of a response, its request, and the other way round;
   of a request, its server, so that this lasts. */
enum { ORR_FIELDS = 1, ORR_ITS_OTHER, ORR_ITS_SERVER };

/* A property that C knows: pushes its value. */
struct orr_property {
  const char *name;
  void (*push)(lua_State *L, struct orr_exchange *exchange);
};

/* Makes the class `name` and adds it to the module table on top, as `field`:
   a table {methods, getters} that Lua fills. The last of each list has the name
   NULL. */
void orr_open_class(lua_State *L, const char *name, const char *field,
                    const luaL_Reg *methods,
                    const struct orr_property *properties,
                    lua_CFunction newindex);

/* Return the exchange of the userdata that a method was called on, or raise.
   For functions that were given to orr_open_class. */
struct orr_exchange *orr_check_request(lua_State *L);
struct orr_exchange *orr_check_response(lua_State *L);

/* Pushes a userdata of a request to a server, of so many bytes, and returns
   them. */
void *orr_push_request(lua_State *L, size_t size,
                       struct orr_http_server *server);

/* Puts the exchange of the userdata on top, which is popped, into the table of
   those that are live, and takes one out of it. */
void orr_exchange_hold(lua_State *L, struct orr_exchange *exchange);
void orr_exchange_let_go(lua_State *L, struct orr_exchange *exchange);

/* Pushes the table of fields of the userdata at `index`, and makes it if it is
   not there. */
void orr_push_fields(lua_State *L, int index);

/* Returns the argument at `index`, which has to be a string, or raises: `what`
   is the method and the argument, "write: the data". */
const char *orr_check_text(lua_State *L, int index, const char *what,
                           size_t *length);

/* Appends to a buffer, or raises that there is no memory. */
void orr_append(lua_State *L, struct orr_buffer *buffer, const void *data,
                size_t length);

#endif
