-- The event `listening` comes when a worker's server listens, with the address
-- that it has. Prints it for each of two workers: they ask for any free port,
-- and get the same one.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

if cluster.is_primary then
  cluster:on("online", function(worker)
    print(("worker %d has reported"):format(worker.id))
  end)
  cluster:on("listening", function(worker, address)
    print(("worker %d listens on %s:%d"):format(worker.id, address.address,
      address.port))
    if worker.id == 2 then cluster.disconnect() end
  end)
  cluster.fork():wait_for("listening")
  cluster.fork()
else
  local server = http.create_server(function(_, res) res:finish "hello" end)
  assert(server:listen(0, "127.0.0.1"))
end
