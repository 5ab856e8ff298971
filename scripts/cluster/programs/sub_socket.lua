-- Answers the connections that it is sent, and reports each. Started by
-- socket.lua.

local process = require "orrery".process

process.on("message", function(message, socket)
  if message ~= "socket" then return end
  socket:finish "answered by the worker"
  process.send "the worker has answered one"
end)
