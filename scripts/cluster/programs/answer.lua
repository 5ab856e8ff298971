-- Answers a message. Started by send.lua.

local process = require "orrery".process

process.on("message", function(message)
  print("the worker got name", message.name)
  process.send { age = 9 }
end)
