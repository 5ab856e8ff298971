--- Scopes: a block that no task and no child outlives.
---
--- `spawn`, `fork` and `run` of a scope are child_process's, a room above this
--- one: the one exception of spec/layers_spec.lua.

local class = require "orrery.runtime.class"
local joining = require "orrery.runtime.joining"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local subordinates = require "orrery.task.subordinates"
local task = require "orrery.task"

local scope = {}

local STOP_GRACE = 2000 -- ms from SIGTERM to SIGKILL

--- @class Scope
--- @field body_ Task which runs the scope's function
--- @field tasks_ table<Task, true> that run
--- @field children_ table<Child, true> that run
--- @field failure_ Task? the first that has failed
--- @field is_closed_ boolean? it takes no more
local Scope = class "orrery.Scope"

function Scope.__tostring(self)
  return ("scope: %s"):format(self.is_closed_ and "closed" or "open")
end

local function check_open(self, where)
  if self.is_closed_ then
    options.raise("%s: the scope is closed", where)
  end
end

--- Forgets a task that has ended; its failure is the scope's.
local function task_ended(self, ended)
  self.tasks_[ended] = nil
  if ended.status == "failed" and not self.failure_ then
    self.failure_ = ended
    self:cancel("another task of the scope failed")
  end
end

--- Starts fn(...) as a task of the scope. If it fails, the others are
--- cancelled, and the scope raises its error.
--- @param fn function
--- @param ... any fn's arguments
--- @return Task task
function Scope:go(fn, ...)
  check_open(self, "scope:go")
  options.argument("scope:go", "fn", fn, options.checks.callback)
  local t = scheduler.new(fn, ...)
  t.observed_ = true
  t.on_end_ = function(ended) task_ended(self, ended) end
  self.tasks_[t] = true
  return t
end

--- Calls a function of child_process with this scope as an option.
local function start(self, name, ...)
  check_open(self, "scope:" .. name)
  return require "orrery.child_process".in_scope_(self, name, ...)
end

--- Starts a child as orrery.spawn does; it is stopped when the scope ends.
--- @param command string|string[]
--- @param args string[]?
--- @param opts table? spawn's
--- @return Child child without a pid if it could not start
function Scope:spawn(command, args, opts)
  return start(self, "spawn", command, args, opts)
end

--- Starts a child as orrery.fork does; it is stopped when the scope ends.
--- @param module_path string
--- @param args string[]?
--- @param opts table? fork's
--- @return Child child without a pid if it could not start
function Scope:fork(module_path, args, opts)
  return start(self, "fork", module_path, args, opts)
end

--- Runs a program to its end as orrery.run does; it is stopped when the scope
--- ends. [w]
--- @param file string|string[]
--- @param args string[]?
--- @param opts table? run's
--- @return Result? result
--- @return Error? err it could not start
function Scope:run(file, args, opts)
  return start(self, "run", file, args, opts)
end

--- Cancels all tasks of the scope, and its body.
--- @param reason any? err.reason of the tasks
function Scope:cancel(reason)
  self.body_:cancel(reason)
  for t in pairs(self.tasks_) do t:cancel(reason) end
end

--- Takes in a child that runs; called when it is started.
function Scope:adopt_(child) self.children_[child] = true end

--- Forgets a child that has ended.
function Scope:release_(child) self.children_[child] = nil end

local function keys(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  return list
end

--- Ends everything: all signals go out before the first wait.
local function leave(self)
  self.is_closed_ = true
  local stopping = {}
  for _, child in ipairs(keys(self.children_)) do
    stopping[#stopping + 1] = task.go(child.stop, child, { grace = STOP_GRACE })
  end
  subordinates.stop(keys(self.tasks_), "the scope ended")
  for _, t in ipairs(stopping) do scheduler.shield(t.join, t) end
end

--- Runs fn(scope) and returns its results once nothing of the scope is left:
--- its tasks cancelled, its children stopped, all awaited. The first task that
--- fails cancels the rest and is raised here. [w]
--- @param fn fun(s: Scope): ...
--- @return any ... fn's results; nil, err (ECANCELED) if its body was cancelled
function scope.run(fn)
  local self = setmetatable({ tasks_ = {}, children_ = {} }, Scope)
  self.body_ = scheduler.new(fn, self)
  self.body_.observed_ = true
  local ok, err = pcall(subordinates.attend, { self.body_ },
    joining.wait_end, self.body_, nil, "scope")
  if self.body_.status == "failed" and not self.failure_ then
    self.failure_ = self.body_
  end
  leave(self)
  if not ok then error(err, 0) end
  if self.failure_ then joining.outcome(self.failure_) end
  return joining.outcome(self.body_)
end

return scope
