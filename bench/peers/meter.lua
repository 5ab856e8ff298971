--- What the Lua peers share: CPU and wall time for each operation, and memory
--- that is touched before the clock starts.

local uv = require "luv"

local meter = {}

local function us(time)
  return time.sec * 1e6 + time.usec
end

--- CPU time of this process, user and system, in us.
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

--- Memory that is really there, in strings of 1 MiB.
--- @param mib integer
--- @return string[] heap to be kept by the caller
function meter.heap(mib)
  local heap, page = {}, ("x"):rep(4096)
  for i = 1, mib do heap[i] = page:rep(256) end
  return heap
end

return meter
