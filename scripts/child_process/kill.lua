-- Signals to a child: SIGTERM, the default, only asks it to end, and this one
-- has an answer to that; SIGKILL it cannot refuse.
-- Prints "ready", "not yet", and how it ended: 137 SIGKILL.

local orrery = require "orrery"

local child = orrery.spawn("sh",
  { "-c", "trap 'echo not yet' TERM; echo ready; while :; do sleep 0.1; done" })
for line in child.stdout:lines() do
  print(line)
  if line == "ready" then child:kill() else child:kill("SIGKILL") end
end
print(child:wait())
