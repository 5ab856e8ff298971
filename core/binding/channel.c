/* channel.c - the userdata orrery.fork: one end of a channel between two
   processes. It frames, encodes and queues; when to read and to write, and what
   messages mean, is Lua's business. */
#include "engine/channel.h"
#include "binding.h"
#include "engine/io.h"
#include "engine/names.h"
#include "msgpack.h"
#include "values.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { BLAME = 2 }; /* the caller of the Lua function that calls us */

/* Bytes that may be on their way, if Linux allows as many; it doubles the
   number. That is room for some long messages, so that sender and receiver do
   not wait for each other at every one. */
enum { SEND_BUFFER = 256 * 1024 };

enum { LONG = 64 * 1024 }; /* bytes of a string: see send_long */

/* Bytes of memory that a decoded message may take, for each of the payload.
   Records take 5 to 10, a list of small integers 16, one of empty lists 80. Any
   message may take LEAST_BUDGET; none may take more than MOST_BUDGET or, if
   that is more, MOST_FACTOR times max_message. */
enum {
  BUDGET_FACTOR = 16,
  LEAST_BUDGET = 64 * 1024 * 1024,
  MOST_FACTOR = 4,
  MOST_BUDGET = 1 << 30
};

static struct orr_channel *check_channel(lua_State *L) {
  return orr_check_self(L, ORR_FORK);
}

/* core.fork(fd, framing, max_message) -> orrery.fork, which takes the orrery.fd
   over. framing: "frames" or "lines"; max_message: bytes of one message, both
   ways. Raises if the fd is closed. */
static int l_fork(lua_State *L) {
  static const char *const framings[] = {"frames", "lines", NULL};
  luaL_checkudata(L, 1, ORR_FD);
  int framing = luaL_checkoption(L, 2, NULL, framings);
  lua_Integer most = luaL_checkinteger(L, 3);
  luaL_argcheck(L, most > 0, 3, "must be positive");
  struct orr_channel *channel = lua_newuserdatauv(L, sizeof *channel, 0);
  orr_channel_open(channel, -1, (enum orr_framing)framing, (size_t)most);
  luaL_setmetatable(L, ORR_FORK);
  channel->fd = orr_fd_take(L, 1);
  luaL_argcheck(L, channel->fd >= 0, 1, "is closed");
  int size = SEND_BUFFER;
  setsockopt(channel->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return 1;
}

/* channel:fileno() -> the number of its fd; nil if it is closed. */
static int m_fileno(lua_State *L) {
  int fd = check_channel(L)->fd;
  if (fd < 0)
    luaL_pushfail(L);
  else
    lua_pushinteger(L, fd);
  return 1;
}

/* channel:close(): closes it, and drops what is queued and what has arrived.
   Does nothing if it is closed. */
static int m_close(lua_State *L) {
  orr_channel_close(luaL_checkudata(L, 1, ORR_FORK)); /* a metamethod, too */
  return 0;
}

/* channel:hang_up(): what has come can still be received, and then the end,
   also if other processes hold the other end. Does nothing if it is closed. */
static int m_hang_up(lua_State *L) {
  orr_channel_hang_up(check_channel(L));
  return 0;
}

/* Sending ------------------------------------------------------------------ */

/* nil, errno: orr_channel_begin has failed. */
static int fail_begin(lua_State *L, const struct orr_channel *channel) {
  return orr_fail(L, channel->fd < 0 ? EBADF : ENOMEM);
}

/* Pushes what a method that queues returns: bytes queued; nil, errno. */
static int queued(lua_State *L, const struct orr_channel *channel, int error) {
  if (error < 0)
    return orr_fail(L, -error);
  lua_pushinteger(L, (lua_Integer)orr_channel_queued(channel));
  return 1;
}

static int commit(lua_State *L, struct orr_channel *channel) {
  return queued(L, channel, orr_channel_commit(channel));
}

/* Sends a string that is long enough to be flushed at once: what the socket
   takes of it is never copied. */
static int send_long(lua_State *L, struct orr_channel *channel, const char *s,
                     size_t length) {
  if (length > channel->max_message)
    return orr_fail(L, EMSGSIZE);
  struct orr_buffer *out = orr_channel_begin(channel, ORR_MESSAGE, 0, -1);
  if (out == NULL)
    return fail_begin(L, channel);
  orr_msgpack_encode_head(L, s, length, out);
  return queued(L, channel, orr_channel_commit_long(channel, s, length));
}

/* channel:send(value) -> bytes queued; nil, errno (EMSGSIZE, ENOMEM, EBADF: it
   is closed). Raises if the value cannot be sent. A long string is sent at
   once, as far as the socket takes it, if nothing is queued before it; errors
   of that come back from flush. */
static int m_send(lua_State *L) {
  struct orr_channel *channel = check_channel(L);
  if (lua_type(L, 2) == LUA_TSTRING && channel->framing == ORR_FRAMES) {
    size_t length;
    const char *s = lua_tolstring(L, 2, &length);
    if (length >= LONG)
      return send_long(L, channel, s, length);
  }
  struct orr_buffer *out = orr_channel_begin(channel, ORR_MESSAGE, 0, -1);
  if (out == NULL)
    return fail_begin(L, channel);
  orr_msgpack_encode(L, 2, out, BLAME);
  return commit(L, channel);
}

static void put_id(lua_State *L, struct orr_buffer *out, lua_Integer id) {
  if (orr_buffer_reserve(out, 4) < 0)
    luaL_error(L, "not enough memory to send a message");
  orr_put_u32le(out->data + out->length, (uint32_t)id);
  out->length += 4;
}

/* channel:post(type, flags, value, id, description, fd) -> as send. Queues a
   frame of any type, see core.frame and core.frame_flag. `id` is for requests
   and replies. `description`, a table, and `fd`, a number, are of a handle that
   goes along; the fd stays open until its bytes are sent (see totals). */
static int m_post(lua_State *L) {
  struct orr_channel *channel = check_channel(L);
  int type = (int)luaL_checkinteger(L, 2), flags = (int)luaL_checkinteger(L, 3);
  int fd = (int)luaL_optinteger(L, 7, -1);
  lua_settop(L, 7);
  struct orr_buffer *out = orr_channel_begin(channel, type, flags, fd);
  if (out == NULL)
    return fail_begin(L, channel);
  if (!lua_isnil(L, 5))
    put_id(L, out, lua_tointeger(L, 5));
  if (fd >= 0)
    orr_msgpack_encode(L, 6, out, 0);
  orr_msgpack_encode(L, 4, out, 0);
  return commit(L, channel);
}

/* channel:line(text, fd) -> as send, for framing "lines". Queues a line, `text`
   without its end, and the fd, if any, as post does. */
static int m_line(lua_State *L) {
  struct orr_channel *channel = check_channel(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  int fd = (int)luaL_optinteger(L, 3, -1);
  struct orr_buffer *out = orr_channel_begin(channel, 0, 0, fd);
  if (out == NULL)
    return fail_begin(L, channel);
  if (orr_buffer_reserve(out, length) < 0)
    return orr_fail(L, ENOMEM);
  if (length > 0)
    memcpy(out->data + out->length, text, length);
  out->length += length;
  return commit(L, channel);
}

/* channel:flush() -> true if all is sent; false, errno if the rest must be sent
   later (EAGAIN: when the fd is writable); nil, errno if the peer is gone. */
static int m_flush(lua_State *L) {
  int error = orr_channel_flush(check_channel(L));
  bool later = error == -EAGAIN || error == -ETOOMANYREFS ||
               error == -ENOBUFS || error == -ENOMEM || error == -EMFILE;
  if (error < 0 && !later)
    return orr_fail(L, -error);
  lua_pushboolean(L, error == 0);
  lua_pushinteger(L, -error);
  return 2;
}

/* channel:totals() -> bytes queued, bytes sent, and bytes of the frames that
   `next` gave: since it was opened. */
static int m_totals(lua_State *L) {
  struct orr_channel *channel = check_channel(L);
  lua_pushinteger(L, (lua_Integer)channel->accepted);
  lua_pushinteger(L, (lua_Integer)channel->sent);
  lua_pushinteger(L, (lua_Integer)orr_channel_position(channel));
  return 3;
}

/* Receiving ---------------------------------------------------------------- */

/* channel:receive() -> bytes read, 0 at the end, and whether more may be there
   now; nil, errno (EAGAIN: nothing is). */
static int m_receive(lua_State *L) {
  struct orr_channel *channel = check_channel(L);
  long n = orr_channel_receive(channel);
  if (n < 0)
    return orr_fail(L, (int)-n);
  lua_pushinteger(L, n);
  lua_pushboolean(L, channel->filled);
  return 2;
}

/* Pushes false, errno, text: the peer breaks the rules. text NULL: it is on top
   of the stack. */
static int protocol_error(lua_State *L, int error, const char *text) {
  lua_pushboolean(L, false);
  lua_pushinteger(L, error);
  if (text != NULL)
    lua_pushstring(L, text);
  else
    lua_rotate(L, -3, 2); /* the text is below */
  return 3;
}

/* Returns how many bytes of memory a payload of `length` may take. */
static size_t budget_of(const struct orr_channel *channel, size_t length) {
  size_t budget = length * BUDGET_FACTOR,
         most = channel->max_message * MOST_FACTOR;
  if (most < MOST_BUDGET)
    most = MOST_BUDGET;
  if (budget > most)
    return most;
  return budget > LEAST_BUDGET ? budget : LEAST_BUDGET;
}

static struct orr_msgpack_reader reader_of(const struct orr_channel *channel,
                                           const struct orr_frame *frame) {
  return (struct orr_msgpack_reader){.at = frame->payload,
                                     .end = frame->payload + frame->length,
                                     .budget =
                                         budget_of(channel, frame->length),
                                     .changes = &channel->changes,
                                     .changes_seen = channel->changes};
}

/* Pushes the description of the handle that comes with the frame, or nil if
   none does, and returns true; or pushes the text of an error and returns
   false. */
static bool decode_description(lua_State *L, const struct orr_frame *frame,
                               struct orr_msgpack_reader *reader) {
  if ((frame->flags & ORR_HAS_FD) == 0) {
    lua_pushnil(L);
    return true;
  }
  if (orr_msgpack_decode(L, reader) < 0)
    return false;
  if (lua_istable(L, -1))
    return true;
  lua_pushliteral(L, "a handle is not described");
  return false;
}

/* Pushes the value that the rest of the payload is, and returns true; or pushes
   the text of an error and returns false. */
static bool decode_rest(lua_State *L, struct orr_msgpack_reader *reader) {
  if (orr_msgpack_decode(L, reader) < 0)
    return false;
  if (reader->at == reader->end)
    return true;
  lua_pushliteral(L, ORR_MSGPACK_MORE);
  return false;
}

/* Reads the id of a request or reply into *id, which stays as it is for other
   frames. Returns false if the frame is too short for one. */
static bool take_id(const struct orr_frame *frame,
                    struct orr_msgpack_reader *reader, lua_Integer *id) {
  if (frame->type != ORR_REQUEST && frame->type != ORR_REPLY)
    return true;
  if (reader->end - reader->at < 4)
    return false;
  *id = orr_get_u32le(reader->at);
  reader->at += 4;
  return true;
}

/* Pushes the frame's fd as an orrery.fd. Pushes false if it has none, if it was
   lost on the way, or if this type takes none. */
static void push_fd(lua_State *L, struct orr_channel *channel,
                    const struct orr_frame *frame) {
  bool lost = true;
  int fd = -1;
  if ((frame->flags & ORR_HAS_FD) != 0 &&
      (frame->type == ORR_MESSAGE || frame->type == ORR_INTERNAL)) {
    orr_fd_push(L); /* first: it may raise */
    fd = orr_channel_take_fd(channel, &lost);
  }
  if (fd >= 0)
    orr_fd_set(L, -1, fd, true);
  else
    lua_pushboolean(L, false);
}

/* Pushes what `next` returns for a frame. */
static int push_frame(lua_State *L, struct orr_channel *channel,
                      const struct orr_frame *frame) {
  struct orr_msgpack_reader reader = reader_of(channel, frame);
  lua_Integer id = 0;
  if (!take_id(frame, &reader, &id))
    return protocol_error(L, EPROTO, "a request without an id");
  push_fd(L, channel, frame);
  int fd = lua_gettop(L);
  if (!decode_description(L, frame, &reader) || !decode_rest(L, &reader))
    return protocol_error(L, EPROTO, NULL);
  lua_pushinteger(L, frame->type);
  lua_pushvalue(L, fd + 2); /* the value */
  lua_pushinteger(L, id);
  lua_pushinteger(L, frame->flags);
  lua_pushvalue(L, fd + 1); /* the description */
  lua_pushvalue(L, fd);
  return 6;
}

/* The same for a message without anything else, which nearly all frames are. */
static int push_message(lua_State *L, const struct orr_channel *channel,
                        const struct orr_frame *frame) {
  struct orr_msgpack_reader reader = reader_of(channel, frame);
  lua_pushinteger(L, ORR_MESSAGE);
  return decode_rest(L, &reader) ? 2 : protocol_error(L, EPROTO, NULL);
}

/* The same for a line. */
static int push_line(lua_State *L, const struct orr_frame *frame) {
  lua_pushinteger(L, ORR_MESSAGE);
  lua_pushlstring(L, (const char *)frame->payload, frame->length);
  return 2;
}

/* Pushes what `next` returns. Frames of types that are not known are
   skipped. */
static int push_next(lua_State *L, struct orr_channel *channel) {
  struct orr_frame frame;
  int rc;
  while ((rc = orr_channel_next(channel, &frame)) == 1) {
    if (channel->framing == ORR_LINES)
      return push_line(L, &frame);
    if (frame.type == ORR_MESSAGE && frame.flags == 0)
      return push_message(L, channel, &frame);
    if (frame.type < ORR_TYPES)
      return push_frame(L, channel, &frame);
  }
  if (rc < 0)
    return protocol_error(L, -rc,
                          rc == -EMSGSIZE ? "a message is too long"
                                          : "a frame makes no sense");
  luaL_pushfail(L);
  return 1;
}

/* channel:next() -> type, value, id, flags, description, fd of the next frame
   that has arrived whole, or type, value of a plain message; type, text for
   framing "lines"; nil if there is none; false, errno (EPROTO, EMSGSIZE), text
   if the peer breaks the rules. `fd` is an orrery.fd, or false if it was
   lost. */
static int m_next(lua_State *L) {
  return push_next(L, check_channel(L));
}

/* What there may be more of, after m_fetch. */
enum { FRAMES = 1, BYTES = 2 };

/* channel:fetch(read) -> what there may be more of, and what `next` gives. If
   `read` is true it reads once before that, and returns nil, errno if this
   fails, nil at the end. What there may be more of, frames that have arrived or
   bytes to be read, is a sum of the numbers in core.more. */
static int m_fetch(lua_State *L) {
  struct orr_channel *channel = check_channel(L);
  long n = lua_toboolean(L, 2) ? orr_channel_receive(channel) : 1;
  if (n < 0)
    return orr_fail(L, (int)-n);
  if (n == 0) {
    lua_pushnil(L);
    return 1;
  }
  int results = push_next(L, channel);
  int more = channel->filled ? BYTES : 0;
  if (!lua_isnil(L, -results) && !orr_channel_is_idle(channel))
    more |= FRAMES;
  lua_pushinteger(L, more);
  lua_insert(L, -results - 1);
  return results + 1;
}

/* channel:take_fd() -> the orrery.fd that came with the lines read so far;
   false if it was lost; nil if there was none. */
static int m_take_fd(lua_State *L) {
  struct orr_channel *channel = check_channel(L);
  bool lost;
  orr_fd_push(L);
  int fd = orr_channel_take_fd(channel, &lost);
  if (fd >= 0)
    orr_fd_set(L, -1, fd, true);
  else if (lost)
    lua_pushboolean(L, false);
  else
    luaL_pushfail(L);
  return 1;
}

/* channel:partial() -> how many bytes have arrived of a frame that is not
   whole: if that is the end, a frame was cut. */
static int m_partial(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)orr_channel_partial(check_channel(L)));
  return 1;
}

/* tostring(channel) -> "channel (fd 7)" or "channel (closed)". */
static int m_tostring(lua_State *L) {
  struct orr_channel *channel = luaL_checkudata(L, 1, ORR_FORK);
  if (channel->fd < 0)
    lua_pushliteral(L, "channel (closed)");
  else
    lua_pushfstring(L, "channel (fd %d)", channel->fd);
  return 1;
}

void orr_open_fork(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"fileno", m_fileno},   {"close", m_close},
      {"send", m_send},       {"post", m_post},
      {"line", m_line},       {"flush", m_flush},
      {"totals", m_totals},   {"next", m_next},
      {"receive", m_receive}, {"fetch", m_fetch},
      {"take_fd", m_take_fd}, {"partial", m_partial},
      {"hang_up", m_hang_up}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", m_close},
                                  {"__close", m_close},
                                  {"__tostring", m_tostring},
                                  {NULL, NULL}};
  static const luaL_Reg functions[] = {{"fork", l_fork}, {NULL, NULL}};
  static const struct orr_name types[] = {{"message", ORR_MESSAGE},
                                          {"request", ORR_REQUEST},
                                          {"reply", ORR_REPLY},
                                          {"internal", ORR_INTERNAL},
                                          {NULL, 0}};
  static const struct orr_name flags[] = {
      {"has_fd", ORR_HAS_FD}, {"failed", ORR_FAILED}, {NULL, 0}};
  static const struct orr_name more[] = {
      {"frames", FRAMES}, {"bytes", BYTES}, {NULL, 0}};
  orr_class(L, ORR_FORK, methods, meta);
  luaL_setfuncs(L, functions, 0);
  orr_add_names(L, "frame", types);
  orr_add_names(L, "frame_flag", flags);
  orr_add_names(L, "more", more);
}
