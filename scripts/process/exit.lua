-- Ending by process.exit: listeners of `exit` run first, timers never do.
-- Prints "leaving with 3" and ends with 3.

local orrery = require "orrery"
local process = orrery.process

process.on("exit", function(code)
  print("leaving with " .. code)
end)
orrery.after(1000, function() print "never" end)
process.exit(3)
