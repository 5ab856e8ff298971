--- What servers and datagram sockets have in common, and partly sockets: each
--- opens once or fails to, can be waited for, has a luv handle, may be pinned.

local uv = require "luv"
local address = require "orrery.net.address"
local core = require "orrery.core"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local scheduler = require "orrery.runtime.scheduler"

local opening = {}

-- Waiting --------------------------------------------------------------------

local function may_wait(what)
  return scheduler.current() and not scheduler.forbidden(what)
end

--- Opens `self`: begin(self) sees to it that `opened` or `refused` is called
--- later. In a task without callback this waits, and abandon(self) is what
--- becomes of it where the wait is broken off.
--- @param cb fun(self)? called once it is open
--- @return table? self nil, err
--- @return Error? err
function opening.open(self, what, cb, begin, abandon)
  if cb or not may_wait(what) then
    self.on_open_ = cb
    begin(self)
    return self
  end
  return scheduler.wait(function(wake)
    self.wake_ = wake
    begin(self)
    return function() abandon(self) end
  end, nil, what)
end

local function settle(self)
  local cb, wake = self.on_open_, self.wake_
  self.on_open_, self.wake_ = nil, nil
  return cb, wake
end

--- It is open: emits `event`, then tells who opened it.
function opening.opened(self, event)
  local cb, wake = settle(self)
  if cb then loop.soon(cb, self) end
  if wake then wake(self) end
  self:emit(event)
end

--- It could not be opened. Whether somebody waited, who has the error now;
--- otherwise it is an `error` event.
--- @return boolean taken
function opening.refused(self, err)
  local _, wake = settle(self)
  if wake then wake(nil, err) end
  return wake ~= nil
end

--- Calls ask(reply); reply(err, value), which comes later, goes to the callback,
--- or to the task that waits: as value (true where there is none) or nil, err.
--- @param cb fun(err: Error?, value: any)?
--- @return any value what the waiter gets; `self` where nobody waits
--- @return Error? err
function opening.ask(self, what, cb, ask)
  if cb or not may_wait(what) then
    ask(cb or function() end)
    return self
  end
  return scheduler.wait(function(wake)
    ask(function(err, value)
      if err then wake(nil, err) else wake(value or true) end
    end)
  end, nil, what)
end

-- Handles --------------------------------------------------------------------

--- The luv handle that owns a socket's fd from now on; nil, code, and the fd is
--- the caller's still.
--- @param fd userdata orrery.fd
function opening.handle_from(fd)
  local number = fd:fileno()
  if not number then return nil, "EBADF" end
  local kind, errno = core.socket_kind(number)
  if not kind then return nil, core.errnos[errno] end
  local handle, code = loop.open(kind == "tcp" and uv.new_tcp() or uv.new_pipe(false),
    fd)
  return handle, handle and kind or code
end

--- @class Endpoint : Emitter what has a luv handle as long as it is open
--- @field handle userdata?
--- @field active userdata|Watcher|nil what holds the loop: the handle, or a watcher
local Endpoint = { referenced_ = true }
events.extend(Endpoint)
opening.Endpoint = Endpoint

--- Takes a luv handle in, and what watches its fd, where that is not the handle.
--- @param watcher Watcher?
function Endpoint:hold_(handle, watcher)
  self.handle_, self.active_ = handle, watcher or handle
  if not self.referenced_ then self.active_:unref() end
end

--- Keeps the loop alive while it is open (the default).
--- @return Endpoint self
function Endpoint:ref()
  self.referenced_ = true
  if self.active_ then self.active_:ref() end
  return self
end

--- @return Endpoint self
function Endpoint:unref()
  self.referenced_ = false
  if self.active_ then self.active_:unref() end
  return self
end

--- The fd; nil unless it is open.
--- @return integer?
function Endpoint:fileno()
  return self.handle_ and (self.handle_:fileno())
end

--- Its own address: `{address, port, family}`, or `{path}`; nil unless it is
--- open.
--- @return table?
function Endpoint:address()
  return self.handle_ and address.of((self.handle_:getsockname()))
end

--- Whoever sends the fd to another process keeps its number valid until then:
--- what is closed meanwhile is closed for its user, and the fd stays open.
function Endpoint:pin_()
  self.pins_ = (self.pins_ or 0) + 1
end

function Endpoint:unpin_()
  self.pins_ = self.pins_ > 1 and self.pins_ - 1 or nil
  if self.pins_ or not self.pinned_ then return end
  for _, handle in ipairs(self.pinned_) do loop.close(handle) end
  self.pinned_ = nil
end

--- Gives the handle up; fn() is called once it is closed.
function Endpoint:release_(fn)
  local handle = self.handle_
  self.handle_, self.active_ = nil, nil
  if not handle then return loop.soon(fn) end
  if not self.pins_ then return loop.close(handle, fn) end
  handle:unref()
  self.pinned_ = self.pinned_ or {}
  table.insert(self.pinned_, handle)
  loop.soon(fn)
end

--- Gives a class the methods of endpoints.
function opening.extend(class)
  for name, method in pairs(Endpoint) do class[name] = method end
  class.__index = class
  return class
end

return opening
