-- The event `exit` says how a worker ended, and `exited_after_disconnect`
-- whether it had been asked to: if not, another one should take its place.
-- Prints it for three workers: one leaves, one is killed, one ends by itself.

local orrery = require "orrery"
local cluster, process = orrery.cluster, orrery.process

if cluster.is_primary then
  cluster:on("exit", function(worker, code, signal)
    if worker.exited_after_disconnect then
      print(("worker %d left as it was asked to"):format(worker.id))
    else
      print(("worker %d is lost: %s"):format(worker.id,
        signal or "exit code " .. code))
    end
  end)

  local asked = cluster.fork()
  asked:wait_for("online")
  asked:disconnect()
  asked:wait_for("exit")

  local killed = cluster.fork()
  killed:wait_for("online")
  killed:kill("SIGKILL")
  killed:wait_for("exit")

  cluster.fork { FAIL = "yes" }
elseif process.env.FAIL then
  process.exit(3)
end
