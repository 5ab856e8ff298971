-- A child that outlives this program: it has a session of its own, writes to a
-- file, and the loop does not wait for it. Prints the child's pid and the file.

local orrery = require "orrery"

local path = os.tmpname()
local dates = orrery.process.script_dir .. "/programs/dates.lua"
local child = orrery.spawn("orrery", { dates }, {
  detached = true,
  stdio = { "ignore", { file = path, mode = "w" }, "ignore" },
})
child:unref()
print(child.pid, path)
