-- Signals to other processes: asks by signal 0 whether a child is there, ends
-- it, and asks again. Prints true, then how it ended, then ESRCH.

local orrery = require "orrery"
local process = orrery.process

local child = orrery.spawn("sleep", { "1000" }, { stdio = "ignore" })
print(process.kill(child.pid, 0))
process.kill(child.pid, "SIGTERM")
print(child:wait())
local _, err = process.kill(child.pid, 0)
print(err.code)
