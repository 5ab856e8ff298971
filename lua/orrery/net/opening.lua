--- What servers, datagram sockets and, in part, stream sockets have in common:
--- they open once or fail to, by callback or by waiting, and a call may wait
--- for an answer. Class Endpoint is the base of the first two.
---
--- An object that is being opened has `on_open_`, its callback, or `wake_`,
--- which resumes the task that waits for it, or neither.

local address = require "orrery.net.address"
local class = require "orrery.runtime.class"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local owning = require "orrery.runtime.owning"
local scheduler = require "orrery.runtime.scheduler"

local opening = {}

-- Waiting --------------------------------------------------------------------

local function may_wait(what)
  return scheduler.current() and not scheduler.forbidden(what)
end

--- Opens `self`: begin(self) brings about that `opening.opened` or
--- `opening.refused` is called later. Waits for that if there is no callback
--- and a task calls. [w]
--- @param what string the public method's name
--- @param cb fun(self: table)? called once it is open, not if it fails
--- @param begin fun(self: table)
--- @param abandon fun(self: table) called if the task that waits is cancelled
--- @return table? self open if it has waited
--- @return Error? err what `opening.refused` was given
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

--- Returns the callback or the waiting task of an opening, and forgets them.
local function settle(self)
  local cb, wake = self.on_open_, self.wake_
  self.on_open_, self.wake_ = nil, nil
  return cb, wake
end

--- Tells that `self` is open: emits `event`, then come the callback and the
--- task that waits.
--- @param self table
--- @param event "listening"|"connect"
function opening.opened(self, event)
  local cb, wake = settle(self)
  if cb then loop.soon(cb, self) end
  if wake then wake(self) end
  self:emit(event)
end

--- Tells that `self` could not be opened. The error goes to the task that waits
--- for it, if there is one.
--- @param self table
--- @param err Error
--- @return boolean taken false: nothing has the error, and it is for an `error`
---   event
function opening.refused(self, err)
  local _, wake = settle(self)
  if wake then wake(nil, err) end
  return wake ~= nil
end

--- Calls ask(reply), and gives what reply(err, value) is called with later to
--- the callback; or to the calling task, which waits, if there is none. [w]
--- @param self table
--- @param what string the public method's name
--- @param cb fun(err: Error?, value: any)?
--- @param ask fun(reply: fun(err: Error?, value: any))
--- @return any value if it has waited (true if there is none), else self
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

-- Endpoints ------------------------------------------------------------------

--- @class Endpoint : Emitter what has a handle as long as it is open: luv's, or
---   one with its interface
--- @field handle_ userdata|table|nil
local Endpoint = class("orrery.Endpoint", events.Emitter, owning)
opening.Endpoint = Endpoint

--- Takes in a handle.
--- @param handle userdata|table
function Endpoint:hold_(handle)
  self.handle_ = handle
  if not self.referenced_ then self:unref() end
end

--- Returns the number of the fd.
--- @return integer? fd nil unless it is open
function Endpoint:fileno()
  return self.handle_ and (self.handle_:fileno())
end

--- Returns its own address: `{address, port, family}`, or `{path}` of a Unix
--- socket.
--- @return table? address nil unless it is open
function Endpoint:address()
  local handle = self.handle_
  local place = type(handle) == "table" and handle.place_
  return place or address.own(self:fileno())
end

return opening
