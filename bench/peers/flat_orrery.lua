--- Shows whether memory stays flat with Orrery: run("true") again and again in
--- one task. Parameters and figures as meter.flat has them:
---
---     flat_orrery.lua FIRST LAST

local orrery = require "orrery"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

meter.flat(tonumber(arg[1]), tonumber(arg[2]), function(n)
  for _ = 1, n do assert(orrery.run("true").ok) end
end)
