--- The callback of a send. It is called exactly once, in a tick: when the
--- kernel has the message, or when it is known that it never will.

local class = require "orrery.runtime.class"
local loop = require "orrery.runtime.loop"

--- @class Callback
--- @field fn fun(err: Error?)
--- @field at integer bytes of the channel, ever, of which the message is the
---   last
--- @field called boolean
local Callback = class "orrery.Callback"

--- How many callbacks were made, and called: both are the same in the end.
local counts = { given = 0, called = 0 }
Callback.counts = counts

--- Makes the callback of a message. From now on its call is owed.
--- @param fn fun(err: Error?)
--- @return Callback
function Callback.new(fn)
  counts.given = counts.given + 1
  return setmetatable({ fn = fn, at = 0, called = false }, Callback)
end

--- Calls it, in a tick. Does nothing if it was called before.
--- @param err Error? nil if the message is sent
function Callback:call_(err)
  if self.called then return end
  self.called = true
  counts.called = counts.called + 1
  loop.soon(self.fn, err)
end

return Callback
