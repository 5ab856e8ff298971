--- Measures what a pipeline of three programs costs with Orrery: BYTES go
--- through it. The figure is CPU time of this process in ms, from the call to
--- the result; what the whole process takes, own_cpu.c tells.
---
---     pipeline_orrery.lua BYTES

local orrery = require "orrery"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local begun = meter.cpu()
local result = assert(orrery.pipeline {
  { "head", "-c", arg[1], "/dev/zero" }, { "cat" }, { "wc", "-c" },
})
local cpu = meter.cpu() - begun
assert(result.ok and tonumber(result.stdout) == tonumber(arg[1]),
  "bytes are missing")
print(("cpu_ms %.3f"):format(cpu / 1e3))
