-- Every other connection is sent to a child, which answers it: it is the
-- child's from then on. Prints who answered each of four clients.

local orrery = require "orrery"
local net = orrery.net

local child = orrery.fork(orrery.process.script_dir .. "/programs/take.lua")
local count = 0
local server = net.create_server(function(socket)
  count = count + 1
  if count % 2 == 0 then
    child:send("socket", socket)
  else
    socket:finish "answered by the parent"
  end
end)
assert(server:listen(0, "127.0.0.1"))

local port = server:address().port
for _ = 1, 4 do
  print((net.connect(port, "127.0.0.1"):read_all()))
end
server:close()
child:disconnect()
