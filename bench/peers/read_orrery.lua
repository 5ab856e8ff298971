--- Measures what reading a child's output costs with Orrery. Parameters and
--- figure as in read.c:
---
---     read_orrery.lua BYTES PROGRAM [ARG...]

local orrery = require "orrery"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local total = 0
local begun = meter.cpu()
local child = orrery.spawn(arg[2], { table.unpack(arg, 3) },
  { stdio = { "ignore", "pipe", "inherit" } })
child.stdout:on("data", function(chunk) total = total + #chunk end)
child:wait_for("close")
assert(total == tonumber(arg[1]), "bytes are missing")
print(("cpu_ms_per_gib %.3f"):format((meter.cpu() - begun) / 1e3
  / (total / (1 << 30))))
