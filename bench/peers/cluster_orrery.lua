--- A cluster of two workers that says hello, for http_load.lua, by the policy
--- that is given.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

local WORKERS = 2

local function serve()
  local server = http.create_server(function(_, res) res:finish("hello\n") end)
  assert(server:listen(0, "127.0.0.1"))
end

if cluster.is_worker then return serve() end
cluster.scheduling_policy = arg[1]
local left = WORKERS
cluster.on("listening", function(_, at)
  left = left - 1
  if left == 0 then print("ready " .. at.port) end
end)
for _ = 1, WORKERS do cluster.fork() end
