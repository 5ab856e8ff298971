-- Sends numbers and texts back twice as big, and answers requests likewise.
-- Started by the examples of docs/channel.md.

local process = require "orrery".process

local function double(value)
  if math.type(value) then return 2 * value end
  if type(value) == "string" then return value:rep(2) end
  error("neither a number nor a text", 0)
end

process.on("message", function(message) process.send(double(message)) end)
process.handle(double)
