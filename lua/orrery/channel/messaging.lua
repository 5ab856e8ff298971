--- What users say over a channel: `send`, `receive`, `request`, `handle` and
--- `disconnect`, the members that children and this process have in common.
--- This is the door of its room: an owner's channel is opened here, and is the
--- owner's field `channel_`.

local attachments = require "orrery.channel.attachments"
local Callback = require "orrery.channel.callback"
local channels = require "orrery.channel.channel"
local inherit = require "orrery.channel.inherit"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local MAX_MESSAGE = 256 * 1024 * 1024 -- bytes
local GRACE = 250 -- ms

local checks = options.checks

--- @class Messaging what an owner of a channel can do
local Messaging = {}

--- Returns the channel of an owner. Raises if it has never had one, or one that
--- speaks what is not known here.
--- @return Channel
local function channel_of(self, where)
  local channel = self.channel_
  if not channel then
    if self.foreign_ then self.foreign_:refuse_(where) end
    options.raise("%s: there is no channel: start the child by fork, "
      .. 'or with "ipc" in stdio', where)
  end
  return channel
end

-- Sending --------------------------------------------------------------------

local send_schema = { keep_open = checks.boolean }

--- Tells the callback why a message is not sent.
--- @return false
local function refuse(err, cb)
  if cb then Callback.new(cb):call_(err) end
  return false
end

--- Returns the arguments that follow the message: handle?, opts?, cb?, of which
--- each may be left out. Raises if they are of wrong types.
local function arguments(handle, opts, cb)
  if type(handle) == "function" then handle, opts, cb = nil, nil, handle end
  if type(opts) == "function" then opts, cb = nil, opts end
  if cb ~= nil then
    options.argument("send", "the callback", cb, checks.callback)
  end
  opts = options.check("send", opts, send_schema)
  return handle, opts, cb
end

local function check_message(value)
  if value == nil then
    options.raise("send: a message is missing (ERR_MISSING_ARGS); "
      .. "orrery.null stands for nil")
  end
end

--- Returns what is to be called once a message is sent or never will be; nil if
--- that concerns neither an attachment nor the caller.
local function after_sending(attachment, cb)
  if not attachment then return cb end
  return function(err)
    attachment:done_(err)
    if cb then cb(err) end
  end
end

--- Sends a message that has a handle or a callback, or over JSON.
local function send_fully(channel, value, handle, opts, cb)
  handle, opts, cb = arguments(handle, opts, cb)
  local err = channel:refusal_()
  if err then return refuse(err, cb) end
  local attachment
  if handle ~= nil then
    attachment, err = attachments.prepare(handle, opts, channel)
    if err then return refuse(err, cb) end
  end
  local ok, queued, errno = pcall(channel.wire_.send, channel, value,
    attachment, after_sending(attachment, cb))
  if ok and queued then return channel:queued_(queued) end
  err = ok and channel:queue_error_(errno)
  if attachment then attachment:done_(err or queued) end
  if not ok then options.raise("%s", queued) end
  return refuse(err, cb)
end

--- Sends a message to the other side.
---
---     child:send({job = 7}, nil, nil, function(err) … end)
---
--- Never waits. Raises if the message can never be sent: a function in it, a
--- cycle, a handle of an unknown kind.
--- @param value any boolean, number, string, table of these, or orrery.null
--- @param handle any? a socket, server, stream, luv handle or orrery.core.fd
--- @param opts {keep_open: boolean?}? a sent net.Socket stays open here as well
--- @param cb fun(err: Error?)? called when the kernel has it, or never will
---   (ERR_IPC_CHANNEL_CLOSED, EMSGSIZE, ENOBUFS, EPIPE, ECONNRESET; of a handle
---   EBADF, EBUSY, EMFILE)
--- @return boolean go_on false: much is queued, wait for `drain`; or it failed
function Messaging:send(value, handle, opts, cb)
  local channel = self.channel_
  if channel and channel.sends_fast_ and value ~= nil and handle == nil
    and opts == nil and cb == nil then
    local queued = channel.post_(channel.core_end_, value)
    return queued ~= nil and channel:queued_(queued)
  end
  channel = channel_of(self, "send")
  check_message(value)
  return send_fully(channel, value, handle, opts, cb)
end

-- Receiving ------------------------------------------------------------------

--- Waits for the next message. As long as a task waits here, messages go to it
--- and not to the listeners. [w]
--- @param t integer? ms
--- @return any? message nil, err (ETIMEDOUT; at the end ERR_IPC_CHANNEL_CLOSED,
---   ECONNRESET, EPROTO or EMSGSIZE)
--- @return any handle that came with the message, or the error without one
--- @return Error? err of a handle that could not be opened (EMFILE)
function Messaging:receive(t)
  local channel = channel_of(self, "receive")
  if channel.waiting_ > 0 then
    if channel.receiving_ == "paused" then
      loop.soon(channel.resume_, channel)
    end
    return channel:take_()
  elseif channel.closed then
    return nil, channel.error_ or channels.closed_error("receive")
  end
  return scheduler.wait(function(wake)
    return channel:add_reader_(wake)
  end, t, "receive")
end

-- Requests -------------------------------------------------------------------

--- Asks the handler of the other side, and waits for what it returns. [w]
--- @param value any as for send
--- @param t integer? ms
--- @return any ... the handler's results; nil, err (its error, with its code or
---   ERR_REQUEST; ENOSYS: it has no handler; EAGAIN: it has too many requests;
---   ETIMEDOUT; EMSGSIZE; ENOBUFS: too much is queued, or the answer is behind
---   too many messages that nobody takes; EPIPE: the other side reads no more;
---   EPROTO; ERR_IPC_CHANNEL_CLOSED)
function Messaging:request(value, t)
  local channel = channel_of(self, "request")
  check_message(value)
  return channel:request_(value, t)
end

--- Answers requests of the other side: fn(message) runs as a task, and what it
--- returns, or raises, travels back. There is one handler; nil takes it away.
--- Does nothing once the channel is closed.
--- @param fn (fun(message: any): any)?
function Messaging:handle(fn)
  local channel = channel_of(self, "handle")
  if fn ~= nil then options.argument("handle", "fn", fn, checks.callback) end
  if channel.closed then return end
  channel.handler_ = fn
  channel:update_ref_()
end

-- The end --------------------------------------------------------------------

--- Ends the channel: what is queued still goes out, and `disconnect` follows on
--- both sides. Does nothing if there is none, or if it is ending already.
function Messaging:disconnect()
  local channel = self.channel_ or self.foreign_
  if channel then channel:leave_() end
end

-- Owners ---------------------------------------------------------------------

local messaging = { Messaging = Messaging }

--- Returns how a channel speaks. Raises if that is JSON, and libjansson is
--- missing.
--- @return Wire
local function wire_of(serialization)
  return require(serialization == "json"
    and "orrery.channel.json_wire" or "orrery.channel.msgpack_wire")
end

--- As inherit.environment. Raises if our end could not be opened afterwards:
--- nothing is started yet.
function messaging.environment(fd, opts, extra)
  wire_of(opts.serialization)
  return inherit.environment(fd, opts, extra)
end

--- Opens a channel for an owner, which gets `channel` and `connected`.
--- @param owner Emitter
--- @param fd userdata orrery.fd, owned
--- @param opts table `serialization`, "msgpack" (the default) or "json";
---   `max_message` in bytes; `stdio_grace`, ms that others may hold the other
---   end after the exit; `inherited`: this process was started with it
--- @return Channel? channel
--- @return Error? err (EMFILE, ENFILE, ENOMEM, ENOSPC)
function messaging.open(owner, fd, opts)
  local channel, err = channels.open(fd, owner, {
    wire = wire_of(opts.serialization),
    max_message = opts.max_message or MAX_MESSAGE,
    inherited = opts.inherited or false,
    grace = opts.stdio_grace or GRACE,
  })
  if not channel then return nil, err end
  owner.channel_, owner.channel = channel, channel
  return channel
end

--- Gives an owner that failed to start a channel which is closed.
--- @param owner Emitter
function messaging.open_none(owner)
  owner.channel_ = channels.none(owner)
end

local ONLY_NODE = "the channel speaks %q, which only Node knows: have this "
  .. 'program started with serialization = "json"'

--- Returns why a channel is of no use to this process; nil if it is.
local function obstacle(serialization)
  if serialization == "msgpack" then return nil end
  if serialization ~= "json" then return ONLY_NODE:format(serialization) end
  local found, problem = pcall(require, "orrery.json")
  return not found and problem or nil
end

--- Opens the channel that this process was started with, if any. If it speaks
--- what is not known here, each use of it raises.
--- @param owner Emitter
--- @return Channel|Foreign|nil channel nil, err; nil if there is none
--- @return Error? err (EMFILE, ENFILE, ENOMEM, ENOSPC)
function messaging.adopt(owner)
  local fd, opts = inherit.take()
  if not fd then return nil end
  local problem = obstacle(opts.serialization)
  if not problem then return messaging.open(owner, fd, opts) end
  return require "orrery.channel.foreign".open(owner, fd, problem)
end

--- Tells the channel of an owner how many listen: to be called when the
--- listeners of `event` have changed. Does nothing if it concerns no channel.
--- @param owner Emitter
--- @param event string
function messaging.listeners_changed(owner, event)
  if event ~= "message" and event ~= "disconnect" then return end
  local channel = owner.channel_ or owner.foreign_
  if channel then
    channel:listeners_changed_(owner:listener_count("message"),
      owner:listener_count("disconnect"))
  end
end

return messaging
