-- Answers a message. Started by messages.lua.

local process = require "orrery".process

process.on("message", function(message)
  print("the child got name", message.name)
  process.send { age = 9 }
end)
