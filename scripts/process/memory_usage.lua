-- How much memory this program uses, before and after it makes a string of
-- 16 MiB. Prints megabytes: resident, malloc's, Lua's.

local process = require "orrery".process

local function show(when)
  local usage = process.memory_usage()
  print(("%-7s rss %5.1f  heap_total %5.1f  heap_used %5.1f"):format(when,
    usage.rss / 1e6, usage.heap_total / 1e6, usage.heap_used / 1e6))
end

show "before"
local large = ("x"):rep(16 * 1024 * 1024)
show "after"
print(#large)
