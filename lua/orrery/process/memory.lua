--- Memory: how much this process uses, and how much it may still use.

local uv = require "orrery.runtime.luv"
local cgroup = require "orrery.runtime.cgroup"
local core = require "orrery.core"

local UNLIMITED = 1 << 62 -- version 1 writes a number near 2^63 for no limit

local memory = {}

local self_process = core.process()

--- Returns the memory in bytes: resident; malloc's arena; what Lua uses of it;
--- the buffers of the core, as of messages that wait to be sent.
--- @return {rss: integer, heap_total: integer, heap_used: integer,
---   external: integer} bytes
function memory.memory_usage()
  local total, ballast = self_process:heap()
  return {
    rss = math.tointeger(uv.resident_set_memory()),
    heap_total = math.max(total - ballast, 0),
    heap_used = math.tointeger(collectgarbage("count") * 1024 // 1) - ballast,
    external = self_process:buffered(),
  }
end

--- Returns the number after `name` in a file of lines, or the file's only one;
--- nil if there is none.
local function number_in(path, name)
  local file <close> = io.open(path, "rb")
  local text = file and file:read("a")
  if not text then return nil end
  local digits = ("\n" .. text):match("\n" .. (name or "") .. "(%d+)")
  return digits and math.tointeger(tonumber(digits))
end

--- Calls fn(dir) for a folder and those above it, up to `top`.
local function each_above(dir, top, fn)
  while dir and #dir >= #top do
    fn(dir)
    dir = dir:match("^(.+)/[^/]*$")
  end
end

--- Returns the least limit of our control group and those above, and what that
--- group has taken; nil if there is no limit.
local function tightest_v2()
  local dir, top = cgroup.own()
  local least, room
  if not dir then return nil end
  each_above(dir, top, function(at)
    local max = number_in(at .. "/memory.max")
    if not max then return end
    local left = max - (number_in(at .. "/memory.current") or 0)
    least = math.min(least or max, max)
    room = math.min(room or left, left)
  end)
  return least, room
end

local function tightest_v1()
  local dir = cgroup.own("memory")
  local max = dir
    and number_in(dir .. "/memory.stat", "hierarchical_memory_limit ")
  if not max or max >= UNLIMITED then return nil end
  return max, max - (number_in(dir .. "/memory.usage_in_bytes") or 0)
end

local function tightest()
  local max, room = tightest_v2()
  if max then return max, room end
  return tightest_v1()
end

--- Returns the memory that this process may use at most, by its control group
--- and those above it (memory.max of cgroups(7), version 2 or 1).
--- @return integer bytes 0: there is no such limit
function memory.constrained_memory()
  return (tightest()) or 0
end

--- Returns the memory that is left for this process: what the system has
--- (MemAvailable of proc_meminfo(5)), or what its control groups leave of it.
--- @return integer bytes
function memory.available_memory()
  local free = number_in("/proc/meminfo", "MemAvailable: +")
  local bytes = free and free * 1024
    or math.tointeger(uv.get_free_memory() // 1)
  local _, room = tightest()
  return math.max(0, math.min(bytes, room or bytes))
end

return memory
