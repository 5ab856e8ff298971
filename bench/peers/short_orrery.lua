--- Measures what a short connection costs a server of Orrery. COUNT and figures
--- as in short.c:
---
---     short_orrery.lua COUNT

local orrery = require "orrery"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local count = tonumber(arg[1])
local server = orrery.net.create_server(function(socket)
  assert(socket:read() == "hi")
  socket:write "ok"
  socket:destroy()
end)
server:listen(0, "127.0.0.1")

local function serve(n)
  local begun = meter.cpu()
  local result = orrery.run("build/bench/connect",
    { server:address().port, n, 8, "hi" })
  assert(result.ok, result.stderr)
  return meter.cpu() - begun
end

serve(count // 10 + 1)
print(("cpu_us_per_op %.3f"):format(serve(count) / count))
server:close()
