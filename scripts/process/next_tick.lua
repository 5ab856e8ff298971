-- next_tick puts a function off until the current one is done, but before any
-- event. Prints: now, next tick, timer.

local orrery = require "orrery"

orrery.after(0, function() print "timer" end)
orrery.process.next_tick(print, "next tick")
print "now"
