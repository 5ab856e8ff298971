/* lua_msgpack.h - MessagePack, straight from and to the Lua stack.

   nil and null are nil; strings that are UTF-8 are str, others bin; integers
   beyond 64 signed bits become floats; tables are arrays or maps as lua_shape.h
   tells. Extension types are refused. https://github.com/msgpack/msgpack */
#ifndef ORR_LUA_MSGPACK_H
#define ORR_LUA_MSGPACK_H

#include "buffer.h"

#include <lua.h>

/* Appends the value at `index`. Raises, naming its place, where it cannot be sent
   or memory is short; the buffer then has a torso at its end. `blame` is the level
   of luaL_where whose line the message begins with; 0: none. */
void orr_msgpack_encode(lua_State *L, int index, struct orr_buffer *out,
                        int blame);

/* Pushes the value at the start of `data` and sets *used to its length; where it
   is not one, pushes what is wrong with it and returns -EPROTO. `budget` bounds
   the memory that tables and strings may take, in bytes, about. */
int orr_msgpack_decode(lua_State *L, const uint8_t *data, size_t length,
                       size_t budget, size_t *used);

/* Adds pack(value) and unpack(string) to the module table on top. */
void orr_open_msgpack(lua_State *L);

#endif
