-- `kill` ends a worker at once: by SIGTERM, or by the signal that it is given.
-- Prints how each of two ended, and that neither had been asked to leave.

local cluster = require "orrery".cluster

if cluster.is_primary then
  for _, signal in ipairs { "SIGTERM", "SIGKILL" } do
    local worker = cluster.fork()
    worker:wait_for("online")
    worker:kill(signal)
    local code, name = worker:wait_for("exit")
    print(code, name, worker.exited_after_disconnect)
  end
end
