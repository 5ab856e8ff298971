--- Measures the longest turn of the loop while families are ended:
---
---     turn_orrery.lua COUNT MEMBERS
---
--- COUNT stops at once, of families of MEMBERS daemons. A turn here is one run
--- of the loop through its phases, so that of several callbacks. Prints the CPU
--- and the wall time of the longest one, without the time in which the loop
--- waited, in ms; and how long all took.

local orrery = require "orrery"
local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local count, members = tonumber(arg[1]), arg[2]
uv.loop_configure("metrics_idle_time")

local families = {}
for i = 1, count do
  families[i] = orrery.spawn("build/bench/family", { "live", members },
    { stdio = { "ignore", "pipe", "inherit" } })
end
for _, child in ipairs(families) do
  assert(child.stdout:lines()() == "ready")
end

local longest_cpu, longest_wall = 0, 0
local cpu, busy

--- Called once in each run of the loop.
local function look()
  local cpu_now, busy_now = meter.cpu(), uv.hrtime() - uv.metrics_idle_time()
  if cpu then
    longest_cpu = math.max(longest_cpu, cpu_now - cpu)
    longest_wall = math.max(longest_wall, busy_now - busy)
  end
  cpu, busy = cpu_now, busy_now
end

orrery.sleep(50)
local hook = uv.new_prepare()
hook:start(look)
local begun = uv.hrtime()
local stops = {}
for i, child in ipairs(families) do
  stops[i] = function() assert(not child:stop { grace = 0 }.left) end
end
orrery.all(stops)
orrery.sleep(0)
hook:close()
print(("cpu_ms %.3f"):format(longest_cpu / 1e3))
print(("wall_ms %.3f"):format(longest_wall / 1e6))
print(("all_ms %.3f"):format((uv.hrtime() - begun) / 1e6))
