--- Places of datagram sockets: turns the arguments of `bind` and `send` into
--- one.

local address = require "orrery.net.address"
local options = require "orrery.runtime.options"

local datagram_place = {}

local checks = options.checks

local bind_options = {
  fd = address.checks.fd,
  port = address.checks.port,
  host = address.checks.host,
  exclusive = checks.boolean,
}

local bind_path_options = {
  fd = address.checks.fd,
  path = address.checks.path,
  exclusive = checks.boolean,
}

--- Returns the place that the arguments of `bind` are. Raises unless they are
--- good.
--- @param kind {is_unix: boolean?}
--- @param args table without the callback
--- @return {host: string?, port: integer?, path: string?, fd: integer?,
---   exclusive: boolean?} place
function datagram_place.to_bind(kind, args)
  local given = type(args[1]) == "table" and args[1]
  if kind.is_unix then
    local target = options.check("bind", given or { path = args[1] },
      bind_path_options)
    if target.fd then return { fd = target.fd } end
    options.argument("bind", "the path", target.path, address.checks.path)
    return { path = target.path }
  end
  local target = options.check("bind",
    given or { port = args[1], host = args[2] }, bind_options)
  return { fd = target.fd, host = target.host,
    port = address.port(target.port or 0), exclusive = target.exclusive }
end

local function check_peer_port(value)
  if address.port(value) == 0 then return "an integer from 1 to 65535" end
  return address.checks.port(value)
end

--- Checks the path of a peer, which may also be an abstract name, or "" (which
--- nothing has), for an answer goes to wherever a datagram came from.
local function check_peer_path(value)
  if type(value) == "string" and (value == "" or value:byte() == 0) then
    return
  end
  return checks.string(value)
end

--- Returns the place that a datagram is to go to. Raises unless it is good.
--- @param kind {is_unix: boolean?, own: string?}
--- @param to any port, or path
--- @param host any kind.own if nil
--- @return {host: string, port: integer}|{path: string} place
function datagram_place.of_peer(kind, to, host)
  if kind.is_unix then
    options.argument("send", "the path", to, check_peer_path)
    if host ~= nil then
      options.argument("send", "the callback", host, checks.callback)
    end
    return { path = to }
  end
  options.argument("send", "the port", to, check_peer_port)
  host = host or kind.own
  options.argument("send", "the host", host, address.checks.host)
  return { host = host, port = address.port(to) }
end

return datagram_place
