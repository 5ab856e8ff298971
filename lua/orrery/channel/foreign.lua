--- A channel that speaks a format which is not known here: a Node parent asks
--- for V8's by serialization "advanced", and JSON needs libjansson. This
--- process runs all the same; only what uses the channel raises.
---
--- What the parent sends is read and dropped, so that the parent does not hang
--- on it, and so that its end is noticed: `disconnect` comes as on any channel.

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local poller = require "orrery.runtime.poller"

local READS = 8 -- in a row, before others have their turn
local EAGAIN = core.errnos.EAGAIN

--- @class Foreign
--- @field owner_ Emitter
--- @field fd_ userdata orrery.fd
--- @field problem_ string why it is of no use, and the way out
--- @field watcher_ Watched of the fd
--- @field closed boolean
local Foreign = class "orrery.Foreign"

--- Raises at the user's line.
--- @param where string the function's name
function Foreign:refuse_(where)
  options.raise("%s: %s", where, self.problem_)
end

--- Returns what it is called among what keeps the loop alive.
--- @return string
function Foreign.name_() return "channel to the parent" end

--- Closes the channel; `disconnect` follows. Does nothing the second time.
function Foreign:leave_()
  if self.closed then return end
  self.closed, self.owner_.connected = true, false
  self.watcher_:close()
  self.fd_:close()
  loop.soon(self.owner_.emit, self.owner_, "disconnect")
end

--- Drops what has come; called by the poller.
local function on_ready(self)
  for _ = 1, READS do
    local data, errno = self.fd_:read()
    if data == "" or not data and errno ~= EAGAIN then return self:leave_() end
    if not data then return end
  end
end

--- Takes note of how many listeners there are now. Those of `message` would
--- wait for ever: they are removed, and this raises.
--- @param messages integer
--- @param disconnects integer which keep the loop alive
function Foreign:listeners_changed_(messages, disconnects)
  if not self.closed then self.watcher_:set_ref(disconnects > 0) end
  if messages == 0 then return end
  self.owner_:remove_all("message")
  self:refuse_ "message"
end

local foreign = {}

--- Opens such a channel for an owner, which gets `foreign_` and `connected`.
--- @param owner Emitter
--- @param fd userdata orrery.fd, owned
--- @param problem string why it is of no use, and the way out
--- @return Foreign? foreign
--- @return Error? err (EMFILE, ENFILE, ENOMEM, ENOSPC)
function foreign.open(owner, fd, problem)
  fd:set_nonblocking(true)
  local self = setmetatable(
    { owner_ = owner, fd_ = fd, problem_ = problem, closed = false }, Foreign)
  local err
  self.watcher_, err = poller.watch(fd:fileno(), on_ready, self)
  if not self.watcher_ then
    fd:close()
    return nil, err
  end
  owner.foreign_, owner.connected = self, true
  return self
end

return foreign
