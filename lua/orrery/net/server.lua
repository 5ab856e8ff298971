--- Servers of TCP and Unix connections. The public names are in net.lua.

local uv = require "luv"
local address = require "orrery.net.address"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local opening = require "orrery.net.opening"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local Socket = require "orrery.net.socket"
local Watcher = require "orrery.runtime.watcher"

local BACKLOG = 511 -- connections the kernel keeps until they are accepted
local ACCEPTS = 64 -- in a row, before others have their turn
local REST = 100 -- ms, where one cannot be accepted

local EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM = core.errnos.EAGAIN,
  core.errnos.EMFILE, core.errnos.ENFILE, core.errnos.ENOBUFS, core.errnos.ENOMEM

local checks = options.checks

local spare, listening = nil, 0 -- an fd that is kept back; servers that it is for

--- @class Server : Endpoint
--- @field listening boolean
--- @field connections integer accepted and not closed so far
--- @field moved integer of those that were sent to other processes and live there
--- @field max_connections integer? what comes beyond is closed
local Server = { __name = "orrery.Server", handle_type = "net.Server" }
opening.extend(Server)

function Server.__tostring(self)
  return ("server %s: %s"):format(address.show(self:address()),
    self.handle and "listening" or "closed")
end

--- `close` comes when the last connection has ended.
local function close_if_drained(self)
  if not self.closing or self.handle_closing
    or self.connections + self.moved > 0 then
    return
  end
  local replies = self.closing
  self.closing = nil
  for _, reply in ipairs(replies) do loop.soon(reply) end
  self:emit("close")
end

local function connection_ended(self)
  self.connections = self.connections - 1
  if self.closing then loop.soon(close_if_drained, self) end
end

local schema = options.copy(Socket.schema)
schema.pause_on_connect = checks.boolean

--- See net.create_server. Level as error's, seen from the caller of this.
--- @return Server
function Server.new(opts, on_connection)
  if type(opts) == "function" then opts, on_connection = nil, opts end
  opts = options.check("create_server", opts, schema)
  local self = setmetatable({
    options = options.copy(opts),
    listening = false,
    connections = 0,
    moved = 0,
  }, Server)
  self.count_off_ = function() connection_ended(self) end
  if on_connection == nil then return self end
  options.argument("create_server", "on_connection", on_connection,
    checks.callback)
  self:on("connection", function(socket)
    scheduler.go(on_connection, socket)
  end)
  return self
end

-- Accepting ------------------------------------------------------------------

--- Too many: gone at once.
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

local function welcome(self, socket)
  if self.max_connections and self.connections >= self.max_connections then
    return drop(self, socket)
  end
  self.connections = self.connections + 1
  socket.server, socket.count_off_ = self, self.count_off_
  self:emit("connection", socket)
end

--- There are no fds left: whoever knocks is let in by the spare one, and out again.
--- Whether somebody was.
local function turn_away(number)
  if spare then spare:close() end
  local turned_away = false
  for _ = 1, ACCEPTS do
    local fd = core.accept(number)
    if not fd then break end
    fd:close()
    turned_away = true
  end
  spare = core.open("/", "r")
  return turned_away
end

--- Looks away for a while from connections that cannot be accepted: the poll would
--- tell of them again and again.
local function rest(self)
  local watcher = self.active
  watcher:stop()
  self.resting = clock.after(REST, function()
    self.resting = nil
    if self.active == watcher then watcher:start() end
  end)
  self.resting:set_ref(self.referenced)
end

--- None waits any more, or one went wrong, which a peer can bring about: an
--- `error` for those who listen, and no reason to end.
local function accept_failed(self, errno, number)
  if errno == EAGAIN then return end
  if errno == EMFILE or errno == ENFILE then
    return turn_away(number) or rest(self)
  end
  if errno == ENOBUFS or errno == ENOMEM then rest(self) end
  if self:listener_count("error") > 0 then
    self:emit("error", errors.system(errno, "accept"))
  end
end

--- What is called when connections wait.
local function acceptor(self, handle, kind)
  local number = handle:fileno()
  return function()
    for _ = 1, ACCEPTS do
      if self.handle ~= handle then return end
      local fd, errno = core.accept(number)
      if not fd then return accept_failed(self, errno, number) end
      welcome(self, Socket.over(fd, kind, self.options))
    end
  end
end

-- Listening ------------------------------------------------------------------

local function bind_tcp(ip, target)
  local place = { address = ip, port = target.port }
  local handle = uv.new_tcp()
  local ok, _, code = handle:bind(ip, target.port,
    { ipv6only = target.ipv6_only })
  if ok then return handle, "tcp", place end
  loop.close(handle)
  return nil, address.failure(code, "bind", place)
end

local no_ipv6 = { EAFNOSUPPORT = true, EADDRNOTAVAIL = true, EINVAL = true }

--- All addresses of both families, or of IPv4 where there is no IPv6.
local function bind_any(target)
  local handle, result, place = bind_tcp("::", target)
  if handle or not no_ipv6[result.code] then return handle, result, place end
  return bind_tcp("0.0.0.0", target)
end

local function bind_path(target)
  local path = target.path
  local err = address.path_failure(path, "bind")
  if err then return nil, err end
  local handle = uv.new_pipe(false)
  local ok, _, code = handle:bind(path)
  if ok then return handle, "pipe", target end
  loop.close(handle)
  -- libuv says EACCES for ENOENT, as Windows would.
  if code == "EACCES" and not uv.fs_stat(path:match("^(.*/)[^/]*$") or ".") then
    code = "ENOENT"
  end
  return nil, address.failure(code, "bind", target)
end

--- A bound handle, its kind, and where that is; nil, err.
local function bind(target, ip)
  if target.from then
    local handle, kind = opening.handle_from(target.from)
    if handle then return handle, kind, {} end
    return nil, errors.luv(kind, "open")
  elseif target.path then
    return bind_path(target)
  elseif ip then
    return bind_tcp(ip, target)
  end
  return bind_any(target)
end

local function failed(self, target, err)
  if self.target ~= target then return end -- closed meanwhile
  self.target = nil
  if not opening.refused(self, err) then self:emit("error", err) end
end

local function announce(self, handle)
  if self.handle == handle then opening.opened(self, "listening") end
end

--- There is a spare fd for as long as a server listens. True; nil, code.
local function keep_spare()
  local errno
  if not spare then spare, errno = core.open("/", "r") end
  if not spare then return nil, core.errnos[errno] end
  listening = listening + 1
  return true
end

local function drop_spare()
  listening = listening - 1
  if listening > 0 or not spare then return end
  spare:close()
  spare = nil
end

--- A watcher; nil, code.
local function watch(self, target, handle, kind)
  local _, _, code = handle:getsockname() -- a port in use, libuv tells of now
  if code then return nil, code end
  local ok, errno = core.listen(handle:fileno(), target.backlog or BACKLOG)
  if not ok then return nil, core.errnos[errno] end
  return Watcher.new(handle:fileno(), "r", acceptor(self, handle, kind))
end

--- Nil, or err.
local function start_listening(self, target, ip)
  local handle, kind, place = bind(target, ip)
  if not handle then return kind end
  local watcher
  local kept, code = keep_spare()
  if kept then watcher, code = watch(self, target, handle, kind) end
  if not watcher then
    if kept then drop_spare() end
    loop.close(handle)
    return address.failure(code, "listen", place)
  end
  self:hold_(handle, watcher)
  self.listening = true
  loop.soon(announce, self, handle)
end

--- Finds out where, and listens there.
local function begin(self, target)
  local function at(err, list)
    if self.target ~= target then return end -- closed meanwhile
    err = err or start_listening(self, target, list and list[1].address)
    if err then loop.soon(failed, self, target, err) end
  end
  if not target.host then return at() end
  address.resolve(target.host, nil, at)
end

local function check_fd(value)
  if math.type(value) ~= "integer" or value < 0 or value > 0x7fffffff then
    return "the number of an fd"
  end
end

local listen_options = {
  port = address.checks.port,
  host = address.checks.host,
  path = address.checks.path,
  fd = check_fd,
  backlog = options.integer(1, 0x7fffffff),
  ipv6_only = checks.boolean,
  reuse_port = address.checks.reuse_port,
  exclusive = checks.boolean,
}

--- The arguments as a table: listen(port, host, backlog) or listen(path,
--- backlog).
local function from_list(args)
  local first = args[1]
  if type(first) == "string" and not address.port(first) then
    return { path = first, backlog = args[2] }
  end
  return { port = first, host = args[2], backlog = args[3] }
end

--- What to listen on. `from` is an fd that is ours.
local function target_of(args)
  local first = args[1]
  if opening.has_fd(first) then
    local number = first:fileno()
    if not number then
      options.raise("listen: the handle is closed or has no fd")
    end
    local fd, errno = core.dup(number)
    if not fd then return nil, errors.system(errno, "dup") end
    return { from = fd }
  end
  local given = type(first) == "table" and first or from_list(args)
  local target = options.copy(options.check("listen", given, listen_options))
  target.port = address.port(target.port or 0)
  target.from = target.fd and core.fd(target.fd)
  return target
end

--- Starts to listen: listen(port?, host?, backlog?, cb), listen(path, cb),
--- listen(options, cb), or listen(handle, cb) for a socket that another server,
--- an orrery.fd or a luv handle has and keeps. Waits in a task without `cb`. [w]
--- @return Server? self listening, where it has waited; nil, err (EADDRINUSE,
---   EACCES, ENOTFOUND …)
--- @return Error? err
function Server:listen(...)
  local args, cb = address.callback(...)
  if self.target then
    options.raise("listen: the server is listening already")
  end
  local target, err = target_of(args)
  return opening.open(self, "listen", cb, function()
    self.target = target or {}
    if err then return loop.soon(failed, self, self.target, err) end
    begin(self, target)
  end, Server.__close)
end

--- Listens on a socket that came from elsewhere.
--- @param fd userdata orrery.fd, owned
--- @return Server? self nil, err
--- @return Error? err
function Server:adopt_(fd)
  local target = { from = fd }
  local err = start_listening(self, target)
  if err then return nil, err end
  self.target = target
  return self
end

-- Closing --------------------------------------------------------------------

local function stop_listening(self)
  self.target, self.listening = nil, false
  self.handle_closing = true
  if self.active then
    self.active:close()
    drop_spare()
  end
  if self.resting then self.resting:stop() end
  self:release_(function()
    self.handle_closing = false
    close_if_drained(self)
  end)
  opening.refused(self, errors.new("ECANCELED",
    "listen: the server was closed meanwhile"))
end

local function close(self, reply)
  if not self.target and not self.closing then
    return loop.soon(reply, errors.new("ERR_SERVER_NOT_RUNNING",
      "close: the server is not listening"))
  end
  self.closing = self.closing or {}
  table.insert(self.closing, reply)
  if self.target then stop_listening(self) end
end

--- Accepts no more. `close` and `cb` come once the connections have ended, too.
--- Waits for that in a task without `cb`; not one of the connections' own. [w]
--- @param cb fun(err: Error?)? ERR_SERVER_NOT_RUNNING
--- @return true|Server|nil ok true where it has waited; nil, err
--- @return Error? err
function Server:close(cb)
  if cb ~= nil then
    options.argument("close", "the callback", cb, checks.callback)
  end
  return opening.ask(self, "close", cb, function(reply) close(self, reply) end)
end

--- Does not wait for the connections.
function Server:__close()
  if self.target then close(self, function() end) end
end

--- So many more live in other processes.
function Server:moved_(by)
  self.moved = self.moved + by
  if self.closing then loop.soon(close_if_drained, self) end
end

--- How many connections are open, here and where they were sent. Waits in a task without `cb`. [w]
--- @param cb fun(err: nil, count: integer)?
--- @return integer|Server count
function Server:get_connections(cb)
  if cb ~= nil then
    options.argument("get_connections", "the callback", cb, checks.callback)
  end
  return opening.ask(self, "get_connections", cb, function(reply)
    loop.soon(reply, nil, self.connections + self.moved)
  end)
end

return Server
