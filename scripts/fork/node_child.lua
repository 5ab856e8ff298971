-- A child in JavaScript: Node runs it, and the channel speaks JSON. Prints
-- 2^200, which none of Lua's numbers can hold, and how the child ended.

local orrery = require "orrery"

local child = orrery.fork(orrery.process.script_dir .. "/programs/power.js", {},
  { exec_path = "node" })
child:on("error", function(err) print("could not start: " .. err.message) end)
child:send { base = 2, exponent = 200 }
local answer = child:receive()
child:disconnect()

print(answer)
print(child:wait())
