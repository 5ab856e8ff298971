--- What tasks are composed with: deadline, all, race, scopes, timers. The public
--- face of the scheduler.

local clock = require "orrery.runtime.clock"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local new, on_end = scheduler.new, scheduler.on_end
local check_may_wait = scheduler.check_may_wait
local outcome, wait_end = scheduler.outcome, scheduler.wait_end
local Task = scheduler.Task

local task = {
  go = scheduler.go,
  sleep = scheduler.sleep,
  wait = scheduler.wait,
  current = scheduler.current,
}

-- Structure ------------------------------------------------------------------

--- Cancels tasks and waits for all, whatever happens to the caller meanwhile.
local function stop_all(tasks, reason)
  for _, t in ipairs(tasks) do
    t.observed = true
    t:cancel(reason)
  end
  for _, t in ipairs(tasks) do
    if t.status == "running" then
      scheduler.shield(wait_end, t, nil, "scope")
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
  options.argument("deadline", "the time", ms, options.checks.ms)
  options.argument("deadline", "fn", fn, options.checks.callback)
  check_may_wait("deadline")
  local inner = new(fn, ...)
  inner.observed = true
  local ended, err = attend(inner, ms, "deadline")
  if ended then return outcome(inner) end
  stop_all({ inner }, "deadline")
  if inner.status == "failed" then return outcome(inner) end
  return nil, err
end

--- Tasks of a list, whose functions become tasks.
local function tasks_of(where, list)
  if type(list) ~= "table" then
    options.raise("%s: a list of tasks expected, got %s", where,
      type(list))
  end
  local tasks = {}
  for i, item in ipairs(list) do
    if getmetatable(item) ~= Task and type(item) ~= "function" then
      options.raise("%s: item %d must be a task or a function, got %s",
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
  return scheduler.wait(function(wake)
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
  check_may_wait("all")
  local tasks = tasks_of("all", list)
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
  check_may_wait("race")
  local tasks = tasks_of("race", list)
  if #tasks == 0 then
    options.raise("race: the list is empty, so nothing can come first")
  end
  local winner = tasks[attend_any(tasks, "race")]
  stop_all(tasks, "another task was first")
  return outcome(winner)
end

task.attend = attend -- for scope.lua

-- Timers ---------------------------------------------------------------------

--- @class Timer
local Timer = {}
Timer.__index = Timer

local function timer_of(where, ms, fn, again)
  options.argument(where, "the time", ms, options.checks.ms)
  options.argument(where, "fn", fn, options.checks.callback)
  local self = setmetatable({ referenced = true }, Timer)
  local function handler()
    if not self.stopped then fn() end
  end
  local function fire()
    if again then
      self.entry = clock.after(ms, fire)
      self.entry:set_ref(self.referenced)
      if self.task and self.task.status == "running" then return end
    end
    self.task = new(handler)
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
function Timer:stop()
  self.stopped = true
  self.entry:stop()
end
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

--- Runs fn(scope) until nothing of the scope is left; see scope.lua. [w]
--- @param fn fun(s: Scope): ...
function task.scope(fn)
  options.argument("scope", "fn", fn, options.checks.callback)
  check_may_wait("scope")
  return require "orrery.task.scope".run(fn)
end

return task
