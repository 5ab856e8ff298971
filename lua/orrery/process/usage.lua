--- What this process measures of itself: time, and what it has used.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local started = require "orrery.runtime.started"

local NS = 1000000000 -- in a second
local US = 1000000

local usage = {}

local self_process = core.process()

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

--- Returns the seconds since this library was loaded, at the process's start.
--- @return number seconds
function usage.uptime()
  return (self_process:hrtime() - started.time) / NS
end

local function microseconds(time) return time.sec * US + time.usec end

--- Returns what getrusage(2) tells of this process; the fields that Linux does
--- not fill are 0.
--- @return { user_cpu_time: integer, system_cpu_time: integer,
---   max_rss: integer, minor_page_fault: integer, major_page_fault: integer,
---   fs_read: integer, fs_write: integer, voluntary_context_switches: integer,
---   involuntary_context_switches: integer }? usage CPU times in µs, max_rss in
---   bytes, fs_read and fs_write in blocks of 512 bytes
--- @return Error? err
function usage.resource_usage()
  local u, _, code = uv.getrusage()
  if not u then return nil, errors.luv(code, "getrusage") end
  return {
    user_cpu_time = microseconds(u.utime),
    system_cpu_time = microseconds(u.stime),
    max_rss = u.maxrss * 1024,
    shared_memory_size = u.ixrss,
    unshared_data_size = u.idrss,
    unshared_stack_size = u.isrss,
    minor_page_fault = u.minflt,
    major_page_fault = u.majflt,
    swapped_out = u.nswap,
    fs_read = u.inblock,
    fs_write = u.oublock,
    ipc_sent = u.msgsnd,
    ipc_received = u.msgrcv,
    signals_count = u.nsignals,
    voluntary_context_switches = u.nvcsw,
    involuntary_context_switches = u.nivcsw,
  }
end

local function is_cpu_usage(value)
  return type(value) == "table" and math.type(value.user) == "integer"
    and math.type(value.system) == "integer"
end

--- Returns the CPU time of this process, all of its threads, or what has been
--- added since an earlier result.
--- @param previous {user: integer, system: integer}? an earlier result
--- @return {user: integer, system: integer}? usage µs
--- @return Error? err
function usage.cpu_usage(previous)
  if previous ~= nil and not is_cpu_usage(previous) then
    options.raise("cpu_usage: the argument must be an earlier result, "
      .. "{user=, system=}, got %s", options.show(previous))
  end
  local now, err = usage.resource_usage()
  if not now then return nil, err end
  previous = previous or { user = 0, system = 0 }
  return {
    user = now.user_cpu_time - previous.user,
    system = now.system_cpu_time - previous.system,
  }
end

return usage
