-- With `silent` the workers' output comes here, and does not go where ours
-- goes. Prints the URLs that a worker has been asked for, as it says.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

if cluster.is_primary then
  cluster.setup_primary { silent = true }
  local worker = cluster.fork()
  local address = worker:wait_for("listening")
  for _, path in ipairs { "/tea", "/cakes" } do
    http.fetch("http://127.0.0.1:" .. address.port .. path)
  end
  worker:disconnect()
  for line in worker.process.stdout:lines() do
    print("asked for " .. line)
  end
else
  local server = http.create_server(function(req, res)
    print(req.url)
    res:finish "ok"
  end)
  assert(server:listen(0, "127.0.0.1"))
end
