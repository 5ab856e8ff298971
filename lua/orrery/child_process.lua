--- Starting and running other programs.

local arguments = require "orrery.child_process.arguments"
local exec = require "orrery.child_process.exec"
local fork = require "orrery.child_process.fork"
local pipeline = require "orrery.child_process.pipeline"
local run = require "orrery.child_process.run"
local spawn = require "orrery.child_process.spawn"
local sync = require "orrery.child_process.sync"

local child_process = {
  spawn = spawn.spawn,
  fork = fork.fork,
  exec = exec.exec,
  exec_file = exec.exec_file,
  pipeline = pipeline,
  run = run.run,
  sh = run.sh,
  spawn_sync = sync.spawn_sync,
  exec_sync = sync.exec_sync,
  exec_file_sync = sync.exec_file_sync,
}

--- Calls spawn, fork or run with a scope as one more option; for
--- task/scope.lua.
--- @param scope Scope
--- @param name "spawn"|"fork"|"run"
--- @param ... any the function's arguments
--- @return any ... its results
function child_process.in_scope_(scope, name, ...)
  return child_process[name](arguments.with("scope", scope, ...))
end

return child_process
