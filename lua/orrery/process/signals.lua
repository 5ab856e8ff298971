--- Signals to this process as events of its module, and signals to others.
---
--- Owns luv's handles of the signals that are caught: each as long as its event
--- has a listener.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local names = require "orrery.runtime.signals"
local options = require "orrery.runtime.options"

local signals = {}

local shared = core.shared
local self_process = core.process()
local handles = {} -- by the signal's name

local UNCATCHABLE = { SIGKILL = true, SIGSTOP = true }

--- Returns the event that a name stands for: "sigterm" is SIGTERM, and any
--- other name is itself.
--- @param event any
--- @return any event
function signals.event(event)
  if type(event) == "string" and event:find("^[sS][iI][gG]") then
    local number = core.signals[event:upper()]
    if number then return core.signal_names[number] end
  end
  return event
end

--- Raises if an event is a signal that no process can catch.
--- @param where string the function's name, for the message
--- @param event string
function signals.check_catchable(where, event)
  if UNCATCHABLE[event] then
    options.raise("%s: %s cannot be caught (EINVAL)", where, event)
  end
end

--- Begins to catch a signal. If the system refuses, it is not caught.
local function catch(emitter, name)
  local handle = uv.new_signal()
  local number = core.signals[name]
  loop.naming[handle] = function() return { "signal " .. name } end
  handle:unref()
  local ok = handle:start(number, loop.guard(function()
    emitter:emit(name, name, number)
    if shared.shutdown then shared.shutdown.on_signal(number) end
  end))
  if not ok then return loop.close(handle) end
  handles[name] = handle
end

--- Gives a signal back what it does without listeners.
local function release(name)
  local handle = handles[name]
  handles[name] = nil
  handle:stop()
  loop.close(handle)
  core.ending.own_again(core.signals[name])
end

--- Tells whether a task waits for an event: then the event can still come.
--- @param emitter Emitter
--- @param event string
--- @return boolean
function signals.is_awaited(emitter, event)
  for _, entry in ipairs(emitter.listeners_[event] or {}) do
    if entry.waiting then return true end
  end
  return false
end

--- Catches a signal while its event has a listener. It keeps the loop alive
--- only for tasks that wait for it. Does nothing for other events.
--- @param emitter Emitter the process module's
--- @param event string
--- @param count integer of its listeners
function signals.listeners_changed(emitter, event, count)
  if not core.signals[event] then return end
  if count == 0 and handles[event] then
    release(event)
  elseif count > 0 and not handles[event] then
    catch(emitter, event)
  end
  local handle = handles[event]
  if not handle then return end
  if signals.is_awaited(emitter, event) then
    handle:ref()
  else
    handle:unref()
  end
end

--- Returns the exit code by which shells tell that a signal ended a process.
--- @param signal string|integer
--- @return integer code 128 + the signal's number
function signals.signal_exit_code(signal)
  return 128 + names.check("signal_exit_code", signal)
end

--- Sends a signal.
--- @param pid integer 0 and negative numbers are groups, as in kill(2)
--- @param signal string|integer|nil "SIGTERM" if nil; 0 only asks
--- @return true? ok
--- @return Error? err (ESRCH, EPERM, EINVAL)
function signals.kill(pid, signal)
  local number = math.tointeger(tonumber(pid))
  if not number then
    options.raise("kill: the pid must be an integer, got %s",
      options.got(pid))
  end
  if signal == nil then signal = "SIGTERM" end
  local signo = math.type(signal) == "integer" and signal
    or names.check("kill", signal)
  local ok, errno = self_process:kill(number, signo)
  if ok then return true end
  return nil, errors.system(errno, "kill", { path = tostring(number) })
end

return signals
