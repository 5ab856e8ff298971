--- Datagram sockets, UDP and Unix; the public name of this module is
--- orrery.dgram. A UDP socket that sends before it is bound is bound to a port
--- of the system's choice; a Unix socket then has no path.

local uv = require "orrery.runtime.luv"
local address = require "orrery.net.address"
local class = require "orrery.runtime.class"
local core = require "orrery.core"
local datagram_place = require "orrery.net.datagram_place"
local elsewhere = require "orrery.net.elsewhere"
local errors = require "orrery.runtime.errors"
local fds = require "orrery.runtime.fds"
local loop = require "orrery.runtime.loop"
local opening = require "orrery.net.opening"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local unix_datagram = require "orrery.net.unix_datagram"

local dgram = {}

local checks = options.checks

local kinds = {
  udp4 = { family = 4, any = "0.0.0.0", own = "127.0.0.1" },
  udp6 = { family = 6, any = "::", own = "::1" },
  unix = { is_unix = true },
}

--- @class DgramSocket : Endpoint events: listening, message(data, rinfo),
---   error(err), close
--- @field type "udp4"|"udp6"|"unix"
--- @field closed boolean?
--- @field kind_ table of its type: see `kinds`
--- @field settings_ {reuse_addr: boolean?, reuse_port: boolean?, ipv6_only:
---   boolean?} of UDP
--- @field binding_ boolean? it is bound, or about to be
--- @field shared_ boolean? it came from another process, and has not received
--- @field waiting_ function[] sends until it is bound: called then, or with err
--- @field closing_ function[]? called once the handle is closed
local DgramSocket = class("orrery.DgramSocket", opening.Endpoint)
dgram.Socket = DgramSocket

DgramSocket.handle_type_ = "dgram.Socket"

function DgramSocket.__tostring(self)
  local state = self.closed and "closed" or self.handle_ and "bound"
    or "not bound"
  return ("%s socket %s: %s"):format(self.type, address.show(self:address()),
    state)
end

local function check_type(value)
  if not kinds[value] then return '"udp4", "udp6" or "unix"' end
end

local schema = {
  type = check_type,
  reuse_addr = checks.boolean,
  reuse_port = checks.boolean,
  ipv6_only = checks.boolean,
}

local function new(opts)
  return setmetatable({
    type = opts.type,
    kind_ = kinds[opts.type],
    settings_ = opts,
    waiting_ = {},
  }, DgramSocket)
end

--- Makes a datagram socket. Each datagram runs `on_message` as a task. Raises
--- unless the arguments are good.
--- @param opts "udp4"|"udp6"|"unix"|{type: string, reuse_addr: boolean?,
---   reuse_port: boolean?, ipv6_only: boolean?} all but the type are for UDP.
---   reuse_addr: others may bind to the address, too; who has bound last gets
---   what comes. reuse_port: others of this user who say so may, too, and the
---   kernel divides what comes among them (SO_REUSEPORT of socket(7)).
---   ipv6_only: "::" is not for IPv4
--- @param on_message fun(data: string, rinfo: table)? rinfo: {address, family
---   (4 or 6), port, size in bytes}; of a Unix socket {path ("" if the sender
---   has none), family "unix", size}
--- @return DgramSocket
function dgram.create_socket(opts, on_message)
  if type(opts) ~= "table" then
    options.argument("create_socket", "the type", opts, check_type)
    opts = { type = opts }
  end
  opts = options.check("create_socket", opts, schema)
  options.argument("create_socket", "the type", opts.type, check_type)
  local self = new(opts)
  if on_message == nil then return self end
  options.argument("create_socket", "on_message", on_message, checks.callback)
  self:on("message", function(...) scheduler.go(on_message, ...) end)
  return self
end

-- Receiving ------------------------------------------------------------------

--- Emits `message`; or `error`, for listeners only, since an error of a receive
--- is mostly about what was sent before.
local function on_receive(self, handle, code, data, from)
  if self.handle_ ~= handle then return end
  if code then
    if self:listener_count("error") > 0 then
      self:emit("error", errors.luv(code, "recvmsg"))
    end
  elseif from then
    local rinfo = address.of(from)
    rinfo.size, rinfo.family = #data, rinfo.family or "unix"
    self:emit("message", data, rinfo)
  end
end

-- Binding --------------------------------------------------------------------

local function announce(self, handle)
  if self.handle_ == handle then opening.opened(self, "listening") end
end

local function receive(self, handle)
  handle:recv_start(loop.guard(function(code, data, from)
    on_receive(self, handle, code, data, from)
  end))
end

--- Takes in a bound handle: sends what has waited for that, and receives; but
--- what other processes share, not before somebody listens, for it would take
--- datagrams from them.
local function start(self, handle)
  self:hold_(handle)
  if elsewhere.road then elsewhere.road.opened(self) end
  if not self.shared_ then receive(self, handle) end
  loop.soon(announce, self, handle)
  local waiting = self.waiting_
  self.waiting_ = {}
  for _, send in ipairs(waiting) do send() end
end

--- Gives up binding: the sends that wait fail, and the error is for the task
--- that waits, or an `error` event.
local function failed(self, err)
  if self.closed then return end
  self.binding_ = nil
  local waiting = self.waiting_
  self.waiting_ = {}
  for _, send in ipairs(waiting) do send(err) end
  if not opening.refused(self, err) then self:emit("error", err) end
end

--- Makes the handle of a socket's fd.
--- @param kind "udp4"|"udp6"|"unix"
--- @param fd userdata? orrery.fd, owned unless this fails; nil: there is none
--- @param errno integer? why
--- @return userdata|UnixDatagram|nil handle
--- @return string? code an errno's name (ENOTSOCK: it is of another kind)
local function open(kind, fd, errno)
  if not fd then return nil, errors.code_of(errno) end
  local family = core.datagram_family(fd:fileno())
  if family ~= (kinds[kind].family or "unix") then return nil, "ENOTSOCK" end
  if family == "unix" then return unix_datagram.open(fd) end
  return loop.open(uv.new_udp(), fd)
end

local function bind(self, ip, port)
  local handle, code = open(self.type,
    core.bind("udp", ip, port, self.settings_))
  if handle then return start(self, handle) end
  loop.soon(failed, self, address.failure(code, "bind",
    { address = ip, port = port }))
end

--- Takes over a socket that is bound. It may be another process's, too, so that
--- nothing is received before somebody listens.
local function bind_fd(self, number)
  local handle, code = open(self.type, core.dup(number))
  if not handle then
    return loop.soon(failed, self, errors.luv(code, "bind", { fd = number }))
  end
  self.shared_ = self:listener_count("message") == 0
  start(self, handle)
end

--- Has another process bind for this socket.
local function bind_elsewhere(self, place, ip)
  elsewhere.road.bind(self, place, ip, function(err, fd)
    if self.closed then
      if fd then fd:close() end
      return
    end
    if err then return failed(self, err) end
    local handle, code = open(self.type, fd)
    if handle then return start(self, handle) end
    failed(self, errors.luv(code, "bind"))
  end)
end

--- Opens a Unix socket, and binds it if a path is given.
local function bind_path(self, path)
  local place = { path = path }
  local err = path and address.path_failure(path, "bind")
  if err then return loop.soon(failed, self, err) end
  local handle, code = unix_datagram.open()
  if not handle then
    return loop.soon(failed, self, address.failure(code, "socket", place))
  end
  if path then code = select(3, handle:bind(path)) end
  if not code then return start(self, handle) end
  loop.close(handle)
  loop.soon(failed, self, address.failure(code, "bind", place))
end

--- Binds to a place, for which the host is looked up; to any if it is empty.
--- @param place {host: string?, port: integer?, path: string?, fd: integer?}
local function begin(self, place)
  self.binding_ = true
  local kind, port = self.kind_, place.port or 0
  local away = not kind.is_unix and elsewhere.wants(place)
  local function at(ip)
    if away then return bind_elsewhere(self, place, ip) end
    bind(self, ip, port)
  end
  if place.fd and not away then return bind_fd(self, place.fd) end
  if kind.is_unix then return bind_path(self, place.path) end
  if not place.host then return at(kind.any) end
  address.resolve(place.host, kind.family, function(err, list)
    if self.closed then return end
    if err then return loop.soon(failed, self, err) end
    at(list[1].address)
  end)
end

--- Binds to an address. The arguments are one of
---   bind(port?, host?, cb), bind({port, host, exclusive}, cb): port 0, the
---     default, is one of the system's choice; without a host, the socket
---     receives on all addresses
---   bind(path, cb), bind({path, exclusive}, cb): of a Unix socket, at a path
---     where there is no file; `close` removes the one that is made there
---   bind({fd}, cb): the number of a bound socket, which stays the caller's.
--- Waits for it if a task calls without `cb`. `listening` is emitted when it
--- is bound; if it cannot be, a task that waits gets the error, and otherwise
--- it is an `error` event. Raises for bad arguments, and if it is bound already
--- or closed. [w]
--- @param ... any see above
--- @return DgramSocket? self bound, if it has waited
--- @return Error? err (EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOTFOUND, ENOENT,
---   ENAMETOOLONG: a path of more than 107 bytes; ECANCELED: it was closed
---   meanwhile)
function DgramSocket:bind(...)
  local args, cb = address.callback(...)
  local place = datagram_place.to_bind(self.kind_, args)
  if self.binding_ or self.closed then
    options.raise("bind: the socket is %s already",
      self.closed and "closed" or "bound")
  end
  return opening.open(self, "bind", cb, function() begin(self, place) end,
    DgramSocket.close_)
end

-- Sending --------------------------------------------------------------------

--- Tells how a send went: to the callback, or else by `error` if it failed.
local function report(self, cb, err, size)
  if cb then return loop.soon(cb, err, size) end
  if err then loop.soon(self.emit, self, "error", err) end
end

--- Sends at once, or later if the kernel has no room.
--- @param place {address: string, port: integer}|{path: string}
local function transmit(self, data, place, cb)
  local function sent(code)
    local err = code and address.failure(code, "send", place) or nil
    report(self, cb, err, not err and #data or nil)
  end
  local handle, to = self.handle_, place.path or place.address
  local n, _, code = handle:try_send(data, to, place.port)
  if n or code ~= "EAGAIN" then return sent(not n and code or nil) end
  local ok
  ok, _, code = handle:send(data, to, place.port, loop.guard(sent))
  if not ok then sent(code) end
end

local function closed_error(self)
  return errors.new("ERR_SOCKET_DGRAM_NOT_RUNNING",
    "send: the socket is closed")
end

--- Looks up the host, if there is one, then sends.
--- @param place {host: string, port: integer}|{path: string}
local function send(self, data, place, cb)
  if place.path then
    local err = address.path_failure(place.path, "send")
    if err then return report(self, cb, err) end
    return transmit(self, data, place, cb)
  end
  address.resolve(place.host, self.kind_.family, function(err, list)
    if not err and self.closed then err = closed_error(self) end
    if err then return report(self, cb, err) end
    transmit(self, data, { address = list[1].address, port = place.port }, cb)
  end)
end

--- Sends one datagram: send(data, port, host?, cb), or of a Unix socket
--- send(data, path, cb). By UDP it may be lost on the way without a word; a
--- Unix socket sends once the receiver has room. If it cannot be sent and there
--- is no `cb`, that is an `error` event.
--- @param data string
--- @param to integer|string port, or path
--- @param host string? this machine
--- @param cb fun(err: Error?, size: integer?)? size in bytes; err (EMSGSIZE,
---   ENOTFOUND, ENETUNREACH, EACCES, ERR_SOCKET_DGRAM_NOT_RUNNING; of a path
---   ENOENT, ECONNREFUSED: nobody receives there, ENAMETOOLONG, ECANCELED: it
---   was closed meanwhile; or what else send gave)
function DgramSocket:send(data, to, host, cb)
  if type(host) == "function" then host, cb = nil, host end
  options.argument("send", "the data", data, checks.bytes)
  local place = datagram_place.of_peer(self.kind_, to, host)
  if cb ~= nil then
    options.argument("send", "the callback", cb, checks.callback)
  end
  if self.closed then
    report(self, cb, closed_error(self))
  elseif self.handle_ then
    send(self, data, place, cb)
  else
    table.insert(self.waiting_, function(err)
      if not err then return send(self, data, place, cb) end
      if cb then report(self, cb, err) end
    end)
    if not self.binding_ then begin(self, {}) end
  end
end

-- Settings -------------------------------------------------------------------

--- Changes a setting of the kernel's of a bound socket.
--- @return true? ok
--- @return Error? err (EBADF: it is not bound; ENOTSUP: it is a Unix socket)
local function set(self, name, method, ...)
  if not self.handle_ then return nil, errors.luv("EBADF", name) end
  if self.kind_.is_unix then return nil, errors.luv("ENOTSUP", name) end
  local ok, _, code = self.handle_[method](self.handle_, ...)
  if not ok then return nil, errors.luv(code, name) end
  return true
end

--- Method → luv's, and the check of its one argument.
local settings = {
  set_broadcast = { "set_broadcast", checks.boolean },
  set_ttl = { "set_ttl", options.integer(1, 255) },
  set_multicast_ttl = { "set_multicast_ttl", options.integer(0, 255) },
  set_multicast_loopback = { "set_multicast_loop", checks.boolean },
  set_multicast_interface = { "set_multicast_interface", address.checks.host },
}

for name, setting in pairs(settings) do
  --- Changes a setting of a bound socket.
  --- @param value boolean|integer|string as `settings` has it
  --- @return true? ok
  --- @return Error? err (EBADF: it is not bound; ENOTSUP: it is a Unix socket;
  ---   else what setsockopt gave)
  DgramSocket[name] = function(self, value)
    options.argument(name, "the argument", value, setting[2])
    return set(self, name, setting[1], value)
  end
end

local function membership(self, what, change, group, interface)
  options.argument(what, "the group", group, address.checks.host)
  if interface ~= nil then
    options.argument(what, "the interface", interface, address.checks.host)
  end
  return set(self, what, "set_membership", group, interface, change)
end

--- Receives what is sent to a multicast group.
--- @param group string an address
--- @param interface string? an address
--- @return true? ok
--- @return Error? err (EBADF: it is not bound; EINVAL, EADDRINUSE, ENODEV;
---   ENOTSUP: it is a Unix socket)
function DgramSocket:add_membership(group, interface)
  return membership(self, "add_membership", "join", group, interface)
end

--- Receives no longer what is sent to a multicast group.
--- @param group string an address
--- @param interface string? an address
--- @return true? ok
--- @return Error? err (EBADF: it is not bound; EADDRNOTAVAIL: it is no member;
---   ENOTSUP: it is a Unix socket)
function DgramSocket:drop_membership(group, interface)
  return membership(self, "drop_membership", "leave", group, interface)
end

-- Closing --------------------------------------------------------------------

--- Tells all who wait for it that the socket is closed.
local function over(self)
  local replies = self.closing_
  self.closing_ = nil
  for _, reply in ipairs(replies) do loop.soon(reply) end
  self:emit("close")
end

--- Closes; see `close`.
--- @param reply fun(err: Error?)? called once it is closed
function DgramSocket:close_(reply)
  if self.closed then
    if self.closing_ then return table.insert(self.closing_, reply) end
    return reply and loop.soon(reply, errors.new("ERR_SOCKET_DGRAM_NOT_RUNNING",
      "close: the socket is closed"))
  end
  self.closed, self.closing_ = true, { reply }
  local waiting = self.waiting_
  self.waiting_ = {}
  for _, send_it in ipairs(waiting) do send_it(closed_error(self)) end
  if self.handle_ then self.handle_:recv_stop() end
  self:release_(over)
  opening.refused(self, errors.new("ECANCELED",
    "bind: the socket was closed meanwhile"))
end

--- Receives no more; what has not been sent so far is not sent. `close` is
--- emitted, and `cb` called, once the handle is closed. Waits for that if a
--- task calls without `cb`. [w]
--- @param cb fun(err: Error?)?
--- @return true|DgramSocket|nil ok true if it has waited, else self
--- @return Error? err (ERR_SOCKET_DGRAM_NOT_RUNNING: it is closed already)
function DgramSocket:close(cb)
  if cb ~= nil then
    options.argument("close", "the callback", cb, checks.callback)
  end
  return opening.ask(self, "close", cb, function(reply) self:close_(reply) end)
end

--- Closes at the end of a block, without waiting.
function DgramSocket:__close() self:close_() end

--- Begins to receive with the first listener of `message`, if it has not begun.
function DgramSocket:listeners_changed_(event, count)
  if not self.shared_ or event ~= "message" or count == 0 then return end
  self.shared_ = nil
  if self.handle_ then receive(self, self.handle_) end
end

--- Makes a socket of a bound fd that came from another process; it receives
--- from its first listener of `message` on.
--- @param fd userdata orrery.fd, owned unless this fails
--- @param kind "udp4"|"udp6"|"unix"
--- @return DgramSocket? socket
--- @return Error? err (ENOTSOCK, or what open gave)
function dgram.adopt(fd, kind)
  options.argument("adopt", "the fd", fd, fds.check)
  options.argument("adopt", "the type", kind, check_type)
  local handle, code = open(kind, fd)
  if not handle then return nil, errors.luv(code, "open") end
  local self = new({ type = kind })
  self.binding_, self.shared_ = true, true
  start(self, handle)
  return self
end

return dgram
