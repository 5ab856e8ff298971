-- `disconnect` lets a worker leave: it takes no more connections, gives the
-- answers that it owes, and ends. Prints what happens while a request that
-- takes long is under way.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

if cluster.is_primary then
  local worker = cluster.fork()
  worker:on("disconnect", function() print "the worker has disconnected" end)
  worker:on("exit", function(code)
    print("the worker has ended", code, worker.exited_after_disconnect)
  end)
  local address = worker:wait_for("listening")
  local url = "http://127.0.0.1:" .. address.port

  local asked = orrery.go(function() print(http.fetch(url).body) end)
  worker:wait_for("message") -- it has begun
  worker:disconnect()
  asked:join()
  worker:wait_for("exit")
  print(select(2, http.fetch(url)).code)
else
  local server = http.create_server(function(_, res)
    orrery.process.send "begun"
    orrery.sleep(200)
    res:finish "the answer"
  end)
  assert(server:listen(0, "127.0.0.1"))
end
