--- Stream connections over TCP and Unix sockets, as Node's net: servers,
--- sockets that connect to them, and both taken over from other processes.

local connecting = require "orrery.net.connecting"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local fds = require "orrery.runtime.fds"
local options = require "orrery.runtime.options"
local Server = require "orrery.net.server"
local Socket = require "orrery.net.socket"

local net = { Server = Server, Socket = Socket }

--- Makes a server. Each connection runs `on_connection` as a task. If that
--- raises an error of its own connection (which a method of the socket gave, or
--- `lines` raised), the socket is destroyed, `client_error(err, socket)` is
--- emitted, and the server goes on; any other error is uncaught.
---
---     net.create_server(function(socket)
---       for line in socket:lines() do socket:write(line .. "\n") end
---     end):listen(8080)
---
--- Raises unless the arguments are good.
--- @param opts {allow_half_open: boolean?, pause_on_connect: boolean?,
---   no_delay: boolean?, keep_alive: boolean?}?
---   allow_half_open: our side stays open when the peer has ended.
---   pause_on_connect: nothing is read until `resume` or a read
--- @param on_connection fun(socket: Socket)?
--- @return Server
function net.create_server(opts, on_connection)
  return Server.new_(opts, on_connection)
end

--- Makes a socket that `socket:connect` is to connect. Raises unless the
--- options are good.
--- @param opts {allow_half_open: boolean?, no_delay: boolean?,
---   keep_alive: boolean?}?
--- @return Socket
function net.socket(opts)
  return Socket.new_(options.check("socket", opts, Socket.schema_))
end

--- Makes a socket and connects it. The arguments are one of
---   connect(port, host?, cb): the host is "localhost" unless given
---   connect(path, cb): a Unix socket
---   connect({port, host, family, local_address, path, allow_half_open,
---     no_delay, keep_alive}, cb): `local_address` is the IP address to connect
---     from
--- Tries all addresses of the host, one after the other. Waits for the outcome
--- if a task calls without `cb`. `connect` is emitted when it is connected, and
--- then cb(socket) is called; if it cannot be, a task that waits gets the
--- error, and otherwise it is an `error` event. Raises for bad arguments. [w]
--- @param ... any see above
--- @return Socket? socket connected, if it has waited
--- @return Error? err (ECONNREFUSED, ENOENT, EACCES, ETIMEDOUT, EHOSTUNREACH,
---   ENETUNREACH, ENOTFOUND, ENAMETOOLONG; EADDRNOTAVAIL, EINVAL: it cannot be
---   connected from there; ECANCELED: it was closed meanwhile)
function net.connect(...)
  local target, cb = connecting.target_(...)
  return Socket.new_(target):open_(target, cb)
end

net.create_connection = net.connect

--- Makes a socket of a connection that came from another process.
--- @param fd userdata orrery.fd, owned unless this fails
--- @param unread string? bytes of it that were read there, and come first here
--- @return Socket? socket
--- @return Error? err (ENOTSOCK)
function net.adopt_socket(fd, unread)
  options.argument("adopt_socket", "the fd", fd, fds.check)
  if unread ~= nil then
    options.argument("adopt_socket", "unread", unread, options.checks.bytes)
  end
  local kind, errno = core.socket_kind(fd:fileno())
  if not kind then return nil, errors.system(errno, "open") end
  local socket = Socket.over_(fd, kind, {}, core.addresses(fd:fileno()))
  if unread and unread ~= "" then
    socket.bytes_read = #unread
    socket:put_back_(unread)
  end
  return socket
end

--- Makes a server of a bound socket that came from another process. It listens,
--- and accepts from its first listener of `connection` on; `listening` is
--- emitted in the next tick.
--- @param fd userdata orrery.fd, owned unless this fails
--- @return Server? server
--- @return Error? err (ENOTSOCK, EINVAL)
function net.adopt_server(fd)
  options.argument("adopt_server", "the fd", fd, fds.check)
  return Server.new_(nil, nil):adopt_(fd)
end

return net
