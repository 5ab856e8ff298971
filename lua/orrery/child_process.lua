--- Starting and running other programs.

local exec = require "orrery.exec"
local fork = require "orrery.fork"
local pipeline = require "orrery.pipeline"
local run = require "orrery.run"
local spawn = require "orrery.spawn"
local sync = require "orrery.sync"

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
