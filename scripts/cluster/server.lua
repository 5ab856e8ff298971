-- A server in a worker: the port is the primary's, the requests are the
-- worker's. Prints who does what, and the answer.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

if cluster.is_primary then
  print "this runs in the primary"
  local address = cluster.fork():wait_for("listening")
  print(http.fetch("http://127.0.0.1:" .. address.port).body)
  cluster.disconnect()
else
  local server = http.create_server(function(_, res)
    print "this runs in the worker"
    res:finish "hello"
  end)
  assert(server:listen(0, "127.0.0.1"))
end
