--- Starting and running other programs.

local exec = require "orrery.exec"
local pipeline = require "orrery.pipeline"
local run = require "orrery.run"
local spawn = require "orrery.spawn"

return {
  spawn = spawn.spawn,
  exec = exec.exec,
  exec_file = exec.exec_file,
  pipeline = pipeline,
  run = run.run,
  sh = run.sh,
}
