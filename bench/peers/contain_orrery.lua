--- Measures what it costs to start a program whose family is kept, and to wait
--- for its end:
---
---     contain_orrery.lua bare|keeper|cgroup COUNT PROGRAM
---
--- Prints CPU time of all processes, keepers too, and wall time, in us for each
--- start; of a keeper that has nothing to do its memory, in KiB.

package.cpath = "build/bench/?.so;" .. package.cpath

local counts = require "counts"
local orrery = require "orrery"
local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local road, count, program = arg[1], tonumber(arg[2]), arg[3]
local options = { stdio = "ignore", contain = road ~= "bare" and road or nil }

local function run(n)
  for _ = 1, n do
    assert(orrery.spawn(program, {}, options):wait() == 0)
  end
end

local function cpu() return meter.cpu() + counts.children_cpu() end

local function print_memory(pid)
  local file <close> = assert(io.open(("/proc/%d/smaps_rollup"):format(pid)))
  local text, private = file:read("a"), 0
  for kib in text:gmatch("Private_%a+:%s*(%d+)") do private = private + kib end
  print(("rss_kib %d"):format(text:match("Rss:%s*(%d+)")))
  print(("pss_kib %d"):format(text:match("Pss:%s*(%d+)")))
  print(("private_kib %d"):format(private))
end

run(count // 10 + 1)
local wall, used = uv.hrtime(), cpu()
run(count)
wall = uv.hrtime() - wall
orrery.sleep(50) -- in which the last keeper is reaped
used = cpu() - used
print(("all_cpu_us_per_op %.3f"):format(used / count))
print(("wall_us_per_op %.3f"):format(wall / 1e3 / count))

if road == "keeper" then
  local child <close> = orrery.spawn(program, { "sleep" }, options)
  local file <close> = assert(io.open(("/proc/%d/stat"):format(child.pid)))
  orrery.sleep(50) -- in which it comes to rest
  print_memory(file:read("a"):match("^%d+ %b() %a (%d+)"))
end
