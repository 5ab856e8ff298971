-- cluster.workers has the workers that have not ended, by their ids, which are
-- never used again. Prints each of three with its pid, and how many there are
-- when they have been told to leave.

local cluster = require "orrery".cluster

if cluster.is_primary then
  for _ = 1, 3 do cluster.fork() end
  for id, worker in pairs(cluster.workers) do
    print(id, worker.process.pid, worker)
  end
  cluster.disconnect()
  print(next(cluster.workers))
end
