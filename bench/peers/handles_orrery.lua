--- Measures what it costs with Orrery to accept a connection in one process and
--- to answer it in another. COUNT and figures as in handles.c:
---
---     handles_orrery.lua COUNT

local orrery = require "orrery"
local meter = dofile(arg[0]:match("^.*/") .. "meter.lua")

local process = orrery.process

if process.connected then
  process:on("message", function(message, socket)
    if not socket then return process:send(meter.cpu()) end
    socket:write("ok", function() socket:destroy() end)
  end)
  return
end

local count = tonumber(arg[1])
local child = orrery.fork(arg[0])
local server = orrery.net.create_server()
server:on("connection", function(socket) child:send("socket", socket) end)
server:listen(0, "127.0.0.1")

local function cpu()
  child:send "cpu"
  return meter.cpu() + child:receive()
end

local function serve(n)
  local begun = cpu()
  local result = orrery.run("build/bench/connect",
    { tostring(server:address().port), tostring(n) })
  assert(result.ok, result.stderr)
  return cpu() - begun
end

serve(count // 10 + 1)
print(("cpu_us_per_op %.3f"):format(serve(count) / count))
child:disconnect()
server:close()
