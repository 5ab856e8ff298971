-- Asks the port that its argument names ten times at once; prints the answers.
-- Started by server.lua.

local orrery = require "orrery"

local url = "http://127.0.0.1:" .. orrery.process.argv[1]
for _ = 1, 10 do
  orrery.go(function() print(assert(orrery.http.fetch(url)).body) end)
end
