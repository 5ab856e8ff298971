--- Tasks: coroutines that Orrery resumes. Only the tick queue resumes them, at
--- depth one, so a chain of any length of tasks that wait for each other needs
--- no C stack. Every wait in Orrery goes through `wait`.
---
--- Cancelling raises at the current wait and at each later one, but not inside
--- `__close` handlers: those may still wait, 5 s in all.

local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local scheduler = {}

local WAIT, DONE, CANCELLED = {}, {}, {} -- what travels through yield, resume
local SHIELD = 5000 -- ms that __close handlers of a cancelled task may wait
local POOL = 64 -- idle coroutines kept

local pool = {}
local current -- the task that is running

--- @class Task
--- @field status "running"|"done"|"failed"|"cancelled"
local Task = { __name = "orrery.Task" }
Task.__index = Task

function Task.__tostring(self)
  local info = debug.getinfo(self.fn, "S")
  return ("task %s:%d: %s"):format(info.short_src, info.linedefined, self.status)
end

--- An error of a task is uncaught when the turn ends and nobody has joined it.
local function report_unless_joined(self)
  loop.at_turn_end(function()
    if not self.observed then loop.fail(self.err, self.trace, "task") end
  end)
end

--- Joiners' errors carry the traceback of the task that they joined.
local function failure_trace(self, err)
  local trace = loop.last_trace()
  local joined = self.joined_failure
  if joined and rawequal(joined.err, err) then
    trace = trace .. "\n\nraised first in a task that was joined here:\n"
      .. joined.trace
  end
  return trace
end

local function settle(self, ok, ...)
  self.thread = nil
  if ok then
    self.status, self.results = "done", table.pack(...)
  elseif self.cancelled and rawequal((...), self.cancelled) then
    self.status = "cancelled"
  else
    self.status, self.err = "failed", (...)
    self.trace = failure_trace(self, self.err)
  end
  if self.shield_timer then self.shield_timer:stop() end
  local joiners = self.joiners or {}
  self.joiners = nil
  if self.on_end then self.on_end(self) end
  for _, wake in ipairs(joiners) do
    if wake then
      self.observed = true
      wake(true)
    end
  end
  if self.status == "failed" and not self.observed then
    report_unless_joined(self)
  end
end

--- A pooled coroutine runs one task after the other. The task's function runs
--- under xpcall *inside* it, so that its `<close>` variables may wait.
local function body(self)
  local thread = coroutine.running()
  while true do
    local args = self.args
    self.args = nil
    settle(self, xpcall(self.fn, loop.remember, table.unpack(args, 1, args.n)))
    self, args = nil, nil -- luacheck: ignore (not kept while it is pooled)
    if #pool >= POOL then return DONE end
    pool[#pool + 1] = thread
    self = coroutine.yield(DONE)
  end
end

--- Resumes a task. What it yields must be a wait of ours.
local function resume(self, value)
  if not self.thread then return end
  local thread = self.thread
  current = self
  local ok, token = coroutine.resume(thread, value)
  current = nil
  if ok and (token == WAIT or token == DONE) then return end
  coroutine.close(thread)
  loop.remember(ok and "coroutine.yield in a task: only Orrery's waiting "
    .. "functions may suspend it" or token)
  settle(self, false, ok and "coroutine.yield in a task" or token)
end

local function begin(self)
  if self.cancelled then
    settle(self, false, self.cancelled)
  else
    self.thread = table.remove(pool) or coroutine.create(body)
    resume(self, self)
  end
end

local function new(fn, ...)
  local self = setmetatable(
    { fn = fn, args = table.pack(...), status = "running" }, Task)
  loop.soon(begin, self)
  return self
end

--- Starts fn(...) as a task; it runs before the loop polls again.
--- @param fn function
--- @return Task
function scheduler.go(fn, ...)
  options.argument("go", "fn", fn, options.checks.callback)
  return new(fn, ...)
end

--- The running task, or nil: outside any, or in a coroutine of somebody else.
--- @return Task?
function scheduler.current()
  if current and coroutine.running() == current.thread then return current end
end

-- Waiting --------------------------------------------------------------------

local called_slot = { [pcall] = 2, [xpcall] = 4 }

--- Whether a `__close` handler is running on a stack. On a normal way out the
--- handler is called as the metamethod "close". While an error unwinds it is
--- called from the pcall or xpcall that catches the error: that one then has the
--- function it had called among its temporaries (2 or 4), and another one runs on
--- top of it. (A vararg function stands there while it runs, too.)
local function closing(thread, level)
  local inner -- the function that runs on top of the level
  while true do
    local info = debug.getinfo(thread, level, "nf")
    if not info then return false end
    if info.namewhat == "metamethod" and info.name == "close" then return true end
    local slot = called_slot[info.func]
    if slot then
      local name, called = debug.getlocal(thread, level, slot)
      if name and called ~= inner then return true end
    end
    inner = info.func
    level = level + 1
  end
end

local function shielded(self)
  return self.shields and self.shields > 0
end

--- Ends the current wait by raising the cancellation there.
local function interrupt(self)
  local record = self.waiting
  if not record then return end
  self.waiting = nil
  if record.timer then record.timer:stop() end
  if record.undo then record.undo() end
  loop.soon(resume, self, CANCELLED)
end

--- A cancelled task that waits in a handler: until the shield is used up.
local function start_shield(self)
  if self.shield_timer then return end
  self.shield_timer = clock.after(SHIELD, function()
    self.shield_over = true
    interrupt(self)
  end)
end

local function check_cancelled(self)
  if not self.cancelled then return end
  if self.shield_over or not (shielded(self) or closing(coroutine.running(), 0)) then
    error(self.cancelled, 0)
  end
  start_shield(self)
end

local function suspend(self, start, ms)
  local record = {}
  self.waiting = record
  local function wake(...)
    if self.waiting ~= record then return false end
    self.waiting = nil
    if record.timer then record.timer:stop() end
    loop.soon(resume, self, table.pack(...))
    return true
  end
  record.undo = start(wake)
  if ms and self.waiting == record then
    record.timer = clock.after(ms, function()
      if record.undo then record.undo() end
      wake(nil, errors.timeout(ms))
    end)
  end
  local value = coroutine.yield(WAIT)
  if value == CANCELLED then error(self.cancelled, 0) end
  return table.unpack(value, 1, value.n)
end

--- Runs the loop until woken, for a main chunk in plain lua5.4.
local function pump(start, ms, what)
  local value, timer
  local function wake(...)
    if value then return false end
    value = table.pack(...)
    loop.interrupt()
    return true
  end
  local undo = start(wake)
  if ms and not value then
    timer = clock.after(ms, function()
      if undo then undo() end
      wake(nil, errors.timeout(ms))
    end)
  end
  local function woken() return value ~= nil end
  while not value do
    if not loop.turn(woken) and not value then
      if undo then undo() end
      options.raise("%s: waits for what can no longer come: the loop is empty",
        what)
    end
  end
  if timer then timer:stop() end
  return table.unpack(value, 1, value.n)
end

--- Why the caller may not wait, or nil.
local function forbidden(what)
  local thread, main = coroutine.running()
  if loop.emitting > 0 then
    return what .. " waits, and a listener may not: wrap it in orrery.go(fn)"
  elseif current and current.thread == thread then
    if coroutine.isyieldable() then return end
    return what .. " waits, and C code on the stack (require, table.sort, "
      .. "string.gsub, ...) forbids that: use a _sync form"
  elseif not main then
    return what .. " waits, and this coroutine is no task: use orrery.go(fn)"
  elseif loop.running() then
    return what .. " waits, and a callback may not: wrap it in orrery.go(fn)"
  end
end

--- Raises at the user's line unless the caller may wait here.
--- @param what string the waiting function's name, for the message
local function check_may_wait(what)
  local why = forbidden(what)
  if why then options.raise("%s", why) end
end

--- The one way to wait. `start(wake)` arranges for wake(...) to be called; it
--- may return a function that undoes that, for a wait that ends otherwise.
--- @param start function
--- @param ms integer? at most so long
--- @param what string the function's name, for messages
--- @return any ... what wake was given; nil, err (ETIMEDOUT)
function scheduler.wait(start, ms, what)
  check_may_wait(what)
  if ms ~= nil then
    options.argument(what, "the time", ms, options.checks.ms)
  end
  local self = current
  if not self then return pump(start, ms, what) end
  check_cancelled(self)
  return suspend(self, start, ms)
end

--- For a waiting function that does something first: raises as `wait` would where
--- it may not wait, where the time is bad, and where the task is cancelled.
--- @param what string the function's name, for messages
--- @param ms integer?
function scheduler.checkpoint(what, ms)
  check_may_wait(what)
  if ms ~= nil then
    options.argument(what, "the time", ms, options.checks.ms)
  end
  if current then check_cancelled(current) end
end

--- Runs fn(...) with cancellation held back, for cleaning up; 5 s in all.
function scheduler.shield(fn, ...)
  local self = scheduler.current()
  if not self then return fn(...) end
  self.shields = (self.shields or 0) + 1
  local _ <close> = setmetatable({}, {
    __close = function() self.shields = self.shields - 1 end,
  })
  return fn(...)
end

--- Waits `ms` milliseconds. [w]
--- @param ms integer
function scheduler.sleep(ms)
  options.argument("sleep", "the time", ms, options.checks.ms)
  scheduler.wait(function(wake)
    local timer = clock.after(ms, wake)
    return function() timer:stop() end
  end, nil, "sleep")
end

-- Joining --------------------------------------------------------------------

--- Calls wake(true) when the task ends. Returns what undoes it.
local function on_end(self, wake)
  if self.status ~= "running" then
    wake(true)
    return
  end
  local joiners = self.joiners or {}
  local place = #joiners + 1
  self.joiners, joiners[place] = joiners, wake
  return function() joiners[place] = false end
end

local function wait_end(self, t, what)
  return scheduler.wait(function(wake) return on_end(self, wake) end, t, what)
end

--- What a finished task was for those who wait for it.
local function outcome(self)
  self.observed = true
  if self.status == "done" then
    return table.unpack(self.results, 1, self.results.n)
  elseif self.status == "cancelled" then
    return nil, self.cancelled
  end
  if current then
    current.joined_failure = { err = self.err, trace = self.trace }
  end
  error(self.err, 0)
end

--- Waits until the task has ended. [w]
--- @param t integer? ms
--- @return any ... its results; nil, err (ETIMEDOUT, ECANCELED); raises its error
function Task:join(t)
  if self == current then
    options.raise("join: a task cannot wait for itself")
  end
  if self.status == "running" then
    local ok, err = wait_end(self, t, "join")
    if not ok then return nil, err end
  end
  return outcome(self)
end

--- Raises ECANCELED at the task's current wait and at each later one. Nothing
--- once it has ended.
--- @param reason any? err.reason, and part of the message
function Task:cancel(reason)
  if self.status ~= "running" or self.cancelled then return end
  local text = "task cancelled"
  if reason ~= nil then text = text .. ": " .. tostring(reason) end
  self.cancelled = errors.new("ECANCELED", text, { reason = reason })
  if not self.waiting then return end
  if shielded(self) or closing(self.thread, 0) then
    start_shield(self)
  else
    interrupt(self)
  end
end

--- For the modules that build on tasks.
scheduler.new, scheduler.on_end, scheduler.wait_end = new, on_end, wait_end
scheduler.outcome, scheduler.forbidden = outcome, forbidden
scheduler.check_may_wait = check_may_wait
scheduler.Task = Task

return scheduler
