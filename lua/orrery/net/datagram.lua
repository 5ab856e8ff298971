--- UDP sockets; the public name of this module is orrery.dgram. A socket that
--- sends before it is bound is bound to a port of the system's choice.

local uv = require "orrery.runtime.luv"
local address = require "orrery.net.address"
local class = require "orrery.runtime.class"
local errors = require "orrery.runtime.errors"
local fds = require "orrery.runtime.fds"
local loop = require "orrery.runtime.loop"
local opening = require "orrery.net.opening"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local dgram = {}

local checks = options.checks

local kinds = {
  udp4 = { family = 4, any = "0.0.0.0", own = "127.0.0.1" },
  udp6 = { family = 6, any = "::", own = "::1" },
}

--- @class DgramSocket : Endpoint events: listening, message(data, rinfo),
---   error(err), close
--- @field type "udp4"|"udp6"
--- @field closed boolean?
--- @field kind_ table of its type: see `kinds`
--- @field reuse_addr_ boolean?
--- @field ipv6_only_ boolean?
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
  if not kinds[value] then return '"udp4" or "udp6"' end
end

local schema = {
  type = check_type,
  reuse_addr = checks.boolean,
  reuse_port = address.checks.reuse_port,
  ipv6_only = checks.boolean,
}

local function new(opts)
  return setmetatable({
    type = opts.type,
    kind_ = kinds[opts.type],
    reuse_addr_ = opts.reuse_addr,
    ipv6_only_ = opts.ipv6_only,
    waiting_ = {},
  }, DgramSocket)
end

--- Makes a UDP socket. Each datagram runs `on_message` as a task. Raises unless
--- the arguments are good.
--- @param opts "udp4"|"udp6"|{type: string, reuse_addr: boolean?,
---   ipv6_only: boolean?}
--- @param on_message fun(data: string, rinfo: table)? rinfo: {address, family
---   (4 or 6), port, size in bytes}
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
    rinfo.size = #data
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

local function bind(self, ip, port)
  local handle = uv.new_udp()
  local ok, _, code = handle:bind(ip, port,
    { reuseaddr = self.reuse_addr_, ipv6only = self.ipv6_only_ })
  if ok then return start(self, handle) end
  loop.close(handle)
  loop.soon(failed, self, address.failure(code, "bind",
    { address = ip, port = port }))
end

--- Looks up the host, if one is given, and binds there.
local function begin(self, host, port)
  self.binding_ = true
  if not host then return bind(self, self.kind_.any, port) end
  address.resolve(host, self.kind_.family, function(err, list)
    if self.closed then return end
    if err then return loop.soon(failed, self, err) end
    bind(self, list[1].address, port)
  end)
end

local bind_options = {
  port = address.checks.port,
  host = address.checks.host,
  exclusive = checks.boolean,
}

--- Binds to an address: bind(port?, host?, cb) or bind({port, host, exclusive},
--- cb). Port 0, the default, is one of the system's choice; without a host, the
--- socket receives on all addresses. Waits for it if a task calls without `cb`.
--- `listening` is emitted when it is bound; if it cannot be, a task that waits
--- gets the error, and otherwise it is an `error` event. Raises for bad
--- arguments, and if it is bound already or closed. [w]
--- @param ... any port, host, cb; or options, cb
--- @return DgramSocket? self bound, if it has waited
--- @return Error? err (EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOTFOUND; ECANCELED:
---   it was closed meanwhile)
function DgramSocket:bind(...)
  local args, cb = address.callback(...)
  local given = type(args[1]) == "table" and args[1]
    or { port = args[1], host = args[2] }
  local target = options.check("bind", given, bind_options)
  if self.binding_ or self.closed then
    options.raise("bind: the socket is %s already",
      self.closed and "closed" or "bound")
  end
  local host, port = target.host, address.port(target.port or 0)
  return opening.open(self, "bind", cb, function() begin(self, host, port) end,
    DgramSocket.close_)
end

-- Sending --------------------------------------------------------------------

--- Tells how a send went: to the callback, or else by `error` if it failed.
local function report(self, cb, err, size)
  if cb then return loop.soon(cb, err, size) end
  if err then loop.soon(self.emit, self, "error", err) end
end

--- Sends at once, or through luv if the kernel's buffer is full.
local function transmit(self, data, port, ip, cb)
  local place = { address = ip, port = port }
  local function sent(code)
    local err = code and address.failure(code, "send", place) or nil
    report(self, cb, err, not err and #data or nil)
  end
  local handle = self.handle_
  local n, _, code = handle:try_send(data, ip, port)
  if n or code ~= "EAGAIN" then return sent(not n and code or nil) end
  local ok
  ok, _, code = handle:send(data, ip, port, loop.guard(sent))
  if not ok then sent(code) end
end

local function closed_error(self)
  return errors.new("ERR_SOCKET_DGRAM_NOT_RUNNING",
    "send: the socket is closed")
end

--- Looks up the host, then sends.
local function send(self, data, port, host, cb)
  address.resolve(host, self.kind_.family, function(err, list)
    if not err and self.closed then err = closed_error(self) end
    if err then return report(self, cb, err) end
    transmit(self, data, port, list[1].address, cb)
  end)
end

local function check_peer_port(value)
  if address.port(value) == 0 then return "an integer from 1 to 65535" end
  return address.checks.port(value)
end

--- Sends one datagram; it may be lost on the way without a word. If it cannot
--- be sent and there is no `cb`, that is an `error` event.
--- @param data string
--- @param port integer
--- @param host string? this machine
--- @param cb fun(err: Error?, size: integer?)? size in bytes; err (EMSGSIZE,
---   ENOTFOUND, ENETUNREACH, EACCES, ERR_SOCKET_DGRAM_NOT_RUNNING, or what else
---   send gave)
function DgramSocket:send(data, port, host, cb)
  if type(host) == "function" then host, cb = nil, host end
  options.argument("send", "the data", data, checks.bytes)
  options.argument("send", "the port", port, check_peer_port)
  host = host or self.kind_.own
  options.argument("send", "the host", host, address.checks.host)
  if cb ~= nil then
    options.argument("send", "the callback", cb, checks.callback)
  end
  port = address.port(port)
  if self.closed then
    report(self, cb, closed_error(self))
  elseif self.handle_ then
    send(self, data, port, host, cb)
  else
    table.insert(self.waiting_, function(err)
      if not err then return send(self, data, port, host, cb) end
      if cb then report(self, cb, err) end
    end)
    if not self.binding_ then begin(self, nil, 0) end
  end
end

-- Settings -------------------------------------------------------------------

--- Changes a setting of the kernel's of a bound socket.
--- @return true? ok
--- @return Error? err (EBADF: it is not bound)
local function set(self, name, method, ...)
  if not self.handle_ then return nil, errors.luv("EBADF", name) end
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
  --- @return Error? err (EBADF: it is not bound; else what setsockopt gave)
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
--- @return Error? err (EBADF: it is not bound; EINVAL, EADDRINUSE, ENODEV)
function DgramSocket:add_membership(group, interface)
  return membership(self, "add_membership", "join", group, interface)
end

--- Receives no longer what is sent to a multicast group.
--- @param group string an address
--- @param interface string? an address
--- @return true? ok
--- @return Error? err (EBADF: it is not bound; EADDRNOTAVAIL: it is no member)
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
--- @param kind "udp4"|"udp6"
--- @return DgramSocket? socket
--- @return Error? err (ENOTSOCK, or what open gave)
function dgram.adopt(fd, kind)
  options.argument("adopt", "the fd", fd, fds.check)
  options.argument("adopt", "the type", kind, check_type)
  local number = fd:fileno()
  if uv.guess_handle(number) ~= "udp" then
    return nil, errors.luv("ENOTSOCK", "open")
  end
  local handle = uv.new_udp()
  local ok, _, code = handle:open(number)
  if not ok then
    loop.close(handle)
    return nil, errors.luv(code, "open")
  end
  fd:take()
  local self = new({ type = kind })
  self.binding_, self.shared_ = true, true
  start(self, handle)
  return self
end

return dgram
