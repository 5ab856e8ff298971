-- Where a child's output goes: where ours goes, into a file, or nowhere. Prints
-- "inherited", and then what was written into the file.

local orrery = require "orrery"

local path = os.tmpname()
orrery.spawn("echo", { "inherited" }, { stdio = "inherit" }):wait()
orrery.spawn("echo", { "into a file" },
  { stdio = { "ignore", { file = path, mode = "w" } } }):wait()
orrery.spawn("echo", { "nowhere" }, { stdio = "ignore" }):wait()
for line in io.lines(path) do print(line) end
os.remove(path)
