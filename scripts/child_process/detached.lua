-- A child that outlives this program: it has a session of its own, writes to a
-- file, and the loop does not wait for it. Prints the child's pid and the file.

local orrery = require "orrery"
local process = orrery.process

local path = os.tmpname()
local cli = process.script_dir .. "/../../bin/orrery"
local dates = process.script_dir .. "/programs/dates.lua"
local child = orrery.spawn(process.exec_path, { cli, dates }, {
  detached = true,
  stdio = { "ignore", { file = path, mode = "w" }, "ignore" },
})
child:unref()
print(child.pid, path)
