-- A script in a process of its own, and a message each way. Prints both.

local orrery = require "orrery"

local child = orrery.fork(orrery.process.script_dir .. "/programs/answer.lua")
child:on("message", function(message)
  print("the parent got age", message.age)
  child:disconnect()
end)
child:on("error", function(err) print("could not start: " .. err.message) end)
child:send { name = "zfpx" }
