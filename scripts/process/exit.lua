-- Ends the program at once, with an exit code for the one that started it:
-- timers and what stands below never run.
-- Prints "leaving" and ends with 3.

local orrery = require "orrery"

orrery.after(10, function() print "never" end)
print "leaving"
orrery.process.exit(3)
print "never"
