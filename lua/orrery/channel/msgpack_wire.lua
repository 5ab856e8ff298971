--- How channels speak between two of us: the core's frames of MessagePack. Any
--- number of handles is on its way at once. docs/channel.md has the format.

local attachments = require "orrery.channel.attachments"
local core = require "orrery.core"

local MESSAGE, REQUEST = core.frame.message, core.frame.request
local REPLY, INTERNAL = core.frame.reply, core.frame.internal
local FAILED = core.frame_flag.failed

local wire = { framing = "frames" }

--- Queues a message; `done` is called when it is sent, or never will be. Bytes
--- queued; nil, errno; raises, without a line, where it cannot be sent.
function wire.send(channel, value, sent, done)
  local queued, errno = channel.fork:post(MESSAGE, 0, value, nil,
    sent and sent.description, sent and sent.fd)
  if queued and done then channel:when_sent(channel:expect(done)) end
  return queued, errno
end

function wire.request(channel, id, value)
  return channel.fork:post(REQUEST, 0, value, id)
end

function wire.reply(channel, id, failed, value)
  return channel.fork:post(REPLY, failed and FAILED or 0, value, id)
end

function wire.internal(channel, value)
  return channel.fork:post(INTERNAL, 0, value)
end

--- What makes the handle of a message, when that is delivered, or lets go of it.
--- The end of a connection is told to who counts it.
local function opener(channel, description, fd)
  return function(drop)
    if drop and fd then
      fd:close()
      fd = false
    end
    local object, err = attachments.receive(description, fd)
    local server = math.type(description.server) == "integer" and description.server
    if server and not object then
      channel:report_closed(server)
    elseif server and description.type == "net.Socket" then
      object.count_off_ = function() channel:report_closed(server) end
    end
    return object, err
  end
end

--- Handles a frame that is no plain message. True, the message and what opens its
--- handle where one is to be delivered. Runs no code of users; what it raises is
--- the peer's fault.
function wire.receive(channel, kind, value, id, flags, description, fd)
  if kind == MESSAGE then
    return true, value, opener(channel, description, fd)
  end
  if fd then fd:close() end -- it is of no use to the others
  if kind == REQUEST then
    channel:serve(id, value)
  elseif kind == REPLY then
    channel:answer(id, flags & FAILED ~= 0, value)
  elseif kind == INTERNAL then
    channel:internal(value)
  end
end

--- Nothing waits here.
function wire.is_idle() return true end
function wire.close() end

return wire
