--- HTTP servers: a net.Server whose connections live in the core. The public
--- names are in http.lua. The core accepts, parses, keeps time and ends; this
--- file gives it its settings, and its requests to handlers and listeners.

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local native = require "orrery.http.native"
local net = require "orrery.net"
local options = require "orrery.runtime.options"
local poller = require "orrery.runtime.poller"
local scheduler = require "orrery.runtime.scheduler"
local server_socket = require "orrery.http.server_socket"

require "orrery.http.server_request"
require "orrery.http.server_response"

local LINGER = 1000 -- ms that a connection is read after its end

local checks = options.checks
local EAGAIN = core.errnos.EAGAIN

--- @class HttpServer : Server events: those of a net.Server, and
---   request(req, res), check_continue(req, res), upgrade(req, socket),
---   connect(req, socket), client_error(err, socket)
--- @field headers_timeout integer ms
--- @field request_timeout integer ms
--- @field keep_alive_timeout integer ms
--- @field keep_alive_buffer integer ms
--- @field max_header_size integer bytes
--- @field max_requests_per_socket integer
--- @field max_pipelined integer
--- @field handler_ function? create_server's
--- @field engine_ userdata? orrery.http_server, from the first connection on
--- @field lent_ Watched? the poller's entry for it
local Server = class("orrery.HttpServer", net.Server)

Server.handle_type_ = "net.Server"

--- The settings: what they are checked by, and what they are if not given.
local count = options.integer(0, 0x7fffffff)
local settings = {
  headers_timeout = { checks.ms, 60000 },
  request_timeout = { checks.ms, 300000 },
  keep_alive_timeout = { checks.ms, 75000 },
  keep_alive_buffer = { checks.ms, 1000 },
  max_header_size = { options.integer(64, 0x7fffffff), 16384 },
  max_requests_per_socket = { count, 0 },
  max_pipelined = { options.integer(1, 0x7fffffff), 64 },
}

local schema = {}
for name, setting in pairs(settings) do
  schema[name], Server[name] = setting[1], setting[2]
end

--- What is counted by the core is asked of it.
local methods = Server.__index
function Server.__index(self, name)
  local value = methods[name]
  if value ~= nil or name ~= "connections" then return value end
  local engine = rawget(self, "engine_")
  return engine and engine:count() or 0
end

--- Makes a server; see `http.create_server`.
--- @param opts table?
--- @param on_request fun(req: ServerRequest, res: ServerResponse)?
--- @return HttpServer
function Server.new_(opts, on_request)
  if type(opts) == "function" then opts, on_request = nil, opts end
  opts = options.check("create_server", opts, schema)
  if on_request ~= nil then
    options.argument("create_server", "on_request", on_request,
      checks.callback)
  end
  local self = setmetatable(net.Server.new_(), Server)
  self.connections = nil
  for name, value in pairs(opts) do self[name] = value end
  self.handler_ = on_request
  self:on("connection", function(socket)
    if not server_socket.is(socket) then self:take_over_(socket) end
  end)
  return self
end

-- Requests -------------------------------------------------------------------

--- Ends what a handler has left that has raised: its client gets 500, or sees
--- its connection cut. The error is uncaught then, unless it is the client's
--- doing.
local function handler_ended(task)
  if task.status ~= "failed" then return end
  local req, res = task.a_, task.b_
  local err = task.err_
  res:fail_()
  local own = type(err) == "table" and rawget(err, "of_")
  if own and (own == req or own == res) then task.observed_ = true end
end

--- Tells the listeners of `request`. If one raises, the error is uncaught, and
--- the client gets 500, or sees its connection cut if the head is out; unless a
--- handler has to answer.
local function tell_request(self, req, res)
  local ok, err = pcall(self.emit, self, "request", req, res)
  if ok then return end
  if not self.handler_ then res:fail_() end
  loop.soon(error, err, 0)
end

--- Makes the function that the core calls with each request. It never raises:
--- the core would cut the connection.
local function request_of(self)
  local handler = self.handler_
  return function(req, res)
    if handler then scheduler.call(handler_ended, handler, req, res) end
    if self.listeners_.request then tell_request(self, req, res) end
  end
end

-- Events ---------------------------------------------------------------------

--- What the core tells, by name.
local told = {}

function told.check_continue(self, req, res)
  self:emit("check_continue", req, res)
end

function told.body(_, req) req:on_news_() end
function told.aborted(_, req) req:on_aborted_() end
function told.flushed(_, res) res:on_flushed_() end
function told.sent(_, res) res:on_sent_() end
function told.cut(_, res) res:on_cut_() end
function told.connection(self, connection)
  self:emit("connection", server_socket.of_connection(connection))
end

function told.gone(_, connection) server_socket.gone(connection) end

local function settle(self)
  if self.engine_ then self.engine_:settle() end
end

function told.changed(self) loop.at_turn_end(settle, self) end

--- Lets go of the engine after the last connection.
local function close_engine(self)
  local engine, lent = self.engine_, self.lent_
  if not engine or engine:count() > 0 or self.listening then return end
  self.engine_, self.lent_ = nil, nil
  engine:close()
  lent:close()
end

function told.drained(self)
  self:ended_()
  if not self.listening then loop.soon(close_engine, self) end
end

--- Makes a socket of a connection that the core has given up.
local function socket_of(number, unread)
  local socket, err = net.adopt_socket(core.own(number), unread)
  if not socket then error(err) end
  return socket
end

function told.upgrade(self, req, unread, number)
  local socket = socket_of(number, unread)
  req.socket = socket
  self:emit("upgrade", req, socket)
end

function told.connect(self, req, unread, number)
  local socket = socket_of(number, unread)
  req.socket = socket
  self:emit("connect", req, socket)
end

function told.client_error(self, reason, status, number)
  local err = errors.new("ERR_HTTP_BAD_REQUEST", "bad request: " .. reason,
    { status = status })
  self:emit("client_error", err, socket_of(number))
end

--- Calls what the core tells. If that raises, the error is uncaught, and the
--- core goes on with what it does, for it must not stop in between.
local function tell(name, ...)
  local ok, err = pcall(told[name], ...)
  if not ok then loop.soon(error, err, 0) end
end

-- The core's part ------------------------------------------------------------

--- Returns the headers that tell clients how long a connection is kept, and how
--- long it is kept: what is announced is shorter, so that who heeds it does not
--- send what crosses our end.
local function keeping(self)
  local ms = self.keep_alive_timeout
  if ms == 0 then return "", 0 end
  local kept = ms + self.keep_alive_buffer
  if ms < 1000 then return "", kept end
  return ("Connection: keep-alive\r\nKeep-Alive: timeout=%d\r\n")
    :format(ms // 1000), kept
end

local heard = { "upgrade", "connect", "check_continue", "client_error",
  "connection" }

--- Tells the core what somebody listens to; to `connection` we do ourselves.
local function tell_listeners(self)
  local any = {}
  for i, event in ipairs(heard) do
    any[i] = self:listener_count(event) > (event == "connection" and 1 or 0)
  end
  self.engine_:listen_for(table.unpack(any))
end

--- Makes the core's part, with the settings of now, unless it is there.
--- @return Error? err (EMFILE)
local function open_engine(self)
  if self.engine_ then return nil end
  local set, lent = poller.lend(self)
  if not set then return lent end
  local announcement, idle = keeping(self)
  local engine, errno = native.server({
    headers_timeout = self.headers_timeout,
    request_timeout = self.request_timeout,
    idle_timeout = idle,
    linger = LINGER,
    max_header_size = self.max_header_size,
    max_requests_per_socket = self.max_requests_per_socket,
    max_pipelined = self.max_pipelined,
    announcement = announcement,
  }, set, request_of(self), function(name, ...) tell(name, self, ...) end)
  if not engine then
    lent:close()
    return errors.system(errno, "timerfd_create")
  end
  self.engine_, self.lent_ = engine, lent
  tell_listeners(self)
end

--- Returns what it is called among what keeps the loop alive.
--- @return string
function Server:name_() return "http server: connections" end

function Server:listeners_changed_(event, listeners)
  net.Server.listeners_changed_(self, event, listeners)
  if self.engine_ then tell_listeners(self) end
end

-- Connections ----------------------------------------------------------------

--- Closes connections that are more than `max_connections`.
local function drop(self, fd)
  local at, port, peer, peer_port, family = core.addresses(fd:fileno())
  fd:close()
  self:emit("drop", { local_address = at, local_port = port,
    remote_address = peer, remote_port = peer_port, remote_family = family })
end

--- Accepts what the core is to take in, one by one, because there is a limit.
local function accept_limited(self, number, most)
  for _ = 1, most do
    local fd, errno = core.accept(number)
    if not fd then return errno end
    if self.engine_:count() >= self.max_connections then
      drop(self, fd)
    else
      local taken = fd:take()
      if not self.engine_:take(taken) then core.own(taken):close() end
    end
  end
end

--- See `Server:acceptor_` of net.
function Server:acceptor_()
  local err = open_engine(self)
  if err then
    loop.soon(self.emit, self, "error", err)
    return function() return EAGAIN end
  end
  local engine = self.engine_
  engine:finish(false) -- it may have been closed, and still have connections
  return function(number, most)
    if self.max_connections then return accept_limited(self, number, most) end
    local _, errno = engine:accept(number, most)
    return errno
  end
end

--- See `Server:count_for_` of net.
function Server:count_for_(worker)
  local err = open_engine(self)
  if err then errors.raise(err) end
  self.engine_:report((worker:load()))
end

--- See `Server:taker_` of net. Where there is a limit, each connection is
--- looked at here.
function Server:taker_()
  local engine = self.engine_
  engine:finish(false)
  if not self.max_connections then return engine:taker() end
  return function(number)
    if engine:count() >= self.max_connections then
      return drop(self, core.own(number))
    end
    if not engine:take(number) then core.own(number):close() end
  end
end

--- Has connections that are between two requests go to another process, now and
--- as others come to be: in place of being ended when the server is closed.
--- @param worker ClusterWorker
--- @param service integer what they are connections of
function Server:give_idle_(worker, service)
  local engine = self.engine_
  if engine then engine:give_to(select(2, worker:load()), service) end
end

--- Gives away some of the connections that are idle.
--- @param most integer
--- @return integer given
function Server:share_(worker, service, most)
  local engine = self.engine_
  if not engine then return 0 end
  engine:give_to(select(2, worker:load()), service)
  local moved = engine:move(most)
  loop.later(function()
    if self.engine_ and self.listening then self.engine_:give_to(nil) end
  end)
  return moved
end

--- Takes in a connection that `emit("connection", socket)` has brought.
--- @param socket Socket
function Server:take_over_(socket)
  local err = open_engine(self)
  if err then return socket:destroy(err) end
  local unread, fd = socket:unread_(), core.dup(socket:fileno())
  socket:destroy()
  if not fd then return end
  fd:set_nonblocking(true)
  self.engine_:take(fd:take(), unread)
  if not self.listening then self.lent_:set_ref(self.referenced_) end
end

--- Ends what connections are idle, and lets the others end with their answer.
function Server:stopped_()
  local engine = self.engine_
  if not engine then return end
  engine:finish(true)
  engine:end_idle()
  if engine:count() == 0 then return loop.soon(close_engine, self) end
  self.lent_:set_ref(self.referenced_)
end

--- Ends the connections that are between two requests, or have had none.
function Server:close_idle_connections()
  if self.engine_ then self.engine_:end_idle() end
end

--- Cuts all connections, with what they have under way.
function Server:close_all_connections()
  if self.engine_ then self.engine_:end_all() end
end

return Server
