-- Each worker has the event `online` for itself, too. Prints when it has
-- reported, and what it answers.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

if cluster.is_primary then
  local worker = cluster.fork()
  print "this runs in the primary"
  worker:on("online", function()
    print(("worker %d has reported"):format(worker.id))
  end)
  worker:on("listening", function(address)
    orrery.go(function()
      print(http.fetch("http://127.0.0.1:" .. address.port).body)
      worker:disconnect()
    end)
  end)
else
  local server = http.create_server(function(_, res)
    res:finish "this runs in the worker"
  end)
  assert(server:listen(0, "127.0.0.1"))
end
