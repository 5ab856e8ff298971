--- What users say over a channel: the members that children and this process have
--- in common. Installed into their classes; `self.channel_` is the channel.

local uv = require "luv"
local core = require "orrery.core"
local given_away = require "orrery.channel.given_away"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local Channel = require "orrery.channel.channel"

local MOST_SERVED = 4096 -- requests that are being handled at once
local MOST_RESULTS = 250 -- of one request

local null = core.null

local Messaging = {}

-- Sending --------------------------------------------------------------------

local send_schema = { keep_open = options.checks.boolean }

--- The channel of an owner; raises where it has never had one.
local function channel_of(self, where)
  local channel = self.channel_
  if not channel then
    options.raise("%s: there is no channel: start the child by fork, "
      .. 'or with "ipc" in stdio', where)
  end
  return channel
end

--- A send that failed: false, and the callback hears why.
local function refuse(channel, err, cb)
  if cb then channel.call_back(channel:expect(cb), err) end
  return false
end

local function queue_error(errno, channel)
  local err = errors.system(errno, "send")
  if err.code == "EMSGSIZE" then
    err.message = ("send: the message is longer than max_message, %d bytes "
      .. "(EMSGSIZE)"):format(channel.max_message)
  elseif err.code == "EBUSY" then
    err.message = "send: bytes of the socket were read here already, which have no "
      .. "place in Node's protocol (EBUSY): accept it with pause_on_connect"
  end
  return err
end

--- The arguments (message, handle?, opts?, cb?), any but the first left out.
local function arguments(handle, opts, cb)
  if type(handle) == "function" then handle, opts, cb = nil, nil, handle end
  if type(opts) == "function" then opts, cb = nil, opts end
  if cb ~= nil then
    options.argument("send", "the callback", cb, options.checks.callback)
  end
  opts = options.check("send", opts, send_schema)
  return handle, opts, cb
end

local function is_message(value)
  if value == nil then
    options.raise("send: a message is missing (ERR_MISSING_ARGS); "
      .. "orrery.null stands for nil")
  end
end

--- Called once, when a message is sent or never will be; nil where nobody cares.
local function after_sending(sent, cb)
  if not sent then return cb end
  return function(err)
    sent:done(err)
    if cb then cb(err) end
  end
end

--- send with a handle, a callback, or over another wire than MessagePack.
local function send_fully(channel, value, handle, opts, cb)
  handle, opts, cb = arguments(handle, opts, cb)
  local err = channel:refusal()
  if err then return refuse(channel, err, cb) end
  local sent
  if handle ~= nil then
    sent, err = require "orrery.channel.attachments".prepare(handle, opts, channel)
    if err then return refuse(channel, err, cb) end
  end
  local ok, queued, errno = pcall(channel.wire.send, channel, value, sent,
    after_sending(sent, cb))
  if not ok or not queued then
    err = ok and queue_error(errno, channel)
    if sent then sent:done(err or queued) end
    if not ok then options.raise("%s", queued) end
    return refuse(channel, err, cb)
  end
  return channel:queued(queued)
end

--- Sends a message to the other side.
---
---     child:send({job = 7}, nil, nil, function(err) … end)
---
--- @param value any boolean, number, string, table, orrery.null; what cannot be
---   sent raises and names its place
--- @param handle any? a socket, server, stream, luv handle or orrery.core.fd
--- @param opts {keep_open: boolean}? a sent net.Socket stays open here as well
--- @param cb fun(err: Error?)? once the kernel has it, or never will
--- @return boolean go_on false: much is queued, wait for `drain`; or it failed
function Messaging:send(value, handle, opts, cb)
  local channel = self.channel_
  if channel and channel.sends_fast and value ~= nil and handle == nil
    and opts == nil and cb == nil then
    local queued = channel.post(channel.fork, value)
    return queued ~= nil and channel:queued(queued)
  end
  channel = channel_of(self, "send")
  is_message(value)
  return send_fully(channel, value, handle, opts, cb)
end

-- Receiving ------------------------------------------------------------------

--- Waits for the next message. While a task waits here, messages are its, and
--- not the listeners'. [w]
--- @param t integer? ms
--- @return any? message nil, err (ETIMEDOUT; ERR_IPC_CHANNEL_CLOSED at the end)
--- @return any handle
function Messaging:receive(t)
  local channel = channel_of(self, "receive")
  if channel.waiting > 0 then
    if channel.paused then loop.soon(channel.resume, channel) end
    return channel:take()
  elseif channel.closed then
    return nil, channel.error or Channel.closed_error("receive")
  end
  return scheduler.wait(function(wake)
    table.insert(channel.readers, wake)
    channel:readers_changed()
    return function()
      for i, other in ipairs(channel.readers) do
        if other == wake then
          table.remove(channel.readers, i)
          break
        end
      end
      channel:readers_changed()
    end
  end, t, "receive")
end

-- Requests -------------------------------------------------------------------

--- Asks the other side's handler, and waits for what it returns. [w]
--- @param value any
--- @param t integer? ms
--- @return any ... the handler's results; nil, err (its error; ENOSYS: it has no
---   handler; ETIMEDOUT; ENOBUFS: the answer is behind too many messages that
---   nobody takes; ERR_IPC_CHANNEL_CLOSED)
function Messaging:request(value, t)
  local channel = channel_of(self, "request")
  is_message(value)
  local err = channel:refusal()
  if err then return nil, err end
  scheduler.checkpoint("request", t)
  local id = channel:new_id()
  local ok, queued, errno = pcall(channel.wire.request, channel, id, value)
  if not ok then options.raise("%s", queued) end
  if not queued then return nil, queue_error(errno, channel) end
  return scheduler.wait(function(wake)
    if not next(channel.requests) then channel.took = false end
    channel.requests[id] = wake
    channel:update_ref()
    channel:resume() -- the answer may be behind what fills the inbox
    channel:queued(queued)
    return function()
      channel.requests[id] = nil
      channel:update_ref()
    end
  end, t, "request")
end

--- Answers requests of the other side: fn(message) runs as a task, and what it
--- returns, or raises, travels back. There is one handler; nil takes it away.
--- @param fn function?
function Messaging:handle(fn)
  local channel = channel_of(self, "handle")
  if fn ~= nil then
    options.argument("handle", "fn", fn, options.checks.callback)
  end
  if channel.closed then return end
  channel.handler = fn
  channel:update_ref()
end

--- @class Channel
local Methods = Channel.Channel -- more of its methods

--- An id that no open request has.
function Methods:new_id()
  repeat
    self.last_id = self.last_id % 0xffffffff + 1
  until not self.requests[self.last_id]
  return self.last_id
end

local function describe_error(err)
  if type(err) == "table" and err.message then
    return { message = tostring(err.message), code = err.code }
  end
  return { message = tostring(err) }
end

--- Sends results or an error back; results that cannot be sent are an error.
local function reply(channel, id, failed, value)
  if channel:refusal() then return end
  local ok, queued, errno = pcall(channel.wire.reply, channel, id, failed, value)
  if ok and queued then return channel:queued(queued) end
  local text = ok and core.strerror(errno) or queued
  queued = channel.wire.reply(channel, id, true,
    { message = "the results cannot be sent: " .. text })
  if queued then channel:queued(queued) end
end

--- A list in which null stands for nil.
local function dense(results, first)
  local list = core.array {}
  for i = first, results.n do
    local value = results[i]
    if value == nil then value = null end
    list[i - first + 1] = value
  end
  return list
end

local function run_handler(channel, id, fn, value)
  local results = table.pack(pcall(fn, value))
  channel.serving = channel.serving - 1
  if results[1] and results.n > MOST_RESULTS then
    reply(channel, id, true, { message = ("the handler returned %d results, and %d "
      .. "are all that travel"):format(results.n - 1, MOST_RESULTS) })
  elseif results[1] then
    reply(channel, id, false, dense(results, 2))
  else
    reply(channel, id, true, describe_error(results[2]))
  end
end

--- A request has come.
function Methods:serve(id, value)
  if not self.handler then
    return reply(self, id, true,
      { code = "ENOSYS", message = "request: the other side has no handler" })
  elseif self.serving >= MOST_SERVED then
    return reply(self, id, true, { code = "EAGAIN",
      message = "request: too many requests are being handled" })
  end
  self.serving = self.serving + 1
  scheduler.go(run_handler, self, id, self.handler, value)
end

--- A reply has come; nobody may be waiting any more.
function Methods:answer(id, failed, value)
  local wake = self.requests[id]
  if not wake then return end
  self.requests[id] = nil
  self:update_ref()
  if failed then
    local text = type(value) == "table" and value.message
    local code = type(value) == "table" and value.code
    return wake(nil, errors.new(type(code) == "string" and code or "ERR_REQUEST",
      type(text) == "string" and text or "the handler failed"))
  end
  local results, n = {}, type(value) == "table" and #value or 0
  if n > MOST_RESULTS then
    return wake(nil, errors.new("EPROTO", "request: too many results"))
  end
  for i = 1, n do
    if value[i] ~= null then results[i] = value[i] end
  end
  wake(table.unpack(results, 1, n))
end

--- A word between the engines.
function Methods:internal(value)
  if type(value) == "table" and value.closed then
    given_away.closed(self, value.closed)
  end
end

--- Tells the other side that a connection which it sent is closed.
function Methods:report_closed(server)
  if self:refusal() then return end
  local queued = self.wire.internal(self, { closed = server })
  if queued then self:queued(queued) end
end

-- The end --------------------------------------------------------------------

--- Ends the channel: what is queued still goes out, `disconnect` follows on both
--- sides. Again: nothing.
function Messaging:disconnect()
  local channel = self.channel_
  if channel then channel:leave() end
end

-- Owners ---------------------------------------------------------------------

local messaging = { Messaging = Messaging }

local MAX_MESSAGE = 256 * 1024 * 1024 -- bytes

--- The variables that tell a child of its channel: ours, or Node's for JSON.
--- @param fd integer the child's
--- @param extra table? more of them
--- @return table<string, string>
function messaging.environment(fd, opts, extra)
  local env = extra or {}
  if opts.serialization == "json" then
    env.NODE_CHANNEL_FD = fd
    env.NODE_CHANNEL_SERIALIZATION_MODE = "json"
  else
    env.ORRERY_CHANNEL_FD = fd
  end
  env.ORRERY_MAX_MESSAGE = opts.max_message
  return env
end

--- Opens a channel for an owner, which gets `channel` and `connected`.
--- @param owner Emitter
--- @param fd userdata orrery.fd
--- @param opts {serialization: string, max_message: integer, inherited: boolean}
--- @return Channel? channel nil, err (EMFILE)
--- @return Error? err
function messaging.open(owner, fd, opts)
  local most = opts.max_message or MAX_MESSAGE
  local wire = require(opts.serialization == "json" and "orrery.channel.json_wire"
    or "orrery.channel.msgpack_wire")
  local channel, err = Channel.open(fd, owner, {
    wire = wire,
    framing = wire.framing,
    max_message = most,
    inherited = opts.inherited,
  })
  if not channel then return nil, err end
  channel.on_lost = given_away.lost
  owner.channel_, owner.channel = channel, channel
  return channel
end

--- For listeners_changed_ of owners.
function messaging.listeners_changed(owner, event)
  if event == "message" or event == "disconnect" then
    local channel = owner.channel_
    if channel then
      channel:listeners_changed(owner:listener_count("message"),
        owner:listener_count("disconnect"))
    end
  end
end

--- Takes over the channel that this process was started with, if any, and clears
--- the variables that told of it, for they are not for its own children.
--- @param owner Emitter
--- @return Channel?
function messaging.adopt(owner)
  local own = os.getenv("ORRERY_CHANNEL_FD")
  local node = not own and os.getenv("NODE_CHANNEL_FD")
  local number = math.tointeger(tonumber(own or node))
  local mode = os.getenv("NODE_CHANNEL_SERIALIZATION_MODE") or "json"
  local most = math.tointeger(tonumber(os.getenv("ORRERY_MAX_MESSAGE")))
  for _, name in ipairs { "ORRERY_CHANNEL_FD", "ORRERY_MAX_MESSAGE",
    "NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE" } do
    uv.os_unsetenv(name)
  end
  local fd = number and number >= 0 and number <= 0x7fffffff
    and core.adopt(number)
  if not fd then return nil end
  if node and mode ~= "json" then
    fd:close()
    error(("the channel speaks %q, which is only known to Node: start this "
      .. 'program with serialization = "json"'):format(mode), 0)
  end
  return (messaging.open(owner, fd, {
    serialization = node and "json" or "msgpack",
    max_message = most and most > 0 and most or nil,
    inherited = true,
  }))
end

return messaging
