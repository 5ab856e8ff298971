--- The client's half of http: what `http.request` and its like are.

local Agent = require "orrery.http.agent"
local ClientRequest = require "orrery.http.client_request"
local fetch = require "orrery.http.fetch"
local request_options = require "orrery.http.request_options"

local client = {}

--- Makes a request. What is written before the caller waits, or returns to the
--- loop, leaves at once; `finish` must be called to end it. The arguments are
--- one of
---   request(url, cb)
---   request(url, options, cb)
---   request(options, cb)
---
---     local request = http.request("http://127.0.0.1:8080/",
---       { method = "POST" }, function(response)
---         print(response.status_code, response:read_all())
---       end)
---     request:finish("hello")
---
--- `error` is emitted if there is no response (ECONNREFUSED, ENOTFOUND,
--- ECONNRESET: the connection ended before it; EPROTO, EMSGSIZE: it is no good
--- HTTP, its head is too large). Raises unless the arguments are good.
--- @param target string|table an absolute http URL, or the options
--- @param opts {method: string?, headers: table?, host: string?,
---   hostname: string?, port: integer?, path: string?, socket_path: string?,
---   agent: Agent|false|nil, timeout: integer?, create_connection: function?,
---   local_address: string?, family: 4|6|nil, max_header_size: integer?}?
---   headers: by name, or a list of pairs, or a flat list.
---   agent: false: a connection of its own.
---   timeout: ms of idleness after which `timeout` is emitted.
---   create_connection: gives a socket, or nil and an error; it runs as a task,
---   and gets {host, port, family, local_address} or {path}, as `net.connect`
---   takes them
--- @param cb fun(response: ClientResponse)? run as a task
--- @return ClientRequest
function client.request(target, opts, cb)
  local plan
  plan, cb = request_options.read("request", request_options.schema, target,
    opts, cb)
  return ClientRequest.new_(plan, cb)
end

--- Makes a request without a body and ends it; see `request`.
--- @param target string|table an absolute http URL, or the options
--- @param opts table?
--- @param cb fun(response: ClientResponse)? run as a task
--- @return ClientRequest
function client.get(target, opts, cb)
  local plan
  plan, cb = request_options.read("get", request_options.schema, target, opts,
    cb)
  local request = ClientRequest.new_(plan, cb)
  request:finish()
  return request
end

client.fetch = fetch

--- Makes an agent, which keeps connections for further requests to where they
--- lead. Raises unless the options are good.
--- @param opts {keep_alive: boolean?, max_sockets: integer?,
---   max_total_sockets: integer?, max_free: integer?, timeout: integer?,
---   scheduling: "lifo"|"fifo"|nil}?
---   keep_alive: true unless given; false: a connection serves one request.
---   max_sockets: connections to one host and port; further requests wait.
---   max_total_sockets: those of all.
---   max_free: connections to one host and port that are kept, 256.
---   timeout: ms that one is kept at most, and of idleness in a request.
---   scheduling: which free one is used next: that which was used last
---   ("lifo"), or that which is free longest
--- @return Agent
function client.agent(opts) return Agent.new(opts) end

--- The agent of requests that name none.
client.global_agent = Agent.global()

return client
