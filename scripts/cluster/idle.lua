-- Two workers serve one port, and each request goes to the one that has less to
-- do. Four clients come at once; prints who answered each, and what they had it
-- compute.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

if cluster.is_primary then
  cluster.fork():wait_for("listening")
  local address = cluster.fork():wait_for("listening")
  local url = "http://127.0.0.1:" .. address.port
  local function ask() return http.fetch(url, { agent = false }).body end
  for _, answer in ipairs(orrery.all { ask, ask, ask, ask }) do
    print(answer)
  end
  cluster.disconnect()
else
  local server = http.create_server(function(_, res)
    local sum = 0
    for i = 1, 1000000 do sum = sum + i end
    res:finish(("worker %d has computed %d"):format(cluster.worker.id, sum))
  end)
  assert(server:listen(0, "127.0.0.1"))
end
