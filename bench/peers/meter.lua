--- Shared by the Lua peers: measures CPU and wall time for each operation, and
--- touches memory before the clock starts.

local uv = require "luv"

local meter = {}

local function us(time)
  return time.sec * 1e6 + time.usec
end

--- Returns the CPU time of this process so far, user and system, in us.
--- @return number
function meter.cpu()
  local usage = uv.getrusage()
  return us(usage.utime) + us(usage.stime)
end

--- Calls run(n) for a tenth of `count` to warm up, then for `count`, and prints
--- what one operation cost.
--- @param count integer
--- @param run fun(n: integer) returns when n operations are done
function meter.measure(count, run)
  run(count // 10 + 1)
  local wall, cpu = uv.hrtime(), meter.cpu()
  run(count)
  wall, cpu = uv.hrtime() - wall, meter.cpu() - cpu
  print(("cpu_us_per_op %.3f"):format(cpu / count))
  print(("per_second %.1f"):format(1e9 * count / wall))
end

--- Allocates memory and writes to all of it, in strings of 1 MiB.
--- @param mib integer
--- @return string[] heap to be kept by the caller
function meter.heap(mib)
  local heap, page = {}, ("x"):rep(4096)
  for i = 1, mib do heap[i] = page:rep(256) end
  return heap
end

local function memory()
  collectgarbage()
  collectgarbage()
  return collectgarbage("count"), uv.resident_set_memory() / 1024
end

--- Calls run(n) until `first` operations are done, and then until `last` are.
--- Prints Lua's heap after a full collection and the resident memory, in KiB,
--- as they are after `first`, and how much they have grown by `last`.
--- @param first integer
--- @param last integer
--- @param run fun(n: integer) returns when n operations are done
function meter.flat(first, last, run)
  run(first)
  local heap, rss = memory()
  run(last - first)
  local heap_then, rss_then = memory()
  print(("heap_kib %.3f"):format(heap))
  print(("heap_growth_kib %.3f"):format(heap_then - heap))
  print(("rss_kib %.0f"):format(rss))
  print(("rss_growth_kib %.0f"):format(rss_then - rss))
end

return meter
