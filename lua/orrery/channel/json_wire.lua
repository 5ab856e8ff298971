--- How channels speak with Node and Bun: lines of JSON, and Node's protocol for
--- handles, of which one is in flight at a time: what follows it waits for the
--- acknowledgement. Verified against Node 20; docs/channel.md tells more.

local uv = require "luv"
local Callback = require "orrery.channel.callback"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local given_away = require "orrery.channel.given_away"
local errors = require "orrery.runtime.errors"
local attachments = require "orrery.channel.attachments"
local json = require "orrery.json"
local loop = require "orrery.runtime.loop"

local DEFERRED = 128 * 1024 -- what a message behind a handle counts as queued
local MOST_DEFERRED = 64 * 1024 * 1024 -- bytes behind a handle: send refuses
local MOST_TRIES = 4 -- of a handle that does not arrive
local EXIT_WAIT, RETRY = 2000, 5 -- ms

local ACK = '{"cmd":"NODE_HANDLE_ACK"}'
local NACK = '{"cmd":"NODE_HANDLE_NACK"}'
local KEY = "orrery:%d" -- what connections of a server of ours are counted under

local EAGAIN = core.errnos.EAGAIN

local wire = { framing = "lines" }

local awaiting = {} -- channels with a handle on its way

--- The state that this wire keeps of a channel: what waits for what.
--- @class Lines
--- @field flying table? the line whose handle is on its way: {text, sent, entry}
--- @field queue table<integer, table> lines behind it, from `first` to `last`
--- @field waiting integer bytes of them
--- @field answered integer bytes of the channel up to the last answer of ours
--- @field keys table<string, table> sockets here of a server of the peer's
--- @field asked table<string, boolean> keys of ours whose last close is reported
local function state_of(channel)
  local state = channel.lines
  if not state then
    state = { queue = {}, first = 1, last = 0, waiting = 0, answered = 0,
      keys = {}, asked = {} }
    channel.lines = state
  end
  return state
end

-- Sending --------------------------------------------------------------------

--- Node's names of what can be sent; what it has none for stays here.
local function node_type(sent)
  local description = sent.description
  if description.type ~= "luv" then
    if description.type == "stream" or description.type == "fd" then
      error("send: Node knows no handle of this kind (ERR_INVALID_HANDLE_TYPE): "
        .. "give a net or dgram object, or a luv tcp, pipe or udp handle", 0)
    end
    return description.type, description.udp
  end
  if description.kind == "tty" then
    error("send: Node takes no terminals (ERR_INVALID_HANDLE_TYPE)", 0)
  end
  return description.kind == "udp" and "dgram.Native" or "net.Native"
end

--- What the peer counts a connection of a server of ours under; nil.
local function key_of(sent)
  return sent.description.server and KEY:format(sent.description.server)
end

local function envelope(value, sent)
  local name, udp = node_type(sent)
  return json.encode {
    cmd = "NODE_HANDLE", type = name, dgramType = udp, key = key_of(sent),
    msg = value,
  }
end

--- A handle is on its way from now on; nil: none is.
local function set_flying(channel, line)
  channel.lines.flying = line
  awaiting[channel] = line and true
  channel:update_ref_()
end

--- From here on its callback is owed.
local function accept(channel, line)
  if line.done then line.entry, line.done = Callback.new(line.done), nil end
end

--- Queues a line with the core. Bytes queued; nil, errno.
local function post(channel, line)
  local queued, errno = channel.core_end:line(line.text, line.sent and line.sent.fd)
  if not queued then return nil, errno end
  accept(channel, line)
  line.at = channel.core_end:totals()
  if line.sent then
    set_flying(channel, line)
  elseif line.entry then
    channel:when_sent_(line.entry)
  end
  return queued
end

--- Has a line wait behind the handle that is on its way. As `post`.
local function defer(channel, line)
  local state = state_of(channel)
  if state.waiting + #line.text > MOST_DEFERRED then
    return nil, core.errnos.ENOBUFS
  end
  accept(channel, line)
  state.last = state.last + 1
  state.queue[state.last] = line
  state.waiting = state.waiting + #line.text
  return state.last > state.first and DEFERRED or 0
end

--- The next line that waits; nil.
local function undefer(state)
  local line = state.queue[state.first]
  if not line then return nil end
  state.queue[state.first] = nil
  state.first = state.first + 1
  state.waiting = state.waiting - #line.text
  return line
end

--- @see channel_msgpack.send. With a handle, `done` comes with its arrival there.
--- What was read of a socket has no place in Node's protocol: EBUSY.
function wire.send(channel, value, sent, done)
  if sent and sent.description.unread then return nil, core.errnos.EBUSY end
  local line = {
    text = sent and envelope(value, sent) or json.encode(value),
    sent = sent,
    done = done,
    tries = 1,
  }
  if #line.text > channel.max_message then return nil, core.errnos.EMSGSIZE end
  return (state_of(channel).flying and defer or post)(channel, line)
end

local function internal(channel, message)
  return wire.send(channel, message)
end

--- An answer to what the peer asks; a peer that does not read gets none.
local function answer(channel, message)
  if channel:refusal_() then return end
  local queued = internal(channel, message)
  if queued then channel:queued_(queued) end
end

function wire.request(channel, id, value)
  return internal(channel,
    { cmd = "NODE_ORRERY_REQUEST", id = id, message = value })
end

function wire.reply(channel, id, failed, value)
  return internal(channel,
    { cmd = "NODE_ORRERY_REPLY", id = id, failed = failed, message = value })
end

function wire.internal(channel, value)
  return internal(channel, { cmd = "NODE_ORRERY", message = value })
end

--- Acknowledgements wait for nothing, and go also to a peer that reads slowly: it
--- sends nothing more without. One that sends handles all the same gets no second.
local function answer_at_once(channel, text)
  local state, err = state_of(channel), channel:refusal_()
  local accepted, sent = channel.core_end:totals()
  if err and (err.code ~= "ENOBUFS" or state.answered > sent) then return end
  local queued = channel.core_end:line(text)
  if not queued then return end
  state.answered = accepted + #text + 1
  channel:queued_(queued)
end

--- Has the peer tell when the last connection of a server of ours is closed there.
local function ask_for_closed(channel, key)
  local asked = channel.lines.asked
  if not key or asked[key] or channel.leaving or channel.closed then return end
  local queued = internal(channel, { cmd = "NODE_SOCKET_NOTIFY_CLOSE", key = key })
  if not queued then return end
  asked[key] = true
  channel:queued_(queued)
end

--- Up to the next handle.
local function post_deferred(channel, state)
  while not state.flying do
    local line = undefer(state)
    if not line then return end
    local queued, errno = post(channel, line)
    if queued then
      channel:queued_(queued)
    elseif line.entry then
      line.entry:call_(errors.system(errno, "send"))
    end
  end
end

--- The handle has arrived, or never will: what waited goes on.
local function landed(channel, err)
  local state = channel.lines
  local line = state.flying
  set_flying(channel, nil)
  if line.entry then line.entry:call_(err) end
  if not err then ask_for_closed(channel, key_of(line.sent)) end
  post_deferred(channel, state)
  channel:flush()
end

--- The line that an answer is for; nil. An answer to what has not left yet is a
--- lie: the fd that is still to go must stay what it is.
local function answered_line(channel)
  local line = channel.lines and channel.lines.flying
  if not line then return nil end
  local _, sent = channel.core_end:totals()
  if sent >= line.at then return line end
  channel:protocol_error_(core.errnos.EPROTO,
    "an answer to a handle that was not sent yet")
end

local function acknowledged(channel)
  if answered_line(channel) then landed(channel) end
end

local function refused(channel)
  local line = answered_line(channel)
  if not line then return end
  if line.tries == MOST_TRIES then
    return landed(channel, errors.new("EMFILE",
      "send: the other side could not take the handle"))
  end
  line.tries = line.tries + 1
  local queued, errno = post(channel, line)
  if not queued then return landed(channel, errors.system(errno, "send")) end
  channel:queued_(queued)
end

function wire.is_idle(channel)
  return not channel.lines or not channel.lines.flying
end

--- The channel is closed: what waited has failed.
function wire.close(channel, err)
  local state = channel.lines
  if not state then return end
  local line = state.flying or undefer(state)
  set_flying(channel, nil)
  while line do
    if line.entry then line.entry:call_(err) end
    line = undefer(state)
  end
end

-- Exit -----------------------------------------------------------------------

local answers = { NODE_HANDLE_ACK = acknowledged, NODE_HANDLE_NACK = refused }

--- Takes notice of acknowledgements, and of nothing else. Whether more may come.
local function read_answers(channel)
  local kind, text = channel.core_end:next()
  while kind do
    local value = json.decode(text)
    local run = type(value) == "table" and answers[value.cmd]
    if run then run(channel) end
    kind, text = channel.core_end:next()
  end
  return kind == nil
end

--- Sends what waits behind a handle, as far as the peer takes it in time.
local function settle(channel, deadline)
  local fork = channel.core_end
  local sent = fork:flush()
  if not sent then return end -- time has been given to that already
  repeat
    if not read_answers(channel) then return end
    sent = fork:flush()
    if sent == nil or sent and not channel.lines.flying then return end
    core.poll({ fork:fileno() }, {},
      sent and math.max(deadline - clock.now(), 0) or RETRY)
    local n, errno = fork:receive()
    if n == 0 or not n and errno ~= EAGAIN then return end
  until clock.now() >= deadline
end

loop.at_exit(function()
  local deadline = clock.now() + EXIT_WAIT
  local list = {}
  for channel in pairs(awaiting) do list[#list + 1] = channel end
  for _, channel in ipairs(list) do settle(channel, deadline) end
end)

-- Sockets of a server that the peer owns -------------------------------------

--- The number of the server in a key of an Orrery's; nil for Node's.
local function server_of(key)
  local digits = type(key) == "string" and key:match("^orrery:(%d+)$")
  return digits and math.tointeger(tonumber(digits))
end

local function tell_closed(channel, name)
  if server_of(name) then return end
  local keys = state_of(channel).keys
  local key = keys[name]
  if key and key.count > 0 then
    key.asked = true
    return
  end
  keys[name] = nil
  answer(channel, { cmd = "NODE_SOCKET_ALL_CLOSED", key = name })
end

--- The peer's server counts its connections that live here, from their arrival on.
--- An Orrery hears of each that is closed, Node of the last.
--- @return function? closed to be called when this one is
local function count_arrival(channel, name)
  if type(name) ~= "string" then return nil end
  local server = server_of(name)
  if server then return function() given_away.report(channel, server) end end
  local keys = state_of(channel).keys
  local key = keys[name] or { count = 0 }
  keys[name] = key
  key.count = key.count + 1
  return function()
    key.count = key.count - 1
    if key.count > 0 then return end
    if key.asked then tell_closed(channel, name) else keys[name] = nil end
  end
end

--- All that have arrived there are closed. Arrivals are told of in ticks, so that
--- this is one as well.
local function all_closed(channel, key)
  local server = server_of(key)
  if not server then return end
  state_of(channel).asked[key] = nil
  loop.soon(function()
    local counts = channel.sent_connections or {}
    for _ = 1, counts[server] or 0 do given_away.closed(channel, server) end
  end)
end

local function tell_count(channel, name)
  local key = state_of(channel).keys[name]
  answer(channel,
    { cmd = "NODE_SOCKET_COUNT", key = name, count = key and key.count or 0 })
end

-- Receiving ------------------------------------------------------------------

local function describe(message, fd)
  local name = message.type
  if fd and (name == "net.Native" or name == "dgram.Native") then
    return { type = "luv", kind = uv.guess_handle(fd:fileno()) }
  end
  return { type = name, udp = message.dgramType }
end

--- Whether it is between the engines, and no user's.
local function is_internal(value)
  local cmd = type(value) == "table" and value.cmd
  return type(cmd) == "string" and #cmd > 5 and cmd:sub(1, 5) == "NODE_"
end

--- What makes the handle of a message, when that is delivered, or lets go of it.
local function opener(channel, message, fd)
  local closed = message.type == "net.Socket" and count_arrival(channel, message.key)
  return function(drop)
    if drop and fd then
      fd:close()
      fd = false
    end
    local object, err = attachments.receive(describe(message, fd), fd)
    if closed and object then
      object.count_off_ = closed
    elseif closed then
      closed()
    end
    return object, err
  end
end

--- A message with a handle. A sender that retries may have wrapped it twice.
local function receive_handle(channel, message)
  local fd = channel.core_end:take_fd()
  if not fd and message.type == "net.Socket" then
    return answer_at_once(channel, NACK) -- it is sent again
  end
  answer_at_once(channel, ACK)
  local inner = message.msg
  if type(inner) == "table" and inner.cmd == "NODE_HANDLE" then
    message, inner = inner, inner.msg
  end
  if is_internal(inner) then
    if fd then fd:close() end
    return given_away.hear(channel, inner)
  end
  if inner == nil then inner = core.null end
  return true, inner, opener(channel, message, fd)
end

local commands = {
  NODE_HANDLE = receive_handle,
  NODE_HANDLE_ACK = acknowledged,
  NODE_HANDLE_NACK = refused,
  NODE_SOCKET_ALL_CLOSED = function(channel, message)
    all_closed(channel, message.key)
  end,
  NODE_SOCKET_NOTIFY_CLOSE = function(channel, message)
    if type(message.key) == "string" then tell_closed(channel, message.key) end
  end,
  NODE_SOCKET_GET_COUNT = function(channel, message)
    if type(message.key) == "string" then tell_count(channel, message.key) end
  end,
  NODE_ORRERY_REQUEST = function(channel, message)
    channel:serve_(math.tointeger(message.id) or 0, message.message)
  end,
  NODE_ORRERY_REPLY = function(channel, message)
    channel:answer_(message.id, message.failed == true, message.message)
  end,
  NODE_ORRERY = function(channel, message) given_away.hear(channel, message.message) end,
}

--- Handles a line; see channel_msgpack.receive.
function wire.receive(channel, _, text)
  local value, problem = json.decode(text)
  if value == nil then
    return channel:protocol_error_(core.errnos.EPROTO, problem)
  end
  if not is_internal(value) then return true, value end
  local run = commands[value.cmd]
  if run then return run(channel, value) end
  given_away.hear(channel, value)
end

return wire
