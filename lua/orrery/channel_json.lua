--- How channels speak with Node, Bun and Deno: lines of JSON, and Node's protocol
--- for handles, of which one is in flight at a time: what follows it waits for the
--- acknowledgement. Verified against Node 20; docs/channel.md tells more.

local core = require "orrery.core"
local errors = require "orrery.errors"
local handles = require "orrery.handles"
local json = require "orrery.json"

local DEFERRED = 128 * 1024 -- what a message behind a handle counts as queued
local MOST_TRIES = 4 -- of a handle that does not arrive

local ACK = '{"cmd":"NODE_HANDLE_ACK"}'
local NACK = '{"cmd":"NODE_HANDLE_NACK"}'

local wire = { framing = "lines" }

--- The state that this wire keeps of a channel: what waits for what.
--- @class Lines
--- @field flying table? the line whose handle is on its way: {text, sent, entry}
--- @field queue table[] lines behind it
--- @field keys table<string, table> sockets here of a server of the peer's
local function state_of(channel)
  local state = channel.lines
  if not state then
    state = { queue = {}, keys = {} }
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

local function envelope(value, sent)
  local name, udp = node_type(sent)
  return json.encode {
    cmd = "NODE_HANDLE", type = name, dgramType = udp, msg = value,
  }
end

--- Queues a line with the core.
local function post(channel, line)
  local state = state_of(channel)
  local queued, errno = channel.fork:line(line.text, line.sent and line.sent.fd)
  if not queued then return nil, errno end
  if line.sent then
    state.flying = line
  elseif line.entry then
    channel:when_sent(line.entry)
  end
  return queued
end

--- @see channel_msgpack.send. With a handle, `done` comes with its arrival there.
function wire.send(channel, value, sent, done)
  local state = state_of(channel)
  local line = {
    text = sent and envelope(value, sent) or json.encode(value),
    sent = sent,
    tries = 1,
  }
  if #line.text > channel.max_message then return nil, core.errnos.EMSGSIZE end
  line.entry = done and channel:expect(done)
  if state.flying then
    state.queue[#state.queue + 1] = line
    return #state.queue > 1 and DEFERRED or 0
  end
  return post(channel, line)
end

local function internal(channel, message)
  return wire.send(channel, message)
end

--- An answer to what the peer asks; a peer that does not read gets none.
local function answer(channel, message)
  if channel:refusal() then return end
  local queued = internal(channel, message)
  if queued then channel:queued(queued) end
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

--- Acknowledgements wait for nothing.
local function answer_at_once(channel, text)
  if channel:refusal() then return end
  local queued = channel.fork:line(text)
  if queued then channel:queued(queued) end
end

--- The handle has arrived, or never will: what waited goes on.
local function landed(channel, err)
  local state = channel.lines
  local line = state.flying
  state.flying = nil
  if line.entry then channel.call_back(line.entry, err) end
  while state.queue[1] and not state.flying do
    local queued = post(channel, table.remove(state.queue, 1))
    if queued then channel:queued(queued) end
  end
  channel:flush()
end

local function acknowledged(channel)
  if channel.lines and channel.lines.flying then landed(channel) end
end

local function refused(channel)
  local line = channel.lines and channel.lines.flying
  if not line then return end
  if line.tries == MOST_TRIES then
    return landed(channel, errors.new("EMFILE",
      "send: the other side could not take the handle"))
  end
  line.tries = line.tries + 1
  local queued = post(channel, line)
  if queued then channel:queued(queued) end
end

function wire.is_idle(channel)
  return not channel.lines or not channel.lines.flying
end

--- The channel is closed: what waited has failed.
function wire.close(channel, err)
  local state = channel.lines
  if not state then return end
  local waiting = { state.flying, table.unpack(state.queue) }
  state.flying, state.queue = nil, {}
  for _, line in pairs(waiting) do
    if line.entry then channel.call_back(line.entry, err) end
  end
end

-- Sockets of a server that the peer owns -------------------------------------

local function tell_closed(channel, name)
  local keys = state_of(channel).keys
  local key = keys[name]
  if key and key.count > 0 then
    key.asked = true
    return
  end
  keys[name] = nil
  answer(channel, { cmd = "NODE_SOCKET_ALL_CLOSED", key = name })
end

--- The peer's server counts its connections that live here.
local function count_socket(channel, name, socket)
  if type(name) ~= "string" then return end
  local keys = state_of(channel).keys
  local key = keys[name] or { count = 0 }
  keys[name] = key
  key.count = key.count + 1
  socket:once("close", function()
    key.count = key.count - 1
    if key.count > 0 then return end
    if key.asked then tell_closed(channel, name) else keys[name] = nil end
  end)
end

local function tell_count(channel, name)
  local key = state_of(channel).keys[name]
  answer(channel,
    { cmd = "NODE_SOCKET_COUNT", key = name, count = key and key.count or 0 })
end

-- Receiving ------------------------------------------------------------------

local function describe(message)
  local name, native = message.type, nil
  if name == "net.Native" then native = "tcp" end
  if name == "dgram.Native" then native = "udp" end
  if native then return { type = "luv", kind = native } end
  return { type = name, udp = message.dgramType }
end

--- A message with a handle. A sender that retries may have wrapped it twice.
local function receive_handle(channel, message)
  local fd = channel.fork:take_fd()
  if not fd and message.type == "net.Socket" then
    return answer_at_once(channel, NACK) -- it is sent again
  end
  answer_at_once(channel, ACK)
  local inner = message.msg
  if type(inner) == "table" and inner.cmd == "NODE_HANDLE" then
    message, inner = inner, inner.msg
  end
  local object, err = handles.receive(describe(message), fd)
  if object and message.type == "net.Socket" then
    count_socket(channel, message.key, object)
  end
  channel:deliver(inner, object, err)
end

local commands = {
  NODE_HANDLE = receive_handle,
  NODE_HANDLE_ACK = acknowledged,
  NODE_HANDLE_NACK = refused,
  NODE_SOCKET_NOTIFY_CLOSE = function(channel, message)
    if type(message.key) == "string" then tell_closed(channel, message.key) end
  end,
  NODE_SOCKET_GET_COUNT = function(channel, message)
    if type(message.key) == "string" then tell_count(channel, message.key) end
  end,
  NODE_ORRERY_REQUEST = function(channel, message)
    channel:serve(math.tointeger(message.id) or 0, message.message)
  end,
  NODE_ORRERY_REPLY = function(channel, message)
    channel:answer(message.id, message.failed == true, message.message)
  end,
  NODE_ORRERY = function(channel, message) channel:internal(message.message) end,
}

--- Handles a line.
function wire.receive(channel, _, text)
  local value, problem = json.decode(text)
  if value == nil then
    return channel:protocol_error(core.errnos.EPROTO, problem)
  end
  local cmd = type(value) == "table" and value.cmd
  if type(cmd) == "string" and #cmd > 5 and cmd:sub(1, 5) == "NODE_" then
    local run = commands[cmd]
    if run then return run(channel, value) end
    return channel:internal(value)
  end
  channel:deliver(value)
end

return wire
