--- Counts how often an engine that has nothing to do wakes up in SECONDS, and
--- its keepers and its forked child with it:
---
---     idle_orrery.lua SECONDS
---
--- The engine has 100 children, 10 of them contained, a channel and a listening
--- server. The kernel counts each time that a process goes to sleep again.

local orrery = require "orrery"

local CHILDREN, CONTAINED = 100, 10
local program = "build/bench/nothing"

--- Is the engine.
local function engine()
  orrery.net.create_server():listen(0, "127.0.0.1")
  local talker = orrery.fork(arg[0], { "talker" })
  talker:on("message", function() end)
  for i = 1, CHILDREN do
    orrery.spawn(program, { "sleep" },
      { stdio = "ignore", contain = i <= CONTAINED and "keeper" or nil })
  end
  orrery.process:send "ready"
end

--- Is the other end of the engine's channel.
local function talker()
  orrery.process:on("message", function() end)
end

local function read(pid, name)
  local file <close> = assert(io.open(("/proc/%d/%s"):format(pid, name)))
  return file:read("a")
end

--- Returns how often a process, and all below it, went to sleep so far.
local function sleeps(pid)
  local own = 0
  for n in read(pid, "status"):gmatch("voluntary_ctxt_switches:%s*(%d+)") do
    own = own + n
  end
  local children = read(pid, ("task/%d/children"):format(pid))
  local below, processes = 0, 1
  for child in children:gmatch "%d+" do
    local _, of_child, count = sleeps(child)
    below, processes = below + of_child, processes + count
  end
  return own, own + below, processes
end

if arg[1] == "talker" then return talker() end
if arg[1] == "engine" then return engine() end

local child <close> = orrery.fork(arg[0], { "engine" },
  { die_with_parent = true, contain = "keeper" })
assert(child:receive() == "ready")
orrery.sleep(1000) -- until all has come to rest
local own, all = sleeps(child.pid)
orrery.sleep(tonumber(arg[1]) * 1000)
local own_then, all_then, processes = sleeps(child.pid)
print(("wake_ups %d"):format(own_then - own))
print(("wake_ups_of_all %d"):format(all_then - all))
print(("processes %d"):format(processes))
