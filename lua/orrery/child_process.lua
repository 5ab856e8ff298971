--- Starting and running other programs.

local run = require "orrery.run"
local spawn = require "orrery.spawn"

return {
  spawn = spawn.spawn,
  run = run.run,
  sh = run.sh,
}
