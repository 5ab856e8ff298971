-- A message to a worker, and one from it, over its channel to the primary.
-- Prints both.

local orrery = require "orrery"
local cluster = orrery.cluster

cluster.setup_primary {
  exec = orrery.process.script_dir .. "/programs/answer.lua",
}
local worker = cluster.fork()
worker:on("message", function(message)
  print("the primary got age", message.age)
  worker:disconnect()
end)
worker:send { name = "zfpx" }
