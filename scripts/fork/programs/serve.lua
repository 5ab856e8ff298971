-- Serves HTTP on the socket that it is sent. Started by server.lua.

local orrery = require "orrery"
local process = orrery.process

process.on("message", function(message, server)
  if message ~= "server" then return end
  local http_server = orrery.http.create_server(function(_, res)
    res:finish "answered by the child"
  end)
  http_server:listen(server, function() process.send "listening" end)
  process.on("disconnect", function() http_server:close() end)
end)
