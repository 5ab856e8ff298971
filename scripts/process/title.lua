-- The title of a process: what ps(1) shows in place of its command line.

local orrery = require "orrery"
local process = orrery.process

local function shown()
  local words = { "-o", "args=", "-p", process.pid }
  return orrery.run("ps", words, { trim = true }).stdout
end

print("before: " .. shown())
for done = 0, 100, 50 do
  process.title = ("worker: %d %% done"):format(done)
  print("after:  " .. shown())
end
