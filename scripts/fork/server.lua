-- One server in two processes: the one that is first to accept a connection has
-- it. A third process is ten clients, and prints who answered each.

local orrery = require "orrery"

local programs = orrery.process.script_dir .. "/programs/"
local child = orrery.fork(programs .. "serve.lua")
local server = orrery.net.create_server(function(socket)
  socket:finish "answered by the parent"
end)
assert(server:listen(0, "127.0.0.1"))
child:send("server", server)
assert(child:receive() == "listening")

orrery.fork(programs .. "ask.lua", { tostring(server:address().port) }):wait()
server:close()
child:disconnect()
