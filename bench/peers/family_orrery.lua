--- Measures how long Orrery takes to end a family of daemons, from `stop` until
--- it is empty:
---
---     family_orrery.lua cgroup|keeper|walk COUNT
---
--- Prints wall time, and CPU time of this process from then on and of a keeper
--- from its start, in ms.

package.cpath = "build/bench/?.so;" .. package.cpath

local counts = require "counts"
local orrery = require "orrery"
local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local road, count = arg[1], arg[2]

local child = orrery.spawn("build/bench/family", { "live", count }, {
  contain = road ~= "walk" and road or nil,
  stdio = { "ignore", "pipe", "inherit" },
})
assert(child.stdout:lines()() == "ready")
local wall, cpu = uv.hrtime(), meter.cpu()
assert(not child:stop { grace = 0 }.left)
wall, cpu = uv.hrtime() - wall, meter.cpu() - cpu
orrery.sleep(50) -- in which the keeper is reaped

-- What was reaped are the keeper, and what it reaped itself.
local members = road == "keeper" and child.usage.family or child.usage
local keeper = counts.children_cpu() - members.user - members.system
print(("wall_ms %.3f"):format(wall / 1e6))
print(("cpu_ms %.3f"):format((cpu + keeper) / 1e3))
