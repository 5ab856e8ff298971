-- Workers run the script that is running, unless setup_primary names another.
-- Prints the settings, and what the other script answers.

local orrery = require "orrery"
local cluster, http = orrery.cluster, orrery.http

cluster.setup_primary {
  exec = orrery.process.script_dir .. "/programs/subtask.lua",
  args = { "ok" },
}
local address = cluster.fork():wait_for("listening")
print("this runs in the primary: " .. orrery.inspect(cluster.settings))
print(http.fetch("http://127.0.0.1:" .. address.port).body)
cluster.disconnect()
