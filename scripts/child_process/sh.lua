-- The same as exec for tasks: `sh` waits for the command line and returns what
-- came of it, also if it failed. Prints the number of scripts here, then false
-- and an exit code.

local orrery = require "orrery"

local count = assert(orrery.sh("ls *.lua | wc -l",
  { cwd = orrery.process.script_dir, trim = true }))
print("scripts", count.stdout)
local failed = orrery.sh("exit 3")
print(failed.ok, failed.code)
