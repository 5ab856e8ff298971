--- How channels speak between two of us: the core's frames of MessagePack. Any
--- number of handles is on its way at once. docs/channel.md has the format.

local attachments = require "orrery.channel.attachments"
local Callback = require "orrery.channel.callback"
local given_away = require "orrery.channel.given_away"
local core = require "orrery.core"
local words = require "orrery.channel.words"

local MESSAGE, REQUEST = core.frame.message, core.frame.request
local REPLY, INTERNAL = core.frame.reply, core.frame.internal
local FAILED = core.frame_flag.failed

--- A wire says how values and handles become bytes, and bytes messages. What
--- queues something returns how many bytes wait by then, for `channel:queued_`,
--- or nil, errno; it raises, without a line, if the value cannot be sent.
--- @class Wire
--- @field framing "frames"|"lines" of the core's end
--- @field send fun(channel, value, attachment: Attachment?, done: function?)
---   `done` is called when the message is sent, or never will be
--- @field request fun(channel, id: integer, value, done: function) `done` as
---   send's
--- @field reply fun(channel, id: integer, failed: boolean, value)
--- @field internal fun(channel, value) a word between the two libraries
--- @field receive fun(channel, kind: integer, value, …) handles what
---   `core_end:next` gave, but for plain messages of frames: returns true, the
---   message and what opens its handle (see attachments.opener) if one is to be
---   delivered. Runs no code of users; what it raises is the peer's fault
--- @field is_idle fun(channel): boolean nothing waits here for an answer
--- @field broken fun(channel, err: Error) fails what waits here and cannot be
---   sent any more
--- @field close fun(channel, err: Error) fails all that waits here
local wire = { framing = "frames" }

function wire.send(channel, value, attachment, done)
  local queued, errno = channel.core_end_:post(MESSAGE, 0, value, nil,
    attachment and attachment.description, attachment and attachment.fd)
  if queued and done then channel:when_sent_(Callback.new(done)) end
  return queued, errno
end

function wire.request(channel, id, value, done)
  local queued, errno = channel.core_end_:post(REQUEST, 0, value, id)
  if queued then channel:when_sent_(Callback.new(done)) end
  return queued, errno
end

function wire.reply(channel, id, failed, value)
  return channel.core_end_:post(REPLY, failed and FAILED or 0, value, id)
end

function wire.internal(channel, value)
  return channel.core_end_:post(INTERNAL, 0, value)
end

function wire.receive(channel, kind, value, id, flags, description, fd)
  if kind == MESSAGE then
    return true, value, attachments.opener(description, fd,
      given_away.reporter(channel, description.server))
  end
  if fd then fd:close() end -- it is of no use to the others
  if kind == REQUEST then
    channel:serve_(id, value)
  elseif kind == REPLY then
    channel:answer_(id, flags & FAILED ~= 0, value)
  elseif kind == INTERNAL then
    words.hear(channel, value)
  end
end

function wire.is_idle() return true end
function wire.broken() end
function wire.close() end

return wire
