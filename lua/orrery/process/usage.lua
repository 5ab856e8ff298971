--- What this process measures of itself: time and memory.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local options = require "orrery.runtime.options"

local NS = 1000000000 -- in a second

local usage = {}

local self_process = core.process()
local started = self_process:hrtime()

--- Returns the monotonic time, or what has passed since an earlier result.
--- @param previous integer[]? an earlier result
--- @return integer[] time {seconds, nanoseconds}
function usage.hrtime(previous)
  local now = self_process:hrtime()
  if previous ~= nil then
    if type(previous) ~= "table" or math.type(previous[1]) ~= "integer"
      or math.type(previous[2]) ~= "integer" then
      options.raise("hrtime: the argument must be an earlier result, "
        .. "{seconds, nanoseconds}, got %s", options.got(previous))
    end
    now = now - (previous[1] * NS + previous[2])
  end
  return { now // NS, now % NS }
end

--- Returns the monotonic time in ns.
--- @return integer ns
function usage.hrtime_ns() return self_process:hrtime() end

--- Returns the seconds since this module was loaded, at the process's start.
--- @return number seconds
function usage.uptime() return (self_process:hrtime() - started) / NS end

--- Returns the memory in bytes: resident (nil without /proc); malloc's arena;
--- what Lua uses of it; the core's buffers.
--- @return {rss: integer?, heap_total: integer, heap_used: integer,
---   external: integer} bytes
function usage.memory_usage()
  local total, ballast = self_process:heap()
  return {
    rss = math.tointeger(uv.resident_set_memory()),
    heap_total = math.max(total - ballast, 0),
    heap_used = math.tointeger(collectgarbage("count") * 1024 // 1) - ballast,
    external = 0,
  }
end

return usage
