--- What waits for a task's end: `join`, a part of class Task that is loaded
--- with the public module `task`, and what other waits are built of.

local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local Task = scheduler.Task

local joining = {}

--- Calls wake(true) when a task ends: at once if it has ended.
--- @param self Task
--- @param wake function
--- @return function? undo
function joining.on_end(self, wake)
  if self.status ~= "running" then
    wake(true)
    return
  end
  local joiners = self.joiners_ or {}
  local place = #joiners + 1
  self.joiners_, joiners[place] = joiners, wake
  return function() joiners[place] = false end
end

--- Waits until a task has ended. [w]
--- @param self Task
--- @param t integer? ms
--- @param what string the waiting function's name, for messages
--- @return true? ended
--- @return Error? err (ETIMEDOUT)
function joining.wait_end(self, t, what)
  return scheduler.wait(function(wake)
    return joining.on_end(self, wake)
  end, t, what)
end

--- Gives a joiner what a task has ended with, as `join` does.
--- @param self Task
--- @return any ...
function joining.outcome(self)
  self.observed_ = true
  if self.status == "done" then
    return table.unpack(self.results_, 1, self.results_.n)
  elseif self.status == "cancelled" then
    return nil, self.cancelled_
  end
  local current = scheduler.current()
  if current then
    current.joined_failure_ = { err = self.err_, trace = self.trace_ }
  end
  error(self.err_, 0)
end

--- Waits until the task has ended. Raises what it raised. [w]
--- @param t integer? ms
--- @return any ... its results; nil, err if it was cancelled or the time is up
--- @return Error? err (ECANCELED, ETIMEDOUT)
function Task:join(t)
  if self == scheduler.current() then
    options.raise("join: a task cannot wait for itself")
  end
  if self.status == "running" then
    local ok, err = joining.wait_end(self, t, "join")
    if not ok then return nil, err end
  end
  return joining.outcome(self)
end

return joining
