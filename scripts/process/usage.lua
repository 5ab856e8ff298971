-- What a program has used so far: CPU time in ms, memory in MB, page faults.

local process = require "orrery".process

local before = process.cpu_usage()
local sum = 0
for i = 1, 3000000 do sum = sum + i % 7 end
local used = process.cpu_usage(before)
print(("the loop took %.1f ms, and %.1f ms of the kernel's"):format(
  used.user / 1000, used.system / 1000))

local usage = process.resource_usage()
print(("at most %.1f MB, %d page faults"):format(usage.max_rss / 1e6,
  usage.minor_page_fault))
print(("%.0f MB are left, and the limit is %s"):format(
  process.available_memory() / 1e6,
  process.constrained_memory() > 0
  and ("%.0f MB"):format(process.constrained_memory() / 1e6) or "none"))
