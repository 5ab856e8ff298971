-- Answers each request with its argument. Started by setup_primary.lua.

local orrery = require "orrery"

local server = orrery.http.create_server(function(_, res)
  print "this runs in the worker"
  res:finish(orrery.process.argv[1])
end)
assert(server:listen(0, "127.0.0.1"))
