--- Measures what a short connection costs a server on luv alone. COUNT and
--- figures as in short.c:
---
---     short_luv.lua COUNT

local uv = require "luv"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local count = tonumber(arg[1])
local server = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(511, function(err)
  assert(not err, err)
  local socket = uv.new_tcp()
  server:accept(socket)
  socket:read_start(function(failed, chunk)
    assert(not failed and chunk == "hi")
    socket:read_stop()
    socket:write("ok", function() socket:close() end)
  end)
end)

local function run(n, done)
  local begun = meter.cpu()
  local process
  process = uv.spawn("build/bench/connect", {
    args = { tostring(server:getsockname().port), tostring(n), "8", "hi" },
  }, function(code)
    assert(code == 0)
    process:close()
    done(meter.cpu() - begun)
  end)
end

run(count // 10 + 1, function()
  run(count, function(us)
    print(("cpu_us_per_op %.3f"):format(us / count))
    server:close()
  end)
end)
uv.run()
