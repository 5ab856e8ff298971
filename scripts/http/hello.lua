-- Says hello to whoever asks, on the port that its argument names, or on one of
-- the system's choice. Prints where; ends by Ctrl-C, after the answers that are
-- under way.

local orrery = require "orrery"
local process = orrery.process

local server = orrery.http.create_server(function(req, res)
  res:set_header("Content-Type", "text/plain")
  res:finish("hello from " .. req.url .. "\n")
end)
assert(server:listen(process.argv[1] or 0, "127.0.0.1"))
print("http://127.0.0.1:" .. server:address().port)
process.on_shutdown(function() server:close() end)
