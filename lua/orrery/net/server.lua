--- Servers of TCP and Unix connections: listening, counting, closing. The
--- public names are in net.lua; what connections come from is a Listener.

local address = require "orrery.net.address"
local binding = require "orrery.net.binding"
local class = require "orrery.runtime.class"
local core = require "orrery.core"
local elsewhere = require "orrery.net.elsewhere"
local errors = require "orrery.runtime.errors"
local Listener = require "orrery.net.listener"
local loop = require "orrery.runtime.loop"
local opening = require "orrery.net.opening"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local Socket = require "orrery.net.socket"

local BACKLOG = 511 -- connections the kernel keeps until they are accepted

local checks, Endpoint = options.checks, opening.Endpoint

--- @class Server : Endpoint events: listening, connection(socket),
---   client_error(err, socket), drop(info), error(err), close
--- @field listening boolean
--- @field connections integer accepted and not closed so far
--- @field max_connections integer? connections beyond are closed: `drop`
--- @field given_away_ integer connections that live in other processes
--- @field options_ table of its sockets
--- @field count_off_ function what its sockets call when they are closed
--- @field target_ table? what it listens on or is about to
--- @field fd_ userdata? orrery.fd of one from another process, until it accepts
--- @field counts_for_ ClusterWorker? which is told how many there are
--- @field closing_ function[]? called once all connections have ended
--- @field handle_closing_ boolean? the listener's close has not been told
--- @field stream_kind_ "tcp"|"pipe" of its sockets
local Server = class("orrery.Server", Endpoint)

Server.handle_type_ = "net.Server"

function Server.__tostring(self)
  return ("server %s: %s"):format(address.show(self:address()),
    self.listening and "listening" or "closed")
end

--- Emits `close`, and answers those who wait for it, if the server is closed
--- and the last connection has ended.
local function close_if_drained(self)
  if not self.closing_ or self.handle_closing_
    or self.connections + self.given_away_ > 0 then
    return
  end
  local replies = self.closing_
  self.closing_ = nil
  for _, reply in ipairs(replies) do loop.soon(reply) end
  self:emit("close")
end

--- Has `close` answered if the connection that has ended was the last one.
function Server:ended_()
  if self.closing_ then loop.soon(close_if_drained, self) end
end

local function connection_ended(self)
  self.connections = self.connections - 1
  if self.counts_for_ then self.counts_for_:count(-1) end
  self:ended_()
end

--- Ends a connection if its handler has ended with an error of this connection:
--- what a peer does, such as a reset, must not end the server.
local function handler_ended(self, socket, handling)
  local err = handling.err_
  if type(err) ~= "table" or rawget(err, "of_") ~= socket then return end
  handling.observed_ = true
  socket:destroy()
  loop.soon(function() self:emit("client_error", err, socket) end)
end

local schema = options.copy(Socket.schema_)
schema.pause_on_connect = checks.boolean

--- Makes a server; see `net.create_server`.
--- @param opts table?
--- @param on_connection fun(socket: Socket)?
--- @return Server
function Server.new_(opts, on_connection)
  if type(opts) == "function" then opts, on_connection = nil, opts end
  opts = options.check("create_server", opts, schema)
  local self = setmetatable({
    options_ = options.copy(opts),
    listening = false,
    connections = 0,
    given_away_ = 0,
  }, Server)
  self.count_off_ = function() connection_ended(self) end
  if on_connection == nil then return self end
  options.argument("create_server", "on_connection", on_connection,
    checks.callback)
  self:on("connection", function(socket)
    local handling = scheduler.go(on_connection, socket)
    function handling.on_end_() handler_ended(self, socket, handling) end
  end)
  return self
end

-- Connections ----------------------------------------------------------------

--- Closes a connection that is one too many.
local function drop(self, socket)
  socket:destroy()
  self:emit("drop", {
    local_address = socket.local_address,
    local_port = socket.local_port,
    remote_address = socket.remote_address,
    remote_port = socket.remote_port,
    remote_family = socket.remote_family,
  })
end

--- Takes in a connection.
local function on_connection(self, fd, ...)
  local socket = Socket.over_(fd, self.stream_kind_, self.options_, ...)
  if self.max_connections and self.connections >= self.max_connections then
    return drop(self, socket)
  end
  self.connections = self.connections + 1
  if self.counts_for_ then self.counts_for_:count(1) end
  socket.server, socket.count_off_ = self, self.count_off_
  self:emit("connection", socket)
end

--- Takes in an error of accept: an `error` event for listeners only, since a
--- peer can bring it about, and the server goes on.
local function on_error(self, errno)
  if self:listener_count("error") > 0 then
    self:emit("error", errors.system(errno, "accept"))
  end
end

--- Returns what accepts connections; see `Listener.open`. Servers of a protocol
--- have their own.
--- @param listener Listener
--- @return fun(number: integer, most: integer): integer? accept_some
function Server:acceptor_(listener)
  return listener:for_each(on_connection)
end

--- Has what the server has be counted for the primary of a cluster.
--- @param worker ClusterWorker
function Server:count_for_(worker) self.counts_for_ = worker end

--- Returns what takes connections that another process has accepted: a function
--- of the number of each one's fd, which never raises, or something of the
--- core's.
--- @return function|userdata taker
function Server:taker_()
  return function(number)
    local ok, err = pcall(on_connection, self, core.own(number),
      core.addresses(number))
    if not ok then loop.soon(error, err, 0) end
  end
end

-- Listening ------------------------------------------------------------------

local function failed(self, target, err)
  if self.target_ ~= target then return end -- closed meanwhile
  self.target_ = nil
  if not opening.refused(self, err) then self:emit("error", err) end
end

local function announce(self, target)
  if self.target_ == target then opening.opened(self, "listening") end
end

--- Binds, listens and accepts.
--- @param ip string? an address; nil: all
--- @return Error? err nil if it listens
local function start_listening(self, target, ip)
  local bound, err = binding.bind(target, ip)
  if not bound then return err end
  local listener
  listener, err = Listener.open(bound, target.backlog or BACKLOG, self,
    on_error)
  if not listener then return err end
  self.stream_kind_ = bound.kind
  self:hold_(listener)
  self.listening = true
end

--- Has another process listen for this server.
local function start_elsewhere(self, target, ip)
  elsewhere.road.listen(self, target, ip, on_error,
    function(err, listener, kind)
      if self.target_ ~= target then -- closed meanwhile
        if listener then listener:close() end
        return
      end
      if err then return failed(self, target, err) end
      self.stream_kind_ = kind
      self:hold_(listener)
      self.listening = true
      announce(self, target)
    end)
end

--- Looks up the host, if one is given, and listens there.
local function begin(self, target)
  local function at(err, list)
    if self.target_ ~= target then return end -- closed meanwhile
    local ip = list and list[1].address
    if not err and elsewhere.wants(target) then
      return start_elsewhere(self, target, ip)
    end
    err = err or start_listening(self, target, ip)
    if not err and elsewhere.road then elsewhere.road.opened(self) end
    loop.soon(err and failed or announce, self, target, err)
  end
  if not target.host then return at() end
  address.resolve(target.host, nil, at)
end

--- Leaves the connections of another server, whose socket this one listens on,
--- to this one, unless somebody listens to that one for them. (It would take
--- some of them, and nobody would answer these.)
local function take_from(other)
  if type(other) == "table" and other.handle_type_ == "net.Server"
    and other.handle_ and other:listener_count("connection") == 0 then
    other.handle_:pause()
  end
end

--- Starts to listen. The arguments are one of
---   listen(port?, host?, backlog?, cb): port 0, the default, is one of the
---     system's choice; without a host, all addresses of both families
---   listen(path, backlog?, cb): a Unix socket
---   listen({port, host, path, fd, backlog, ipv6_only, reuse_port, exclusive},
---     cb): `fd` is the number of a socket, which stays the caller's;
---     ipv6_only: "::" is not for IPv4; reuse_port: others of this user who say
---     so may listen there, too, and the kernel divides the connections among
---     them (SO_REUSEPORT of socket(7))
---   listen(handle, cb): the socket of a server, orrery.fd or luv handle, which
---     keeps it; a server without a listener of `connection` accepts nothing
---     until it has one.
--- Waits for it if a task calls without `cb`. `listening` is emitted when it
--- listens; if it cannot, a task that waits gets the error, and otherwise it is
--- an `error` event. Raises for bad arguments, and if it listens already. [w]
--- @param ... any see above
--- @return Server? self listening, if it has waited
--- @return Error? err (EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOENT, ENAMETOOLONG,
---   ENOTFOUND, ENOTSOCK, EINVAL, EMFILE; ECANCELED: it was closed meanwhile)
function Server:listen(...)
  local args, cb = address.callback(...)
  if self.target_ then
    options.raise("listen: the server is listening already")
  end
  local target, err = binding.target(args)
  return opening.open(self, "listen", cb, function()
    self.target_ = target or {}
    if err then return loop.soon(failed, self, self.target_, err) end
    begin(self, target)
    if self.listening then take_from(args[1]) end
  end, Server.__close)
end

-- From another process -------------------------------------------------------

--- Listens on a socket that came from another process; see `net.adopt_server`.
--- It is an fd and no more until there is a listener of `connection`: one that
--- nobody wants takes no connections from the processes that share it, and ends
--- when it is collected.
--- @param fd userdata orrery.fd, owned unless this fails
--- @return Server? self
--- @return Error? err (ENOTSOCK, EINVAL)
function Server:adopt_(fd)
  local kind, errno = core.socket_kind(fd:fileno())
  if not kind then return nil, errors.system(errno, "open") end
  local ok
  ok, errno = core.listen(fd:fileno(), BACKLOG)
  if not ok then return nil, errors.system(errno, "listen") end
  self.fd_, self.target_, self.listening = fd, { from = fd }, true
  loop.soon(announce, self, self.target_)
  return self
end

--- Begins to accept with the first listener of `connection`, if it has not
--- begun, or has left that to another server. If that fails, the server is
--- closed and emits `error`.
function Server:listeners_changed_(event, count)
  if event ~= "connection" or count == 0 then return end
  if self.handle_ then return self.handle_:go_on() end
  local fd, target = self.fd_, self.target_
  if not fd then return end
  self.fd_ = nil
  local err = start_listening(self, target)
  if not err then return end
  fd:close()
  self.listening = false
  loop.soon(failed, self, target, err)
end

--- Returns the number of the fd.
--- @return integer? fd nil unless it is open
function Server:fileno()
  if self.fd_ then return self.fd_:fileno() end
  return Endpoint.fileno(self)
end

-- Closing --------------------------------------------------------------------

local function handle_closed(self)
  self.handle_closing_ = false
  close_if_drained(self)
end

--- Called when the server stops listening; servers of a protocol end what
--- connections are idle.
function Server:stopped_() end

local function stop_listening(self)
  self.target_, self.listening = nil, false
  self.handle_closing_ = true
  if self.handle_ then self.handle_:stop() end
  self:stopped_()
  self:release_(handle_closed)
  opening.refused(self, errors.new("ECANCELED",
    "listen: the server was closed meanwhile"))
end

local function close(self, reply)
  if not self.target_ and not self.closing_ then
    return loop.soon(reply, errors.new("ERR_SERVER_NOT_RUNNING",
      "close: the server is not listening"))
  end
  self.closing_ = self.closing_ or {}
  table.insert(self.closing_, reply)
  if self.target_ then stop_listening(self) end
end

--- Accepts no more connections. `close` is emitted, and `cb` called, once the
--- ones that there are have ended, also those that live in other processes.
--- Waits for that if a task calls without `cb`; a task of such a connection
--- would wait for itself. [w]
--- @param cb fun(err: Error?)?
--- @return true|Server|nil ok true if it has waited, else self
--- @return Error? err (ERR_SERVER_NOT_RUNNING)
function Server:close(cb)
  if cb ~= nil then
    options.argument("close", "the callback", cb, checks.callback)
  end
  return opening.ask(self, "close", cb, function(reply) close(self, reply) end)
end

--- Closes at the end of a block, without waiting for the connections.
function Server:__close()
  if self.target_ then close(self, function() end) end
end

--- Counts connections that have gone to other processes, or have ended there.
--- @param by integer negative: they have ended
function Server:moved_(by)
  self.given_away_ = self.given_away_ + by
  self:ended_()
end

--- Asks how many connections are open, here and in the processes to which they
--- were sent. Waits for the answer if a task calls without `cb`. [w]
--- @param cb fun(err: nil, count: integer)?
--- @return integer|Server count if it has waited, else self
function Server:get_connections(cb)
  if cb ~= nil then
    options.argument("get_connections", "the callback", cb, checks.callback)
  end
  return opening.ask(self, "get_connections", cb, function(reply)
    loop.soon(reply, nil, self.connections + self.given_away_)
  end)
end

return Server
