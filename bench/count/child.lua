--- The child of operations.lua: answers a connection with "ok", and sends any
--- other message back.

local process = require "orrery".process

process:on("message", function(message, socket)
  if not socket then return process:send(message) end
  socket:write("ok", function() socket:destroy() end)
end)
