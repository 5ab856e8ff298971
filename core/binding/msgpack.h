/* msgpack.h - MessagePack, straight from and to the Lua stack.

   nil and null are nil; strings that are UTF-8 are str, others bin; integers
   beyond 64 signed bits become floats; tables are arrays or maps as values.h
   tells. Extension types are refused. https://github.com/msgpack/msgpack */
#ifndef ORR_MSGPACK_H
#define ORR_MSGPACK_H

#include "engine/buffer.h"

#include <lua.h>

/* Appends the value at `index`. Raises, naming its place, where it cannot be
   sent or memory is short; the buffer then has a torso at its end. `blame` is
   the level of luaL_where whose line the message begins with; 0: none. */
void orr_msgpack_encode(lua_State *L, int index, struct orr_buffer *out,
                        int blame);

/* Appends what precedes the bytes of a string: at most 5 bytes. */
void orr_msgpack_encode_head(lua_State *L, const char *s, size_t length,
                             struct orr_buffer *out);

/* What is decoded. Finalizers run meanwhile and may take the bytes away: once
 *changes is no longer `changes_seen`, they are not touched. */
struct orr_msgpack_reader {
  const uint8_t *at, *end;
  size_t budget; /* bytes of memory that tables and strings may take, about */
  const unsigned *changes;
  unsigned changes_seen;
};

/* What is wrong where there are bytes left behind the last value. */
#define ORR_MSGPACK_MORE "not MessagePack: something follows the value"

/* Pushes the value at reader->at and moves that behind it; where there is none,
   pushes what is wrong and returns -EPROTO. */
int orr_msgpack_decode(lua_State *L, struct orr_msgpack_reader *reader);

/* Adds pack(value) and unpack(string) to the module table on top. */
void orr_open_msgpack(lua_State *L);

#endif
