-- Ends a daemon that forks away: into a session of its own, and its parent has
-- ended, so it is in nobody's group and nobody's child. A bare child leaves it
-- behind; with `contain` it stays in the family. Prints whether it is there.
local orrery = require "orrery"
local process = orrery.process

local PROGRAM = "(setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' &)"
local STDIO = {"ignore", "pipe", "inherit"}

local function start(options)
  local child = orrery.spawn("sh", {"-c", PROGRAM}, options)
  local daemon = tonumber(child.stdout:lines()())
  child:wait()
  return child, daemon
end

-- Before.
do
  local _ <close>, daemon = start {stdio = STDIO}
  print("bare", process.kill(daemon, 0))      --> true
  process.kill(daemon)
end

-- After. At the end of the block the family is stopped: SIGTERM, 2 s, SIGKILL.
local family
do
  local child <close> = start {stdio = STDIO, contain = true}
  family = child
  print("contained", child:kill_tree(0))      --> true: it is not empty
end
print("stopped", family:kill_tree(0))         --> false
