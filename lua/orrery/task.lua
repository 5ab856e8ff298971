--- Tasks, and what they are composed with: deadline, all, race, scopes, timers.

local joining = require "orrery.runtime.joining"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local subordinates = require "orrery.task.subordinates"
local timers = require "orrery.task.timers"

-- Needed by the first task that is cancelled, when there may be no fd left to
-- load them by.
require "orrery.runtime.errors"
require "orrery.runtime.unwinding"

local new, check_may_wait = scheduler.new, scheduler.check_may_wait
local on_end, outcome = joining.on_end, joining.outcome
local attend, stop = subordinates.attend, subordinates.stop

local task = {
  go = scheduler.go,
  sleep = scheduler.sleep,
  wait = scheduler.wait,
  current = scheduler.current,
  after = timers.after,
  every = timers.every,
}

--- Runs fn(...) as a task of its own for at most `ms`, and then cancels it.
--- Raises what it raises. [w]
--- @param ms integer
--- @param fn function
--- @param ... any fn's arguments
--- @return any ... fn's results; nil, err if the time is up
--- @return Error? err (ETIMEDOUT)
function task.deadline(ms, fn, ...)
  options.argument("deadline", "the time", ms, options.checks.ms)
  options.argument("deadline", "fn", fn, options.checks.callback)
  check_may_wait("deadline")
  local inner = new(fn, ...)
  inner.observed_ = true
  local ended, err = attend({ inner }, joining.wait_end, inner, ms,
    "deadline")
  if ended then return outcome(inner) end
  stop({ inner }, "deadline")
  if inner.status == "failed" then return outcome(inner) end
  return nil, err
end

--- Returns the tasks of a list, whose functions become tasks. Raises, and
--- starts none, if an item is neither.
local function tasks_of(where, list)
  if type(list) ~= "table" then
    options.raise("%s: a list of tasks expected, got %s", where,
      type(list))
  end
  local tasks = {}
  for i, item in ipairs(list) do
    if getmetatable(item) ~= scheduler.Task and type(item) ~= "function" then
      options.raise("%s: item %d must be a task or a function, got %s",
        where, i, type(item))
    end
  end
  for i, item in ipairs(list) do
    tasks[i] = type(item) == "function" and new(item) or item
    tasks[i].observed_ = true
  end
  return tasks
end

--- Waits until one of several tasks has ended, and returns its place.
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

--- Waits for all tasks. The first error cancels the rest, waits for them and is
--- raised. [w]
--- @param list (Task|function)[] functions are started as tasks
--- @return any[] results the first result of each, in order, and `n`
function task.all(list)
  check_may_wait("all")
  local tasks = tasks_of("all", list)
  local results, left = { n = #tasks }, { table.unpack(tasks) }
  while #left > 0 do
    local i = attend(left, wait_any, left, "all")
    local ended = table.remove(left, i)
    if ended.status == "failed" then
      stop(left, "another task of all failed")
      outcome(ended)
    end
  end
  for i, t in ipairs(tasks) do results[i] = (outcome(t)) end
  return results
end

--- Waits for the first task to end, and gives what `join` would give; the
--- others are cancelled and awaited. [w]
--- @param list (Task|function)[] not empty; functions are started as tasks
--- @return any ... its results; nil, err if it was cancelled
--- @return Error? err (ECANCELED)
function task.race(list)
  check_may_wait("race")
  local tasks = tasks_of("race", list)
  if #tasks == 0 then
    options.raise("race: the list is empty, so nothing can come first")
  end
  local winner = tasks[attend(tasks, wait_any, tasks, "race")]
  stop(tasks, "another task was first")
  return outcome(winner)
end

--- Runs fn(scope), and returns when no task and no child of the scope is left:
--- tasks are cancelled, children stopped, all awaited. The first task that
--- fails cancels the rest and is raised. [w]
--- @param fn fun(s: Scope): ...
--- @return any ... fn's results; nil, err if its body was cancelled
--- @return Error? err (ECANCELED)
function task.scope(fn)
  options.argument("scope", "fn", fn, options.checks.callback)
  check_may_wait("scope")
  return require "orrery.task.scope".run(fn)
end

return task
