-- A server of the primary that sends every other connection to a worker: it is
-- the worker's from then on. Prints who answered each of four clients, and what
-- the worker reports.

local orrery = require "orrery"
local cluster, net = orrery.cluster, orrery.net

cluster.setup_primary {
  exec = orrery.process.script_dir .. "/programs/sub_socket.lua",
}
local worker = cluster.fork()
worker:on("message", function(message) print(message) end)

local count = 0
local server = net.create_server(function(socket)
  count = count + 1
  if count % 2 == 0 then
    worker:send("socket", socket)
  else
    socket:finish "answered by the primary"
  end
end)
assert(server:listen(0, "127.0.0.1"))

for _ = 1, 4 do
  local client = net.connect(server:address().port, "127.0.0.1")
  print((client:read_all()))
end
server:close()
worker:disconnect()
