-- A child that outlives this program: in a session of its own, writing to a file,
-- and not held by the loop. Prints the child's pid and the file, and ends.

local orrery = require "orrery"

local path = os.tmpname()
local child = orrery.spawn("sh",
  { "-c", "for i in 1 2 3 4 5; do date; sleep 0.1; done" },
  { detached = true, stdio = { "ignore", { file = path, mode = "w" }, "ignore" } })
child:unref()
print(child.pid, path)
