--- Measures what it costs with luv alone to accept a connection in one process
--- and to answer it in another, which it gets by write2. COUNT and figures as
--- in handles.c:
---
---     handles_luv.lua COUNT

local uv = require "luv"
local folder = arg[0]:match("^.*/")
local meter = dofile(folder .. "meter.lua")
local lines = dofile(folder .. "lines.lua")

--- Answers the connection that comes with each byte, and "?" with the CPU time
--- so far.
local function serve(pipe)
  pipe:read_start(function(err, chunk)
    assert(not err, err)
    if not chunk then return pipe:close() end
    while pipe:pending_count() > 0 do
      local socket = uv.new_tcp()
      pipe:accept(socket)
      socket:write("ok", function() socket:close() end)
    end
    if chunk:find("?", 1, true) then
      pipe:write(("%d\n"):format(meter.cpu()))
    end
  end)
  uv.run()
end

local parent = lines.parent(true)
if parent then return serve(parent) end

local count = tonumber(arg[1])
local pipe = lines.fork(true)
local answered
lines.read(pipe, function(cpu) answered(cpu) end)

local server = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(511, function(err)
  assert(not err, err)
  local socket = uv.new_tcp()
  server:accept(socket)
  pipe:write2("!", socket, function() socket:close() end)
end)

local function cpu(done)
  pipe:write "?"
  answered = function(childs) done(childs + meter.cpu()) end
end

--- Calls done(us) with what n connections cost both.
local function run(n, done)
  cpu(function(begun)
    local process
    process = uv.spawn("build/bench/connect", {
      args = { tostring(server:getsockname().port), tostring(n) },
    }, function(code)
      assert(code == 0)
      process:close()
      cpu(function(ended) done(ended - begun) end)
    end)
  end)
end

run(count // 10 + 1, function()
  run(count, function(us)
    print(("cpu_us_per_op %.3f"):format(us / count))
    pipe:close()
    server:close()
  end)
end)
uv.run()
