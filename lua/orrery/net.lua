--- Stream connections over TCP and Unix sockets, as Node's net: servers here,
--- connections there, and both taken over from other processes.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local connecting = require "orrery.net.connecting"
local options = require "orrery.runtime.options"
local Server = require "orrery.net.server"
local Socket = require "orrery.net.socket"

local net = { Server = Server, Socket = Socket }

--- A server. Each connection runs `on_connection` as a task.
---
---     net.create_server(function(socket)
---       for line in socket:lines() do socket:write(line .. "\n") end
---     end):listen(8080)
---
--- @param opts {allow_half_open: boolean?, pause_on_connect: boolean?,
---   no_delay: boolean?, keep_alive: boolean?}?
---   allow_half_open: our side stays open when the peer has ended.
---   pause_on_connect: nothing is read until `resume` or a read
--- @param on_connection fun(socket: Socket)?
--- @return Server
function net.create_server(opts, on_connection)
  return Server.new_(opts, on_connection)
end

--- A socket to be connected by `socket:connect`.
--- @param opts {allow_half_open: boolean?, no_delay: boolean?,
---   keep_alive: boolean?}?
--- @return Socket
function net.socket(opts)
  return Socket.new_(options.check("socket", opts, Socket.schema_))
end

--- Connects: connect(port, host?, cb), connect(path, cb), connect({port, host,
--- family, path, allow_half_open, no_delay, keep_alive}, cb). The host is
--- "localhost" unless given. Waits in a task without `cb`. [w]
--- @return Socket? socket connected, where it has waited; nil, err
--- @return Error? err
function net.connect(...)
  local target, cb = connecting.target(...)
  return Socket.new_(target):open_(target, cb)
end

net.create_connection = net.connect

--- A connection that comes from elsewhere.
--- @param fd userdata orrery.fd, owned
--- @param unread string? bytes of it that were read already
--- @return Socket? socket nil, err (ENOTSOCK), and the fd is the caller's still
--- @return Error? err
function net.adopt_socket(fd, unread)
  local kind, errno = core.socket_kind(fd:fileno())
  if not kind then return nil, errors.system(errno, "open") end
  local socket = Socket.over_(fd, kind, {})
  if unread and unread ~= "" then
    socket.bytes_read = #unread
    socket:put_back_(unread)
  end
  return socket
end

--- A server on a bound socket that comes from elsewhere; `listening` is emitted
--- in the next tick.
--- @param fd userdata orrery.fd, owned
--- @return Server? server nil, err (ENOTSOCK, EINVAL …)
--- @return Error? err
function net.adopt_server(fd)
  return Server.new_(nil, nil):adopt_(fd)
end

return net
