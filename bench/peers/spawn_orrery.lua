--- Measures what a start costs with Orrery, one after the other, stdio ignored.
--- Further parameters and figures as in spawn.c:
---
---     spawn_orrery.lua event|task COUNT HEAP_MIB ALIVE SLEEPER PROGRAM...

local orrery = require "orrery"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local style, count, heap_mib, alive = arg[1], tonumber(arg[2]),
  tonumber(arg[3]), tonumber(arg[4])
local sleeper, program, args = arg[5], arg[6], { table.unpack(arg, 7) }
local options = { stdio = "ignore" }

local styles = {}

--- Makes each start in the `exit` listener of the one before.
function styles.event(n)
  local finished = orrery.events.new()
  local function start()
    if n == 0 then return finished:emit("finished") end
    n = n - 1
    orrery.spawn(program, args, options):on("exit", start)
  end
  start()
  finished:wait_for("finished")
end

--- Starts and waits in a task.
function styles.task(n)
  for _ = 1, n do
    assert(orrery.spawn(program, args, options):wait() == 0)
  end
end

local heap <const> = meter.heap(heap_mib)
local sleepers = {}
for i = 1, alive do
  sleepers[i] = orrery.spawn(sleeper, { "sleep" }, options)
end
meter.measure(count, styles[style])
assert(#heap == heap_mib)
for _, child in ipairs(sleepers) do child:kill("SIGKILL") end
for _, child in ipairs(sleepers) do child:wait() end
