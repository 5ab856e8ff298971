--- Starting and running other programs.

local exec = require "orrery.child_process.exec"
local fork = require "orrery.child_process.fork"
local pipeline = require "orrery.child_process.pipeline"
local run = require "orrery.child_process.run"
local spawn = require "orrery.child_process.spawn"
local sync = require "orrery.child_process.sync"

return {
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
