-- Copies its input to its output in capitals. Started by the scripts above.

local process = require "orrery".process

process.stdin:on("data", function(chunk) io.write(chunk:upper()) end)
