--- How channels speak with Node and Bun: lines of JSON, and Node's protocol for
--- handles, of which one is in flight at a time: what follows it waits for its
--- acknowledgement. Verified against Node 20; docs/channel.md tells more.

local uv = require "orrery.runtime.luv"
local attachments = require "orrery.channel.attachments"
local Callback = require "orrery.channel.callback"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local given_away = require "orrery.channel.given_away"
local words = require "orrery.channel.words"
local json = require "orrery.json"
local loop = require "orrery.runtime.loop"

local DEFERRED = 128 * 1024 -- what a message behind a handle counts as queued
local MOST_DEFERRED = 64 * 1024 * 1024 -- bytes behind a handle: send refuses
local MOST_TRIES = 4 -- of a handle that does not arrive
local EXIT_WAIT, RETRY = 2000, 5 -- ms

local ACK = '{"cmd":"NODE_HANDLE_ACK"}'
local NACK = '{"cmd":"NODE_HANDLE_NACK"}'
local KEY = "orrery:%d" -- of a server of ours, to count its connections

local EAGAIN = core.errnos.EAGAIN

--- The functions are described in msgpack_wire.lua.
--- @type Wire
local wire = { framing = "lines" }

local awaiting = {} -- channels with a handle on its way

--- @class Line
--- @field text string
--- @field attachment Attachment?
--- @field done function? to be called when it has arrived; until it is accepted
--- @field callback Callback? the same from then on
--- @field at integer bytes of the channel, ever, of which it is the last
--- @field tries integer

--- What this wire keeps of a channel, in its field `lines`.
--- @class Lines
--- @field flying Line? the line whose handle is on its way
--- @field queue table<integer, Line> behind it, from `first` to `last`
--- @field waiting integer bytes of them
--- @field answered integer bytes of the channel up to the last answer of ours
--- @field asked table<string, boolean> keys of ours whose last close is
---   reported

--- @return Lines
local function state_of(channel)
  local state = channel.lines
  if not state then
    state = { queue = {}, first = 1, last = 0, waiting = 0, answered = 0,
      asked = {} }
    channel.lines = state
  end
  return state
end

-- Sending --------------------------------------------------------------------

--- Returns Node's name, and type of datagrams, of an attachment. Raises if Node
--- has none.
local function node_type(attachment)
  local description = attachment.description
  if description.type ~= "luv" then
    if description.type == "stream" or description.type == "fd"
      or description.udp == "unix" then
      error("send: Node knows no handle of this kind "
        .. "(ERR_INVALID_HANDLE_TYPE): give a net or dgram object, or a luv "
        .. "tcp, pipe or udp handle", 0)
    end
    return description.type, description.udp
  end
  if description.kind == "tty" then
    error("send: Node takes no terminals (ERR_INVALID_HANDLE_TYPE)", 0)
  end
  return description.kind == "udp" and "dgram.Native" or "net.Native"
end

--- Returns the key under which the peer counts a connection of a server of
--- ours, or nil.
local function key_of(attachment)
  local server = attachment.description.server
  return server and KEY:format(server)
end

--- Returns the line of a message that has a handle.
local function envelope(value, attachment)
  local name, udp = node_type(attachment)
  return json.encode {
    cmd = "NODE_HANDLE", type = name, dgramType = udp, key = key_of(attachment),
    msg = value,
  }
end

--- Notes the line whose handle is on its way from now on, or nil.
local function set_flying(channel, line)
  channel.lines.flying = line
  awaiting[channel] = line and true
  channel:update_ref_()
end

--- Accepts a line: from here on its callback is owed.
local function accept(line)
  if line.done then
    line.callback, line.done = Callback.new(line.done), nil
  end
end

--- Queues a line with the core.
--- @return integer? queued bytes that wait; nil, errno
--- @return integer? errno
local function post(channel, line)
  local attachment = line.attachment
  local queued, errno =
    channel.core_end_:line(line.text, attachment and attachment.fd)
  if not queued then return nil, errno end
  accept(line)
  line.at = channel.core_end_:totals()
  if attachment then
    set_flying(channel, line)
  elseif line.callback then
    channel:when_sent_(line.callback)
  end
  return queued
end

--- Puts a line behind the handle that is on its way. Returns as `post` does.
local function defer(channel, line)
  local state = state_of(channel)
  if state.waiting + #line.text > MOST_DEFERRED then
    return nil, core.errnos.ENOBUFS
  end
  accept(line)
  state.last = state.last + 1
  state.queue[state.last] = line
  state.waiting = state.waiting + #line.text
  return state.last > state.first and DEFERRED or 0
end

--- Takes the next line that waits; nil if none does.
--- @return Line?
local function undefer(state)
  local line = state.queue[state.first]
  if not line then return nil end
  state.queue[state.first] = nil
  state.first = state.first + 1
  state.waiting = state.waiting - #line.text
  return line
end

--- With a handle, `done` comes with its arrival there. What was read of a
--- socket has no place in Node's protocol: EBUSY.
function wire.send(channel, value, attachment, done)
  if attachment and attachment.description.unread then
    return nil, core.errnos.EBUSY
  end
  local line = {
    text = attachment and envelope(value, attachment) or json.encode(value),
    attachment = attachment,
    done = done,
    tries = 1,
  }
  if #line.text > channel.max_message_ then return nil, core.errnos.EMSGSIZE end
  return (state_of(channel).flying and defer or post)(channel, line)
end

local function internal(channel, message, done)
  return wire.send(channel, message, nil, done)
end

--- Sends an answer to what the peer asks. A peer that does not read gets none.
local function answer(channel, message)
  if channel:refusal_() then return end
  local queued = internal(channel, message)
  if queued then channel:queued_(queued) end
end

function wire.request(channel, id, value, done)
  return internal(channel,
    { cmd = "NODE_ORRERY_REQUEST", id = id, message = value }, done)
end

function wire.reply(channel, id, failed, value)
  return internal(channel,
    { cmd = "NODE_ORRERY_REPLY", id = id, failed = failed, message = value })
end

function wire.internal(channel, value)
  return internal(channel, { cmd = "NODE_ORRERY", message = value })
end

--- Sends an acknowledgement. It waits for nothing, and goes also to a peer that
--- reads slowly, which sends nothing more without. One that sends handles all
--- the same gets no second.
local function answer_at_once(channel, text)
  local state, err = state_of(channel), channel:refusal_()
  local accepted, sent = channel.core_end_:totals()
  if err and (err.code ~= "ENOBUFS" or state.answered > sent) then return end
  local queued = channel.core_end_:line(text)
  if not queued then return end
  state.answered = accepted + #text + 1
  channel:queued_(queued)
end

--- Asks the peer to tell when the last connection of a server of ours is closed
--- there, unless that is asked already.
local function ask_for_closed(channel, key)
  local asked = channel.lines.asked
  if not key or asked[key] then return end
  if channel.closed or channel.sending_ ~= "open" then return end
  local queued =
    internal(channel, { cmd = "NODE_SOCKET_NOTIFY_CLOSE", key = key })
  if not queued then return end
  asked[key] = true
  channel:queued_(queued)
end

--- Queues what waited behind a handle, up to the next handle.
local function post_deferred(channel, state)
  while not state.flying do
    local line = undefer(state)
    if not line then return end
    local queued, errno = post(channel, line)
    if queued then
      channel:queued_(queued)
    elseif line.callback then
      line.callback:call_(errors.system(errno, "send"))
    end
  end
end

--- Goes on behind a handle that has arrived, or never will.
--- @param err Error?
local function landed(channel, err)
  local state = channel.lines
  local line = state.flying
  set_flying(channel, nil)
  if line.callback then line.callback:call_(err) end
  if not err then ask_for_closed(channel, key_of(line.attachment)) end
  post_deferred(channel, state)
  channel:flush()
end

--- Tells whether the kernel has all of a line that was queued with the core.
local function has_left(channel, line)
  local _, sent = channel.core_end_:totals()
  return sent >= line.at
end

--- Returns the line that an answer is for, or nil. An answer to what has not
--- left yet is a lie: the fd that is still to go must stay what it is.
--- @return Line?
local function answered_line(channel)
  local line = channel.lines and channel.lines.flying
  if not line then return nil end
  if has_left(channel, line) then return line end
  channel:protocol_error_(core.errnos.EPROTO,
    "an answer to a handle that was not sent yet")
end

local function acknowledged(channel)
  if answered_line(channel) then landed(channel) end
end

--- Sends a handle again that has not arrived.
local function refused(channel)
  local line = answered_line(channel)
  if not line then return end
  if line.tries == MOST_TRIES then
    return landed(channel, errors.new("EMFILE",
      "send: the other side could not take the handle"))
  end
  line.tries = line.tries + 1
  local queued, errno
  if channel.sending_ == "broken" then
    errno = core.errnos.EPIPE
  else
    queued, errno = post(channel, line)
  end
  if not queued then return landed(channel, errors.system(errno, "send")) end
  channel:queued_(queued)
end

function wire.is_idle(channel)
  return not channel.lines or not channel.lines.flying
end

--- Fails a line, if there is one, and all that wait behind a handle.
local function fail_lines(state, line, err)
  while line do
    if line.callback then line.callback:call_(err) end
    line = undefer(state)
  end
end

function wire.close(channel, err)
  local state = channel.lines
  if not state then return end
  local line = state.flying or undefer(state)
  set_flying(channel, nil)
  fail_lines(state, line, err)
end

--- A handle that has left may still be acknowledged: its socket is the peer's
--- then, and must not be ours again.
function wire.broken(channel, err)
  local state = channel.lines
  local flying = state and state.flying
  if not flying or not has_left(channel, flying) then
    return wire.close(channel, err)
  end
  fail_lines(state, undefer(state), err)
end

-- Exit -----------------------------------------------------------------------

local answers = { NODE_HANDLE_ACK = acknowledged, NODE_HANDLE_NACK = refused }

--- Takes the acknowledgements of what has been read, and nothing else.
--- @return boolean go_on false if the peer breaks the rules
local function read_answers(channel)
  local kind, text = channel.core_end_:next()
  while kind do
    local value = json.decode(text)
    local run = type(value) == "table" and answers[value.cmd]
    if run then run(channel) end
    kind, text = channel.core_end_:next()
  end
  return kind == nil
end

--- Sends what waits behind a handle, as far as the peer takes it in time.
local function settle(channel, deadline)
  local core_end = channel.core_end_
  local sent = core_end:flush()
  if not sent then return end -- time has been given to that already
  repeat
    if not read_answers(channel) then return end
    sent = core_end:flush()
    if sent == nil or sent and not channel.lines.flying then return end
    core.poll({ core_end:fileno() }, {},
      sent and math.max(deadline - clock.now(), 0) or RETRY)
    local n, errno = core_end:receive()
    if n == 0 or not n and errno ~= EAGAIN then return end
  until clock.now() >= deadline
end

loop.at_exit(function()
  local deadline = clock.now() + EXIT_WAIT
  local list = {}
  for channel in pairs(awaiting) do list[#list + 1] = channel end
  for _, channel in ipairs(list) do settle(channel, deadline) end
end)

-- Connections that are counted in the other process --------------------------

--- Returns the number of the server in a key of an Orrery's; nil for Node's.
--- @return integer?
local function server_of(key)
  local digits = type(key) == "string" and key:match("^orrery:(%d+)$")
  return digits and math.tointeger(tonumber(digits))
end

--- Counts a connection of the peer's server, from its arrival on: an Orrery
--- hears of each that is closed, Node of the last.
--- @return function? on_closed
local function count_arrival(channel, key)
  if type(key) ~= "string" then return nil end
  local server = server_of(key)
  if server then return given_away.reporter(channel, server) end
  return given_away.arrived(channel, key)
end

--- Counts off all connections of a server of ours that have arrived there.
--- Arrivals are told of in ticks, so that this is one as well.
local function all_closed(channel, message)
  local server = server_of(message.key)
  if not server then return end
  state_of(channel).asked[message.key] = nil
  loop.soon(given_away.all_closed, channel, server)
end

--- Tells the peer when none of its connections is open here any more.
local function tell_closed(channel, message)
  local key = message.key
  if type(key) ~= "string" or server_of(key) then return end
  given_away.when_none(channel, key, function()
    answer(channel, { cmd = "NODE_SOCKET_ALL_CLOSED", key = key })
  end)
end

--- Tells the peer how many of its connections are open here.
local function tell_count(channel, message)
  local key = message.key
  if type(key) ~= "string" then return end
  answer(channel, { cmd = "NODE_SOCKET_COUNT", key = key,
    count = given_away.count(channel, key) })
end

-- Receiving ------------------------------------------------------------------

--- Returns the description of a handle that has come, as attachments know it.
local function describe(message, fd)
  local name = message.type
  if fd and (name == "net.Native" or name == "dgram.Native") then
    return { type = "luv", kind = uv.guess_handle(fd:fileno()) }
  end
  return { type = name, udp = message.dgramType }
end

--- Tells whether a message is between the two libraries, and no user's.
--- @return boolean
local function is_internal(value)
  local cmd = type(value) == "table" and value.cmd
  return type(cmd) == "string" and #cmd > 5 and cmd:sub(1, 5) == "NODE_"
end

--- Takes a message with a handle. A sender that retries may have wrapped it
--- twice.
local function receive_handle(channel, message)
  local fd = channel.core_end_:take_fd()
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
  local on_closed = message.type == "net.Socket"
    and count_arrival(channel, message.key) or nil
  return true, inner,
    attachments.opener(describe(message, fd), fd, on_closed)
end

local commands = {
  NODE_HANDLE = receive_handle,
  NODE_HANDLE_ACK = acknowledged,
  NODE_HANDLE_NACK = refused,
  NODE_SOCKET_ALL_CLOSED = all_closed,
  NODE_SOCKET_NOTIFY_CLOSE = tell_closed,
  NODE_SOCKET_GET_COUNT = tell_count,
  NODE_ORRERY_REQUEST = function(channel, message)
    channel:serve_(math.tointeger(message.id) or 0, message.message)
  end,
  NODE_ORRERY_REPLY = function(channel, message)
    channel:answer_(message.id, message.failed == true, message.message)
  end,
  NODE_ORRERY = function(channel, message)
    words.hear(channel, message.message)
  end,
}

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
