-- Listens for SIGINT instead of ending by it: Ctrl-C prints a line, the third
-- one ends the program. Here it sends them to itself.

local orrery = require "orrery"
local process = orrery.process

local count = 0
local timer = orrery.every(10, function()
  process.kill(process.pid, "SIGINT")
end)
process.on("SIGINT", function(name, number)
  count = count + 1
  print(("%s (%d), number %d"):format(name, number, count))
  if count == 3 then timer:stop() end
end)
