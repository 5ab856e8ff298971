--- Timers whose handlers are tasks. They add to the deadlines of the clock,
--- which call plain functions, that a handler may wait, and that ticks repeat.

local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local timers = {}

--- @class Timer
--- @field deadline_ Deadline the next tick
--- @field task_ Task? that of the last tick
--- @field referenced_ boolean it keeps the loop alive
--- @field stopped_ boolean?
local Timer = class "orrery.Timer"

local function new(where, ms, fn, again)
  options.argument(where, "the time", ms, options.checks.ms)
  options.argument(where, "fn", fn, options.checks.callback)
  local self = setmetatable({ referenced_ = true }, Timer)
  local function handler()
    if not self.stopped_ then fn() end
  end
  local function fire()
    if again then
      self.deadline_ = clock.after(ms, fire)
      self.deadline_:set_ref(self.referenced_)
      if self.task_ and self.task_.status == "running" then return end
    end
    self.task_ = scheduler.new(handler)
  end
  self.deadline_ = clock.after(ms, fire)
  return self
end

--- Runs fn as a task, once, `ms` from now.
--- @param ms integer
--- @param fn function
--- @return Timer timer
function timers.after(ms, fn) return new("after", ms, fn, false) end

--- Runs fn as a task every `ms`. A tick is skipped if the task of the one
--- before it still runs.
--- @param ms integer
--- @param fn function
--- @return Timer timer
function timers.every(ms, fn) return new("every", ms, fn, true) end

--- Stops the ticks. A handler that runs goes on. Does nothing the second time.
function Timer:stop()
  self.stopped_ = true
  self.deadline_:stop()
end
Timer.__close = Timer.stop

--- Lets the timer keep the loop alive, which is the default.
--- @return Timer self
function Timer:ref()
  self.referenced_ = true
  self.deadline_:set_ref(true)
  return self
end

--- Lets the loop end although the timer runs.
--- @return Timer self
function Timer:unref()
  self.referenced_ = false
  self.deadline_:set_ref(false)
  return self
end

return timers
