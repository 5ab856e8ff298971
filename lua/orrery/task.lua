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

--- Returns the keys of a table as a list: its own list comes first, in order.
local function keys_of(items)
  local keys = {}
  for i in ipairs(items) do keys[i] = i end
  local count = #keys
  for key in pairs(items) do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      keys[#keys + 1] = key
    end
  end
  return keys
end

--- Returns the tasks of a table, whose functions become tasks, as a list, and
--- the key of each. Raises, and starts none, if an item is neither.
local function tasks_of(where, items)
  if type(items) ~= "table" then
    options.raise("%s: a table of tasks expected, got %s", where,
      type(items))
  end
  local tasks, keys = {}, keys_of(items)
  for _, key in ipairs(keys) do
    local item = items[key]
    if getmetatable(item) ~= scheduler.Task and type(item) ~= "function" then
      options.raise("%s: item %s is a %s: give a task, or what is to be "
        .. "called, in a function: function() return … end", where,
        options.show(key), type(item))
    end
  end
  for i, key in ipairs(keys) do
    local item = items[key]
    tasks[i] = type(item) == "function" and new(item) or item
    tasks[i].observed_ = true
  end
  return tasks, keys
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

--- Waits until all tasks have ended, or one has failed, and returns that one.
local function wait_all(tasks, what)
  return scheduler.wait(function(wake)
    local left, undos = #tasks, {}
    for _, t in ipairs(tasks) do
      undos[#undos + 1] = on_end(t, function()
        left = left - 1
        if t.status == "failed" then return wake(t) end
        if left == 0 then wake() end
      end)
    end
    return function()
      for _, undo in ipairs(undos) do undo() end
    end
  end, nil, what)
end

--- Waits for all tasks. The first error cancels the rest, waits for them and is
--- raised. [w]
---
---     local sizes = all { usr = function() return du "/usr" end, … }
---
--- @param items table<any, Task|function> a list, or by name, or both;
---   functions are started as tasks
--- @return table<any, any> results the first result of each, by the same keys:
---   a list for a list, in which nil leaves a hole
function task.all(items)
  check_may_wait("all")
  local tasks, keys = tasks_of("all", items)
  local failed = tasks[1] and attend(tasks, wait_all, tasks, "all")
  if failed then
    stop(tasks, "another task of all failed")
    outcome(failed)
  end
  local results = {}
  for i, t in ipairs(tasks) do results[keys[i]] = (outcome(t)) end
  return results
end

--- Waits for the first task to end, and gives what `join` would give; the
--- others are cancelled and awaited. [w]
--- @param items table<any, Task|function> as of all, not empty
--- @return any ... its results; nil, err if it was cancelled
--- @return Error? err (ECANCELED)
function task.race(items)
  check_may_wait("race")
  local tasks = tasks_of("race", items)
  if #tasks == 0 then
    options.raise("race: the table is empty, so nothing can come first")
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
