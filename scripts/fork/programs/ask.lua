-- Ten clients of the port that its argument names; prints what each is told.
-- Started by server.lua.

local orrery = require "orrery"

local port = tonumber(orrery.process.argv[1])
for _ = 1, 10 do
  orrery.go(function()
    print((orrery.net.connect(port, "127.0.0.1"):read_all()))
  end)
end
