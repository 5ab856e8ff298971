--- Shared by the Lua peers of `forking`: runs a number of starts, one after the
--- other, and looks at the memory of the last child.

local uv = require "luv"

local SETTLE = 300 -- ms until the last child has nothing to do any more

local forking = {}

--- Prints a process's resident memory, and its private part, in KiB.
local function print_memory(pid)
  local file <close> = assert(io.open(("/proc/%d/smaps_rollup"):format(pid)))
  local text, private = file:read("a"), 0
  for kib in text:gmatch("Private_%a+:%s*(%d+)") do private = private + kib end
  print(("rss_kib %d"):format(text:match("Rss:%s*(%d+)")))
  print(("private_kib %d"):format(private))
end

--- Starts `count` children, and one to warm up. Prints the median time from the
--- start to the first answer, in ms.
--- @param count integer
--- @param start fun(answered: fun(pid: integer, stop: fun(exited: function?)))
function forking.run(count, start)
  local times = {}
  local function finish(pid, stop)
    table.sort(times)
    print(("wall_ms %.3f"):format(times[count // 2 + 1]))
    local timer = uv.new_timer()
    timer:start(SETTLE, 0, function()
      timer:close()
      print_memory(pid)
      stop()
    end)
  end
  local function one()
    local begun = uv.hrtime()
    start(function(pid, stop)
      times[#times + 1] = (uv.hrtime() - begun) / 1e6
      if #times == count then return finish(pid, stop) end
      stop(one)
    end)
  end
  one()
end

return forking
