--- Puts the engine below init: `--init`, and what it does where it is pid 1.

local core = require "orrery.core"
local keeper = require "orrery.child_process.keeper"
local started = require "orrery.runtime.started"

local FAILED = 1 -- exit code

--- Becomes `orrery-keeper init` (core/keeper/init.c), whose child is started by
--- the same command line. That child is not pid 1, so it does not come here.
--- Where this fails, it says so; it ends the process if the user has asked for
--- it, and else returns.
--- @param args string[] as Lua's `arg`
--- @param option integer? where `--init` is among them
return function(args, option)
  local words, first = {}, 0
  while args[first - 1] do first = first - 1 end
  for i = first, #args do
    if i ~= option then words[#words + 1] = args[i] end
  end
  local _, errno = core.image().execve(keeper.path,
    { "orrery-keeper", "init", started.exec_path or words[1],
      table.unpack(words) })
  io.stderr:write("orrery: ", option and "--init" or "pid 1, to reap orphans,",
    " needs ", keeper.path, ", which make build makes: ",
    core.strerror(errno), "\n")
  if option then core.process():exit(FAILED) end
end
