-- The event `fork` comes for each worker that is started, before it has said
-- anything. Prints a line for each of two.

local cluster = require "orrery".cluster

if cluster.is_primary then
  cluster:on("fork", function(worker)
    print(("worker %d has been started"):format(worker.id))
  end)
  cluster.fork()
  cluster.fork()
  cluster.disconnect()
end
