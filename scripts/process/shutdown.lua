-- Cleans up before the end, whatever brings it: Ctrl-C, SIGTERM, a closed pipe
-- or the end of the script. Here it is sent SIGTERM while it works, finishes
-- what it has begun, and ends by that signal.

local orrery = require "orrery"
local process = orrery.process

local working = true
process.on_shutdown(function(reason)
  print("shutting down: " .. reason)
  working = false
  orrery.sleep(20) -- hooks may wait, ten seconds at most by default
  print "all done"
end)

orrery.after(30, function() process.kill(process.pid, "SIGTERM") end)
while working do
  print "working"
  orrery.sleep(20)
end
orrery.sleep(5000)
