-- Accepts connections of the server that it is sent, too. Started by
-- server.lua.

local process = require "orrery".process

process.on("message", function(message, server)
  if message ~= "server" then return end
  server:on("connection", function(socket)
    socket:finish "answered by the child"
  end)
  server:on("listening", function() process.send "listening" end)
  process.on("disconnect", function() server:close() end)
end)
