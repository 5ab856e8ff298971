-- A command line by a shell, with its output collected: first in Node's shape,
-- with a callback, and then as tasks do it. Prints the number of files twice.

local orrery = require "orrery"

local options = { cwd = orrery.process.script_dir }

orrery.exec("ls | wc -l", options, function(err, stdout)
  if err then return print(err.message) end
  print("by callback", (stdout:gsub("%s", "")))
end)

orrery.sleep(100)
local result = assert(orrery.sh("ls | wc -l", { cwd = options.cwd, trim = true }))
print("in a task", result.stdout)
