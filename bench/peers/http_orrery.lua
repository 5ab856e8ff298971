--- A server of Orrery's that says hello, for http_load.lua; with `read` it
--- looks at two headers first.

local http = require "orrery".http

local server = http.create_server(function(req, res)
  if arg[1] == "read" then
    local headers = req.headers
    assert(headers.host and headers.cookie)
  end
  res:finish("hello\n")
end)
assert(server:listen(0, "127.0.0.1"))
print("ready " .. server:address().port)
