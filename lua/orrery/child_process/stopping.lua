--- Signals to a child and to its family, and its end: part of class Child.
---
--- Only one process can be told by kill(2) whether it has the signal; what
--- reaches a family goes by a keeper (family.lua), which tells later. If that
--- cannot be started, the child's process group is reached, or the child alone.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local signals = require "orrery.runtime.signals"

local STOP_GRACE = 5000 -- ms from SIGTERM to SIGKILL in stop
local CLOSE_GRACE = 2000 -- the same at the end of a `<close>` variable
local REAP_GRACE = 5000 -- ms in which a child that has ended can be reaped

local self_process = core.process()
local SIGKILL, SIGTERM = core.signals.SIGKILL, core.signals.SIGTERM
local SIGCONT = core.signals.SIGCONT
local ESRCH = core.errnos.ESRCH

--- @class Child
local Stopping = {}

-- Loaded with the first stop: most children end by themselves.
local function family() return require "orrery.child_process.family" end

-- Signals --------------------------------------------------------------------

--- Returns what kill(2) came to as true; false (it has ended); false, err.
local function sent(self, number, ok, errno)
  if ok then
    if number ~= 0 then self.killed = true end
    return true
  elseif errno == ESRCH then
    return false
  end
  return false, errors.system(errno, "kill", { path = tostring(self.pid) })
end

--- Sends a signal to the process. Never reaches another process that has got
--- the same pid.
--- @param signal string|integer? "SIGTERM"; 0 asks whether it is there
--- @return boolean sent false once it has ended
--- @return Error? err (EPERM)
function Stopping:kill(signal)
  local number = signals.check("kill", signal or "SIGTERM")
  if not self.is_running_ then return false end
  return sent(self, number, self.spawned_:kill(number))
end

--- Sends a signal without a keeper: to the process group that the child leads,
--- else to the child.
local function send_directly(self, number)
  if not self.is_running_ then return false end
  if self.is_leader_ then
    return sent(self, number, self_process:kill(-self.pid, number))
  end
  return sent(self, number, self.spawned_:kill(number))
end

--- Sends a signal to the whole family, without waiting.
--- @param number integer
function Stopping:send_all_(number)
  self.killed = self.killed or self.is_running_ and number ~= 0
  family().signal(self, number, function(result)
    if not result then send_directly(self, number) end
  end)
end

--- Tells whether the child runs or, if that is known, others of its family do.
local function has_members(self)
  local contained = self.family_
  return self.is_running_
    or contained and not (contained.is_empty_ or contained.is_gone_)
end

--- Sends a signal to the child's family: to all that it has started, and what
--- those have started, once to each, also to who is born meanwhile. In a task
--- it waits until all have it. [w]
--- @param signal string|integer? "SIGTERM"
--- @return boolean sent false once the family is empty; outside a task, once
---   the child has ended, if the family is not contained
--- @return Error? err (EPERM)
function Stopping:kill_tree(signal)
  local number = signals.check("kill_tree", signal or "SIGTERM")
  if not self.pid then return false end
  if scheduler.forbidden("kill_tree") then
    local living = has_members(self)
    self:send_all_(number)
    return living
  end
  local result
  scheduler.wait(function(wake)
    family().signal(self, number, function(done)
      result = done
      wake(true)
    end)
  end, nil, "kill_tree")
  if not result then return send_directly(self, number) end
  if result.living > 0 and number ~= 0 then self.killed = true end
  return result.living > 0
end

-- The end --------------------------------------------------------------------

--- Waits until a child that has ended is reaped. One that is traced by a
--- process that does not wait for it cannot be: it is left. Returns `left`. [w]
local function reap(self, left)
  if self:wait_exit_(REAP_GRACE, "stop") then return left end
  left = left or {}
  left[#left + 1] = self.pid
  return left
end

--- Ends the child without a keeper.
local function stop_directly(self, number, grace)
  local forced = false
  local reached = send_directly(self, number)
  if reached and number == SIGTERM then send_directly(self, SIGCONT) end
  if not self:wait_exit_(grace, "stop") then
    forced = send_directly(self, SIGKILL)
  end
  return forced, reap(self)
end

--- Ends the family: the signal, SIGKILL after `grace` ms; waits until it is
--- empty. Returns whether it took SIGKILL, and who is left that we may not
--- signal. [w]
local function stop(self, number, grace)
  local result = family().finish(self, number, grace)
  if not result then return stop_directly(self, number, grace) end
  if result.living > 0 or result.forced > 0 then self.killed = true end
  local left = #result.left > 0 and result.left or nil
  for _, pid in ipairs(left or {}) do
    if pid == self.pid then return result.forced > 0, left end
  end
  return result.forced > 0, reap(self, left)
end

local stop_options = { signal = signals.option, grace = options.checks.ms }

--- Ends the child and its family: a signal, `grace` ms, SIGKILL; waits until
--- the family is empty. [w]
--- @param opts {signal: string|integer?, grace: integer?}? "SIGTERM", 5000 ms
--- @return {code: integer, signal: string?, forced: boolean, duration: number,
---   left: integer[]?}? result `code` as wait's, `duration` in ms from the
---   call; `left` are pids that we may not signal, and that are not waited for
--- @return Error? err it never started
function Stopping:stop(opts)
  opts = options.check("stop", opts, stop_options)
  if self.error_ then
    self.is_error_taken_ = true
    return nil, self.error_
  end
  local begun = self_process:hrtime()
  local forced, left = stop(self, signals.number(opts.signal or "SIGTERM"),
    opts.grace or STOP_GRACE)
  local code, signal
  if not self.is_running_ then code, signal = self:status_() end
  return {
    code = code,
    signal = self.signal_code and signal,
    forced = forced,
    duration = (self_process:hrtime() - begun) / 1e6,
    left = left,
  }
end

--- Ends the family at the end of a `<close>` variable: SIGTERM, 2 s, SIGKILL;
--- reaps the child and closes its streams. If waiting is forbidden there:
--- SIGKILL at once. Never raises.
function Stopping:__close()
  if has_members(self) then
    if scheduler.forbidden("close")
      or not pcall(stop, self, SIGTERM, CLOSE_GRACE) then
      send_directly(self, SIGKILL)
      self:send_all_(SIGKILL)
    end
  end
  self.ends_:close()
end

--- Begins to end a child for which `when_over_` was called: `signal`, and
--- SIGKILL after `grace` ms. Does not wait; called again, it changes nothing.
--- @param signal string|integer
--- @param grace integer ms
--- @return boolean running false if the process has ended already
function Stopping:end_by_(signal, grace)
  if not self.is_running_ then return false end
  local capture = self.capture_
  capture.ending = capture.ending or scheduler.go(function()
    capture.forced = self.is_running_
      and stop(self, signals.number(signal), grace)
  end)
  return true
end

return Stopping
