--- Measures what exec("echo hi") costs with luv alone: uv.spawn with a pipe for
--- stdout, one after the other. COUNT and figures as in exec.c:
---
---     exec_luv.lua COUNT

local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

--- Calls done() once it has exited and its output has ended.
local function exec(done)
  local pipe, output, left = uv.new_pipe(false), "", 2
  local function ended()
    left = left - 1
    if left > 0 then return end
    assert(output == "hi\n")
    done()
  end
  local handle
  handle = assert(uv.spawn("/bin/sh", {
    args = { "-c", "echo hi" },
    stdio = { nil, pipe },
  }, function()
    handle:close()
    ended()
  end))
  pipe:read_start(function(err, chunk)
    assert(not err, err)
    if chunk then
      output = output .. chunk
    else
      pipe:close()
      ended()
    end
  end)
end

meter.measure(tonumber(arg[1]), function(n)
  local function start()
    if n == 0 then return end
    n = n - 1
    exec(start)
  end
  start()
  uv.run()
end)
