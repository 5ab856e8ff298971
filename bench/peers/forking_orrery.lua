--- Measures how long Orrery's fork takes until the child has answered a
--- message, and what memory the child has. Figures as in forking.lua:
---
---     forking_orrery.lua COUNT

local orrery = require "orrery"

local process = orrery.process

if process.connected then
  process:on("message", function(message) process:send(message) end)
  return
end

local forking = dofile(arg[0]:match("^.*/") .. "forking.lua")

forking.run(tonumber(arg[1]), function(answered)
  local child = orrery.fork(arg[0])
  child:send "hello"
  child:once("message", function()
    answered(child.pid, function(exited)
      if exited then child:on("exit", exited) end
      child:disconnect()
    end)
  end)
end)
