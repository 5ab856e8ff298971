-- One HTTP server in two processes: the one that is first to accept a
-- connection has it. A third process is ten clients, and prints who answered
-- each.

local orrery = require "orrery"

local programs = orrery.process.script_dir .. "/programs/"
local child = orrery.fork(programs .. "serve.lua")
local server = orrery.net.create_server()
assert(server:listen(0, "127.0.0.1"))
child:send("server", server)
assert(child:receive() == "listening")

local http_server = orrery.http.create_server(function(_, res)
  res:finish "answered by the parent"
end)
assert(http_server:listen(server))

orrery.fork(programs .. "ask.lua", { tostring(server:address().port) }):wait()
http_server:close()
server:close()
child:disconnect()
