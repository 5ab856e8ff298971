-- A script that Node forks, for spec/node/child_spec.lua: tells what it was
-- given, and stays until the channel ends.

local orrery = require "orrery"
local process = orrery.process

process.on("disconnect", function() end)
process.send {
  args = orrery.array(table.move(process.argv, 1, #process.argv, 1, {})),
  connected = process.connected,
  fd = process.channel:fileno() .. "",
}
