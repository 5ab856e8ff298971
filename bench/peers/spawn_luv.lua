--- Measures what a start costs with luv alone: uv.spawn, one after the other,
--- stdio ignored. Parameters and figures as in spawn.c:
---
---     spawn_luv.lua COUNT HEAP_MIB ALIVE SLEEPER PROGRAM [ARG...]

local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local count, heap_mib, alive = tonumber(arg[1]), tonumber(arg[2]),
  tonumber(arg[3])
local sleeper, program = arg[4], arg[5]
local options = { args = { table.unpack(arg, 6) } }

--- Starts the program n times, each from the exit of the one before.
local function run(n)
  local function start()
    if n == 0 then return end
    n = n - 1
    local handle
    handle = assert(uv.spawn(program, options, function()
      handle:close()
      start()
    end))
  end
  start()
  uv.run()
end

--- Starts the sleepers, unreferenced, so that uv.run returns while they sleep.
local function start_sleepers()
  local all = {}
  for i = 1, alive do
    local handle
    handle = assert(uv.spawn(sleeper, { args = { "sleep" } }, function()
      handle:close()
    end))
    handle:unref()
    all[i] = handle
  end
  return all
end

local heap <const> = meter.heap(heap_mib)
local sleepers <const> = start_sleepers()
meter.measure(count, run)
assert(#heap == heap_mib and #sleepers == alive)
os.exit() -- the sleepers end with us: to reap them would take n * n / 2 calls
