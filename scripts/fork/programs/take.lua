-- Answers the connections that it is sent. Started by socket.lua.

local process = require "orrery".process

process.on("message", function(message, socket)
  if message == "socket" then socket:finish "answered by the child" end
end)
