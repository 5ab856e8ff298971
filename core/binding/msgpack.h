/* msgpack.h - MessagePack, straight from and to the Lua stack. The encoder and
   the decoder know nothing of each other.

   null is nil; strings that are UTF-8 are str, others bin; integers beyond 64
   signed bits become floats; tables are arrays or maps as values.h tells.
   Extension types are refused. https://github.com/msgpack/msgpack */
#ifndef ORR_MSGPACK_H
#define ORR_MSGPACK_H

#include "engine/buffer.h"

#include <lua.h>

/* Appends the value at `index`. Raises, naming the place in the message, if the
   value or one inside it cannot be sent, or if memory is short; the buffer then
   has a torso at its end. `blame` is the level of luaL_where whose line the
   error begins with; 0: none. */
void orr_msgpack_encode(lua_State *L, int index, struct orr_buffer *out,
                        int blame);

/* Appends what precedes the bytes of a string: at most 5 bytes. The caller
   sends the string itself. Raises if memory is short. */
void orr_msgpack_encode_head(lua_State *L, const char *s, size_t length,
                             struct orr_buffer *out);

/* What is decoded. Finalizers run meanwhile and may take the bytes away: they
   are not touched any more once `*changes` differs from `changes_seen`. */
struct orr_msgpack_reader {
  const uint8_t *at, *end;
  size_t budget; /* bytes of memory that tables and strings may take, about */
  const unsigned *changes;
  unsigned changes_seen;
};

/* The error for bytes that are left behind the last value. */
#define ORR_MSGPACK_MORE "not MessagePack: something follows the value"

/* Pushes the value at reader->at, moves reader->at behind it, and returns 0. If
   the bytes are no value, or one that takes too much memory or time, pushes the
   text of the error and returns -EPROTO. Raises if memory is short. */
int orr_msgpack_decode(lua_State *L, struct orr_msgpack_reader *reader);

/* Add pack(value) and unpack(string) to the module table on top. */
void orr_open_pack(lua_State *L);
void orr_open_unpack(lua_State *L);

#endif
