--- The arguments of `request`, `get` and `fetch`, read into a plan: where to,
--- what for, and with which header fields. All that can raise comes here,
--- before anything is opened.

local address = require "orrery.net.address"
local Agent = require "orrery.http.agent"
local HeaderFields = require "orrery.http.header_fields"
local options = require "orrery.runtime.options"
local url = require "orrery.http.url"

local request_options = {}

local PORT = 80
local MAX_HEAD = 16384 -- bytes of a response's head, and of its trailers

local checks = options.checks

--- @class RequestPlan
--- @field method string
--- @field path string
--- @field host string
--- @field port integer
--- @field socket_path string? a Unix socket, instead of host and port
--- @field local_address string?
--- @field family 4|6|nil
--- @field agent Agent
--- @field create_connection function?
--- @field timeout integer? ms
--- @field max_head integer bytes
--- @field headers HeaderFields

-- Checks ----------------------------------------------------------------------

local function check_headers(value)
  if type(value) ~= "table" then return "a table" end
end

local function check_agent(value)
  if value ~= false and getmetatable(value) ~= Agent then
    return "an agent or false"
  end
end

--- The options of a request, for `options.check`.
request_options.schema = {
  host = url.check_host,
  hostname = url.check_host,
  port = address.checks.port,
  path = url.check_path,
  method = HeaderFields.check_token,
  headers = check_headers,
  socket_path = address.checks.path,
  agent = check_agent,
  timeout = checks.ms,
  create_connection = checks.callback,
  local_address = address.checks.ip,
  family = address.checks.family,
  max_header_size = options.integer(1, 0x7fffffff),
}

-- Reading ---------------------------------------------------------------------

--- Splits the arguments (url?, options?, cb?).
--- @param where string the public function's name, for messages
--- @return table target what the URL says, or {}
--- @return table? opts not checked so far
--- @return function? cb
local function split(where, target, opts, cb)
  if type(target) == "table" then
    target, opts, cb = nil, target, opts
  elseif type(opts) == "function" then
    opts, cb = nil, opts
  end
  if cb ~= nil then
    options.argument(where, "the callback", cb, checks.callback)
  end
  if target == nil and opts ~= nil then return {}, opts, cb end
  return url.read(where, target), opts, cb
end

--- Returns the agent of a request: without one of its own, what it connects
--- itself goes to an agent that keeps nothing, and all else to the global one.
local function agent_of(opts)
  if opts.agent then return opts.agent end
  if opts.agent == false or opts.create_connection then
    return Agent.new { keep_alive = false }
  end
  return Agent.global()
end

--- Returns how a host and its port are written in the field `Host`. (The zone
--- of an IPv6 address is this machine's own affair.)
local function host_text(host, port)
  if host:find(":", 1, true) then host = "[" .. host:gsub("%%.*", "") .. "]" end
  return port == PORT and host or ("%s:%d"):format(host, port)
end

--- Makes the header fields of a request, of which the plan says all else.
local function headers_of(where, plan, given)
  local headers = HeaderFields.new()
  headers:set(where, "Host", host_text(plan.host, plan.port))
  headers:set_all(where, given or {})
  if not headers:get("connection") then
    headers:set(where, "Connection",
      plan.agent.keep_alive and "keep-alive" or "close")
  end
  return headers
end

--- Reads the arguments of a request. Raises unless they are good.
--- @param where string the public function's name, for messages
--- @param schema table<string, function>
--- @param target string|table a URL, or the options
--- @param opts table|function|nil
--- @param cb function?
--- @return RequestPlan plan
--- @return function? cb
--- @return table opts those that were given
function request_options.read(where, schema, target, opts, cb)
  target, opts, cb = split(where, target, opts, cb)
  opts = options.check(where, opts, schema)
  local path = opts.path or target.path or ""
  local plan = {
    method = (opts.method or "GET"):upper(),
    path = path == "" and "/" or path,
    host = opts.hostname or opts.host or target.host or "localhost",
    port = address.port(opts.port or target.port or PORT),
    socket_path = opts.socket_path,
    local_address = opts.local_address,
    family = opts.family,
    create_connection = opts.create_connection,
    timeout = opts.timeout,
    max_head = opts.max_header_size or MAX_HEAD,
    agent = agent_of(opts),
  }
  plan.headers = headers_of(where, plan, opts.headers)
  return plan, cb, opts
end

return request_options
