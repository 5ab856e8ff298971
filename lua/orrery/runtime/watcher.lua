--- One fd that luv polls by a handle of its own, for the few that must wake the
--- loop by themselves: a listening socket, the reaper's fd, the poller's set.
--- Of channels and pipes there may be thousands: see `runtime/poller.lua`.

local uv = require "orrery.runtime.luv"
local class = require "orrery.runtime.class"
local loop = require "orrery.runtime.loop"

--- @class Watcher an fd that luv polls; it does not own the fd
--- @field poll userdata luv's handle
--- @field events string "r", "w" or "rw"
--- @field fn function
local Watcher = class "orrery.Watcher"

--- Calls fn(err, events) whenever `fd` is ready. Keeps the loop alive.
--- @param fd integer
--- @param events string as luv's poll: "r", "w", "rw"
--- @param fn function
--- @param names fun(): string[] what the watcher stands for, by name
--- @return Watcher? watcher
--- @return string? code an errno's name (EEXIST, EPERM)
function Watcher.new(fd, events, fn, names)
  local poll, _, code = uv.new_poll(fd)
  if not poll then return nil, code end
  loop.naming[poll] = names
  local self = setmetatable({ poll = poll, events = events,
    fn = loop.guard(fn) }, Watcher)
  self:start()
  return self
end

--- Goes on watching after `stop`.
function Watcher:start() self.poll:start(self.events, self.fn) end

--- Stops watching for now.
function Watcher:stop() self.poll:stop() end

--- Stops watching for good; to be called before the fd is closed. Does nothing
--- the second time.
function Watcher:close()
  if self.poll:is_closing() then return end
  self.poll:stop()
  loop.close(self.poll)
end

--- Lets it keep the loop alive.
function Watcher:ref() self.poll:ref() end

--- Lets the loop end although it watches.
function Watcher:unref() self.poll:unref() end

return Watcher
