-- A child that outlives this program: in a session of its own, writing to a file,
-- and not held by the loop. Prints the child's pid and the file, and ends.

local orrery = require "orrery"

local path = os.tmpname()
local child = orrery.spawn("orrery",
  { orrery.process.script_dir .. "/programs/dates.lua" },
  { detached = true, stdio = { "ignore", { file = path, mode = "w" }, "ignore" } })
child:unref()
print(child.pid, path)
