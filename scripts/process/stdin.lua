-- Standard input as a stream: prints each piece as it comes, until the end.
--   printf 'hello' | orrery scripts/process/stdin.lua
-- prints "received: hello".

local process = require "orrery".process

process.stdin:on("data", function(chunk)
  process.stdout:write("received: " .. chunk)
end)
process.stdin:on("end", function()
  process.stdout:write("\n")
end)
