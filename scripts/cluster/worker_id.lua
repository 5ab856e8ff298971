-- The same script is the primary and its worker: which of them it is, it asks
-- the module. Prints what each says of itself.

local cluster = require "orrery".cluster

if cluster.is_primary then
  local worker = cluster.fork()
  print("I am the primary of worker #" .. worker.id)
else
  print("I am worker #" .. cluster.worker.id)
  cluster.worker:disconnect()
end
