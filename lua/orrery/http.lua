--- HTTP/1.1: servers whose connections live in the core, and clients.
---
---     assert(http.create_server(function(req, res)
---       res:finish("hello\n")
---     end):listen(8080))
---
---     print(http.fetch("http://127.0.0.1:8080/").body)
---
--- No TLS, no HTTP/2, no WebSocket framing: put nginx or HAProxy in front, and
--- bring a codec for what `upgrade` hands over.

local client = require "orrery.http.client"
local Server = require "orrery.http.server"

local http = {
  Server = Server,
  agent = client.agent,
  fetch = client.fetch,
  get = client.get,
  global_agent = client.global_agent,
  request = client.request,
}

--- Makes a server. Each request runs `on_request` as a task. If that raises,
--- the client gets 500, or its connection is cut if the head is out, and the
--- error is uncaught. Raises unless the arguments are good.
--- @param opts {headers_timeout: integer?, request_timeout: integer?,
---   keep_alive_timeout: integer?, keep_alive_buffer: integer?,
---   max_header_size: integer?, max_requests_per_socket: integer?,
---   max_pipelined: integer?}? times in ms, see docs/http.md; they may also be
---   set as fields until the server listens
--- @param on_request fun(req: ServerRequest, res: ServerResponse)?
--- @return HttpServer
function http.create_server(opts, on_request)
  return Server.new_(opts, on_request)
end

return http
