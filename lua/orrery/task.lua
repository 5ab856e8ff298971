--- Tasks: coroutines that Orrery resumes. Only the tick queue resumes them, at
--- depth one, so a chain of any length of tasks that wait for each other needs
--- no C stack. Every wait in Orrery goes through `task.wait`.
---
--- Cancelling raises at the current wait and at each later one, but not inside
--- `__close` handlers: those may still wait, 5 s in all.

local clock = require "orrery.clock"
local errors = require "orrery.errors"
local events = require "orrery.events"
local loop = require "orrery.loop"
local options = require "orrery.options"

local task = {}

local WAIT, DONE, CANCELLED = {}, {}, {} -- what travels through yield, resume
local SHIELD = 5000 -- ms that __close handlers of a cancelled task may wait
local POOL = 64 -- idle coroutines kept

local pool = {}
local current -- the task that is running
local unobserved = {} -- failed tasks that nobody has joined yet

--- @class Task
--- @field status "running"|"done"|"failed"|"cancelled"
local Task = { __name = "orrery.Task" }
Task.__index = Task

function Task.__tostring(self)
  local info = debug.getinfo(self.fn, "S")
  return ("task %s:%d: %s"):format(info.short_src, info.linedefined, self.status)
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
  local joiners = self.joiners
  self.joiners = nil
  if self.on_end then self.on_end(self) end
  for _, wake in pairs(joiners or {}) do wake(true) end
  if self.status == "failed" and not self.observed then
    unobserved[#unobserved + 1] = self
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

--- Errors of tasks are uncaught when the turn ends and nobody has joined them.
loop.at_turn_end(function()
  while #unobserved > 0 do
    local failed = table.remove(unobserved, 1)
    if not failed.observed then
      loop.fail(failed.err, failed.trace, "task")
    end
  end
end)

local function new(fn, ...)
  local self = setmetatable(
    { fn = fn, args = table.pack(...), status = "running" }, Task)
  loop.soon(begin, self)
  return self
end

--- Starts fn(...) as a task; it runs before the loop polls again.
--- @param fn function
--- @return Task
function task.go(fn, ...)
  options.argument("go", "fn", fn, options.checks.callback, 2)
  return new(fn, ...)
end

--- The running task, or nil: outside any, or in a coroutine of somebody else.
--- @return Task?
function task.current()
  if current and coroutine.running() == current.thread then return current end
end

-- Waiting -------------------------------------------------------------------

--- Whether a `__close` handler is running on a stack. On a normal way out the
--- handler is called as the metamethod "close". While an error unwinds it is
--- called from the pcall or xpcall that catches the error: that one then still
--- has the function it called among its temporaries (2 or 4), which it has not
--- while the function runs.
local function closing(thread, level)
  local slots = { [pcall] = 2, [xpcall] = 4 }
  while true do
    local info
    if thread then
      info = debug.getinfo(thread, level, "nf")
    else
      info = debug.getinfo(level, "nf")
    end
    if not info then return false end
    if info.namewhat == "metamethod" and info.name == "close" then return true end
    local slot = slots[info.func]
    if slot then
      local name
      if thread then
        name = debug.getlocal(thread, level, slot)
      else
        name = debug.getlocal(level, slot)
      end
      if name then return true end
    end
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
  if self.shield_over or not (shielded(self) or closing(nil, 4)) then
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
      error(what .. ": waits for what can no longer come: the loop is empty", 3)
    end
  end
  if timer then timer:stop() end
  return table.unpack(value, 1, value.n)
end

--- Why the caller may not wait, or nil.
local function forbidden(what)
  local thread, main = coroutine.running()
  if events.in_listener() then
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

--- The one way to wait. `start(wake)` arranges for wake(...) to be called; it
--- may return a function that undoes that, for a wait that ends otherwise.
--- @param start function
--- @param ms integer? at most so long
--- @param what string the function's name, for messages
--- @return any ... what wake was given; nil, err (ETIMEDOUT)
function task.wait(start, ms, what)
  local why = forbidden(what)
  if why then error(why, 3) end
  if ms ~= nil then
    options.argument(what, "the time", ms, options.checks.ms, 3)
  end
  local self = current
  if not self then return pump(start, ms, what) end
  check_cancelled(self)
  return suspend(self, start, ms)
end

--- Runs fn(...) with cancellation held back, for cleaning up; 5 s in all.
function task.shield(fn, ...)
  local self = task.current()
  if not self then return fn(...) end
  self.shields = (self.shields or 0) + 1
  local _ <close> = setmetatable({}, {
    __close = function() self.shields = self.shields - 1 end,
  })
  return fn(...)
end

--- Waits `ms` milliseconds. [w]
--- @param ms integer
function task.sleep(ms)
  options.argument("sleep", "the time", ms, options.checks.ms, 2)
  task.wait(function(wake)
    local timer = clock.after(ms, wake)
    return function() timer:stop() end
  end, nil, "sleep")
end

-- Joining -------------------------------------------------------------------

--- Calls wake(true) when the task ends. Returns what undoes it.
local function on_end(self, wake)
  if self.status ~= "running" then
    wake(true)
    return
  end
  self.joiners = self.joiners or {}
  self.joiners[wake] = wake
  return function()
    if self.joiners then self.joiners[wake] = nil end
  end
end

local function wait_end(self, t, what)
  return task.wait(function(wake) return on_end(self, wake) end, t, what)
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
    error("join: a task cannot wait for itself", 2)
  end
  self.observed = true
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

-- Structure -----------------------------------------------------------------

--- Cancels tasks and waits for all, whatever happens to the caller meanwhile.
local function stop_all(tasks, reason)
  for _, t in ipairs(tasks) do
    t.observed = true
    t:cancel(reason)
  end
  for _, t in ipairs(tasks) do
    if t.status == "running" then
      task.shield(wait_end, t, nil, "scope")
    end
  end
end
task.stop_all = stop_all

--- Waits for a subordinate task; a caller that is cancelled takes it along.
local function attend(subordinate, t, what)
  local ok, woken, err = pcall(wait_end, subordinate, t, what)
  if ok then return woken, err end
  stop_all({ subordinate }, "its owner was cancelled")
  error(woken, 0)
end

--- Runs fn(...) as a task of its own for at most `ms`. [w]
--- @param ms integer
--- @param fn function
--- @return any ... fn's results; nil, err (ETIMEDOUT) once it is cancelled
function task.deadline(ms, fn, ...)
  options.argument("deadline", "the time", ms, options.checks.ms, 2)
  options.argument("deadline", "fn", fn, options.checks.callback, 2)
  local why = forbidden("deadline")
  if why then error(why, 2) end
  local inner = new(fn, ...)
  inner.observed = true
  local ended, err = attend(inner, ms, "deadline")
  if ended then return outcome(inner) end
  stop_all({ inner }, "deadline")
  if inner.status == "failed" then return outcome(inner) end
  return nil, err
end

--- Tasks of a list, whose functions become tasks.
local function tasks_of(where, list, level)
  if type(list) ~= "table" then
    options.raise(level + 1, "%s: a list of tasks expected, got %s", where,
      type(list))
  end
  local tasks = {}
  for i, item in ipairs(list) do
    if getmetatable(item) ~= Task and type(item) ~= "function" then
      options.raise(level + 1, "%s: item %d must be a task or a function, got %s",
        where, i, type(item))
    end
  end
  for i, item in ipairs(list) do
    tasks[i] = type(item) == "function" and new(item) or item
    tasks[i].observed = true
  end
  return tasks
end

--- Waits until one of several tasks has ended; the number of one that has.
local function wait_any(tasks, what)
  return task.wait(function(wake)
    local undos = {}
    for i, t in ipairs(tasks) do
      undos[#undos + 1] = on_end(t, function() return wake(i) end)
    end
    return function()
      for _, undo in ipairs(undos) do undo() end
    end
  end, nil, what)
end

--- wait_any for a caller that owns the tasks.
local function attend_any(tasks, what)
  local ok, first = pcall(wait_any, tasks, what)
  if ok then return first end
  stop_all(tasks, "its owner was cancelled")
  error(first, 0)
end

--- Waits for all. The first error cancels the rest, waits for them and is
--- raised. [w]
--- @param list (Task|function)[]
--- @return any[] results the first result of each, in order
function task.all(list)
  local tasks = tasks_of("all", list, 2)
  local why = forbidden("all")
  if why then error(why, 2) end
  local results, left = { n = #tasks }, { table.unpack(tasks) }
  while #left > 0 do
    local i = attend_any(left, "all")
    local ended = table.remove(left, i)
    if ended.status == "failed" then
      stop_all(left, "another task of all failed")
      outcome(ended)
    end
  end
  for i, t in ipairs(tasks) do results[i] = (outcome(t)) end
  return results
end

--- Waits for the first to end; the others are cancelled and awaited. [w]
--- @param list (Task|function)[] not empty
--- @return any ... its results
function task.race(list)
  local tasks = tasks_of("race", list, 2)
  if #tasks == 0 then
    options.raise(2, "race: the list is empty, so nothing can come first")
  end
  local why = forbidden("race")
  if why then error(why, 2) end
  local winner = tasks[attend_any(tasks, "race")]
  stop_all(tasks, "another task was first")
  return outcome(winner)
end

--- For scope.lua and spawn.lua, which build on the same pieces.
task.on_end = on_end
task.new, task.attend, task.outcome, task.forbidden = new, attend, outcome, forbidden

-- Timers --------------------------------------------------------------------

--- @class Timer
local Timer = {}
Timer.__index = Timer

local function timer_of(where, ms, fn, again)
  options.argument(where, "the time", ms, options.checks.ms, 3)
  options.argument(where, "fn", fn, options.checks.callback, 3)
  local self = setmetatable({ referenced = true }, Timer)
  local function fire()
    if again then
      self.entry = clock.after(ms, fire)
      self.entry:set_ref(self.referenced)
      if self.task and self.task.status == "running" then return end
    end
    self.task = new(fn)
  end
  self.entry = clock.after(ms, fire)
  return self
end

--- Runs fn as a task, once, `ms` from now.
--- @param ms integer
--- @param fn function
--- @return Timer
function task.after(ms, fn) return timer_of("after", ms, fn, false) end

--- Runs fn as a task every `ms`; a tick whose handler still waits is skipped.
--- @param ms integer
--- @param fn function
--- @return Timer
function task.every(ms, fn) return timer_of("every", ms, fn, true) end

--- No further tick. A handler that runs goes on.
function Timer:stop() self.entry:stop() end
Timer.__close = Timer.stop

--- Keeps the loop alive (the default).
function Timer:ref()
  self.referenced = true
  self.entry:set_ref(true)
  return self
end

function Timer:unref()
  self.referenced = false
  self.entry:set_ref(false)
  return self
end

return task
