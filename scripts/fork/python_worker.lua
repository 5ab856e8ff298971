-- A worker in plain Python, which speaks the frames of the channel itself.
-- Prints mean and median of a list, and what is wrong with an empty one.

local orrery = require "orrery"

local script = orrery.process.script_dir .. "/programs/worker.py"
local worker = orrery.fork(script, {}, { exec_path = "python3" })
worker:on("error", function(err) print("could not start: " .. err.message) end)

print(worker:request { 2, 4, 4, 4, 5, 5, 7, 9.5 })
print(worker:request(orrery.array {}))
worker:disconnect()
