--- Scopes: a block that no task and no child outlives.

local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local subordinates = require "orrery.task.subordinates"
local task = require "orrery.task"

local scope = {}

--- @class Scope
local Scope = { __name = "orrery.Scope" }
Scope.__index = Scope

function Scope.__tostring(self)
  return ("scope: %s"):format(self.closed and "closed" or "open")
end

local function check_open(self, where)
  if self.closed then
    options.raise("%s: the scope is closed", where)
  end
end

--- A task of the scope has ended: its failure is the scope's.
local function task_ended(self, ended)
  self.tasks[ended] = nil
  if ended.status == "failed" and not self.failure then
    self.failure = ended
    self:cancel("another task of the scope failed")
  end
end

--- Starts a task that the scope owns.
--- @param fn function
--- @return Task
function Scope:go(fn, ...)
  check_open(self, "scope:go")
  options.argument("scope:go", "fn", fn, options.checks.callback)
  local t = scheduler.new(fn, ...)
  t.observed_ = true
  t.on_end_ = function(ended) task_ended(self, ended) end
  self.tasks[t] = true
  return t
end

local function with_scope(self, opts)
  local copy = {}
  for name, value in next, opts or {} do copy[name] = value end
  copy.scope = self
  return copy
end

--- spawn's arguments (command, args?, options?) with this scope as an option.
local function scoped_arguments(self, args, opts)
  if opts == nil and type(args) == "table" and #args == 0 and next(args) then
    args, opts = nil, args
  end
  return args, with_scope(self, opts)
end

--- `spawn` of a child that is stopped when the scope ends.
--- @return Child
function Scope:spawn(command, args, opts)
  check_open(self, "scope:spawn")
  if type(command) == "table" then
    return require "orrery.child_process".spawn(command, with_scope(self, args))
  end
  return require "orrery.child_process".spawn(command,
    scoped_arguments(self, args, opts))
end

--- `fork` of a child that is stopped when the scope ends.
--- @return Child
function Scope:fork(module_path, args, opts)
  check_open(self, "scope:fork")
  return require "orrery.child_process".fork(module_path,
    scoped_arguments(self, args, opts))
end

--- `run` of a child that is stopped when the scope ends. [w]
--- @return Result?, Error?
function Scope:run(file, args, opts)
  check_open(self, "scope:run")
  if type(file) == "table" then
    return require "orrery.child_process".run(file, with_scope(self, args))
  end
  return require "orrery.child_process".run(file,
    scoped_arguments(self, args, opts))
end

--- Cancels all tasks of the scope, and its body.
--- @param reason any?
function Scope:cancel(reason)
  self.body:cancel(reason)
  for t in pairs(self.tasks) do t:cancel(reason) end
end

--- A child joins or leaves; called by spawn.
function Scope:adopt(child) self.children[child] = true end
function Scope:release(child) self.children[child] = nil end

local function keys(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  return list
end

--- Ends everything: all signals go out before the first wait.
local function leave(self)
  self.closed = true
  local stopping = {}
  for _, child in ipairs(keys(self.children)) do
    stopping[#stopping + 1] = task.go(child.stop, child, { grace = 2000 })
  end
  subordinates.stop(keys(self.tasks), "the scope ended")
  for _, t in ipairs(stopping) do scheduler.shield(t.join, t) end
end

--- Runs fn(scope) and returns its results once nothing of the scope is left:
--- its tasks cancelled, its children stopped, all awaited. The first task that
--- fails cancels the rest and is raised here. [w]
--- @param fn fun(s: Scope): ...
--- @return any ...
function scope.run(fn)
  local self = setmetatable({ tasks = {}, children = {} }, Scope)
  self.body = scheduler.new(fn, self)
  self.body.observed_ = true
  local ok, err = pcall(subordinates.attend, { self.body },
    scheduler.wait_end, self.body, nil, "scope")
  if self.body.status == "failed" and not self.failure then
    self.failure = self.body
  end
  leave(self)
  if not ok then error(err, 0) end
  if self.failure then scheduler.outcome(self.failure) end
  return scheduler.outcome(self.body)
end

return scope
