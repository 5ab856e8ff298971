-- The event `online` comes when a worker has reported: it runs, and its script
-- begins. Prints a line for each of two, in the order of their reports.

local cluster = require "orrery".cluster

if cluster.is_primary then
  cluster:on("online", function(worker)
    print(("worker %d has reported"):format(worker.id))
    worker:disconnect()
  end)
  cluster.fork()
  cluster.fork()
end
