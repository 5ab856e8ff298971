--- Agents: which connection a request gets, and what becomes of a connection
--- that is free. An agent owns the ClientConnections that it has opened, from
--- then until they are gone or are taken over by another protocol; it never
--- touches their bytes.
---
--- Connections and requests that wait are counted and queued by *origin*: host,
--- port and local address, or the path of a Unix socket.

local class = require "orrery.runtime.class"
local ClientConnection = require "orrery.http.client_connection"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local Queue = require "orrery.http.queue"

local MAX_FREE = 256 -- free connections of an origin

local checks = options.checks

--- @class Agent
--- @field keep_alive boolean whether connections are kept for further requests
--- @field max_sockets integer|number of an origin
--- @field max_total_sockets integer|number
--- @field max_free integer|number free ones of an origin
--- @field timeout integer? ms
--- @field scheduling "lifo"|"fifo"
--- @field sockets integer how many connections it has, free ones too
--- @field waiting integer how many requests wait for one
--- @field asked_ integer requests that have ever had to wait
--- @field origins_ table<string, Origin> those that have any of either
--- @field connections_ table<ClientConnection, true>
--- @field free_ Queue of free connections, those first that are free longest
--- @field short_ Queue of origins that could open a connection, for a request
---   that waits, if it were not for max_total_sockets
local Agent = class "orrery.HttpAgent"

--- @class Origin
--- @field name string
--- @field open integer connections
--- @field free Queue of ClientConnections
--- @field waiting Queue of ClientRequests

function Agent.__tostring(self)
  return ("agent: %d sockets, %d free, %d requests wait"):format(self.sockets,
    self.free_.count, self.waiting)
end

local function check_count(value)
  if value == math.huge then return end
  if math.type(value) ~= "integer" or value < 1 then
    return "an integer, 1 or more, or math.huge"
  end
end

local schema = {
  keep_alive = checks.boolean,
  max_sockets = check_count,
  max_total_sockets = check_count,
  max_free = function(value)
    if checks.size(value) then return "an integer, 0 or more, or math.huge" end
  end,
  timeout = checks.ms,
  scheduling = function(value)
    if value ~= "lifo" and value ~= "fifo" then return [["lifo" or "fifo"]] end
  end,
}

--- Makes an agent; see `http.agent`.
--- @param opts table?
--- @return Agent
function Agent.new(opts)
  opts = options.check("agent", opts, schema)
  return setmetatable({
    keep_alive = opts.keep_alive ~= false,
    max_sockets = opts.max_sockets or math.huge,
    max_total_sockets = opts.max_total_sockets or math.huge,
    max_free = opts.max_free or MAX_FREE,
    timeout = opts.timeout ~= 0 and opts.timeout or nil,
    scheduling = opts.scheduling or "lifo",
    sockets = 0,
    waiting = 0,
    asked_ = 0,
    origins_ = {},
    connections_ = {},
    free_ = Queue.new(),
    short_ = Queue.new(),
  }, Agent)
end

local global

--- Returns the agent of requests that name none.
--- @return Agent
function Agent.global()
  global = global or Agent.new()
  return global
end

-- Origins ---------------------------------------------------------------------

local function name_of(plan)
  if plan.socket_path then return "unix:" .. plan.socket_path end
  return ("%s:%d:%s:%s"):format(plan.host, plan.port, plan.local_address or "",
    plan.family or "")
end

--- Returns the origin of a plan, made if need be.
local function origin_of(self, plan)
  local name = name_of(plan)
  local origin = self.origins_[name]
  if not origin then
    origin = { name = name, open = 0, free = Queue.new(),
      waiting = Queue.new() }
    self.origins_[name] = origin
  end
  return origin
end

--- Forgets an origin that has nothing left.
local function drop_if_empty(self, origin)
  if origin.open == 0 and origin.waiting.count == 0 then
    self.origins_[origin.name] = nil
  end
end

-- Waiting requests ------------------------------------------------------------

--- Has a request wait, behind those of its origin that wait already.
local function put_off(self, origin, request)
  self.asked_ = self.asked_ + 1
  request.place_ = self.asked_
  origin.waiting:push(request)
  self.waiting = self.waiting + 1
end

--- Takes out the request that has waited longest; nil if none waits.
local function next_request(self, origin)
  local request = origin.waiting:shift()
  if request then self.waiting = self.waiting - 1 end
  return request
end

--- Tells whether the origin whose turn it is among those that queue for room
--- has a request that has waited longer than those of another one, which is
--- about to be served. If that queues, too, it goes behind the others.
local function others_come_first(self, origin)
  if self.short_:remove(origin) then self.short_:push(origin) end
  local other, own = self.short_.first, origin.waiting.first
  if not other or other == origin then return false end
  return not own or other.waiting.first.place_ < own.place_
end

--- Makes room for one more connection, if need be by closing those that are
--- free, of whichever origin. Returns false if there is none to be had.
local function make_room(self)
  while self.sockets >= self.max_total_sockets and self.free_.first do
    self.free_.first:close()
  end
  return self.sockets < self.max_total_sockets
end

--- Tells whether a request waits that may have a new connection.
local function is_due(self, origin)
  return origin.waiting.count > 0 and origin.open < self.max_sockets
end

--- Opens connections for the requests of an origin that wait, as far as the
--- limits allow. If only the total of all keeps it from that, the origin queues
--- for it. (Making room closes connections, which may serve others meanwhile.)
local function serve(self, origin)
  while is_due(self, origin) do
    if not make_room(self) then
      if not self.short_:has(origin) then self.short_:push(origin) end
      return
    elseif is_due(self, origin) then
      origin.open, self.sockets = origin.open + 1, self.sockets + 1
      local request = next_request(self, origin)
      self.connections_[ClientConnection.open(self, origin, request)] = true
    end
  end
  self.short_:remove(origin)
  drop_if_empty(self, origin)
end

--- Serves the origins that queue for room, in turn, once there is some.
local function serve_short(self)
  while self.short_.first and self.sockets < self.max_total_sockets do
    serve(self, self.short_:shift())
  end
end

-- Free connections ------------------------------------------------------------

--- Keeps a connection that has served its request, for the next one.
local function keep(self, connection, ms)
  connection:rest_(ms)
  connection.origin_.free:push(connection)
  self.free_:push(connection)
end

--- Takes a free connection of an origin that can still be used; those that
--- cannot are closed on the way. Returns nil if there is none.
local function take_free(self, origin)
  local free = origin.free
  while free.count > 0 do
    local connection = self.scheduling == "lifo" and free.last or free.first
    free:remove(connection)
    self.free_:remove(connection)
    if connection:is_usable_() then return connection end
    connection:close()
  end
end

-- What requests call ----------------------------------------------------------

--- Gives a request a connection: a free one, or a new one, or has it wait.
--- @param request ClientRequest
function Agent:add_(request)
  local origin = origin_of(self, request.plan_)
  local connection = take_free(self, origin)
  if connection then return connection:begin_(request) end
  self.origins_[origin.name] = origin -- closing its last one had it forgotten
  put_off(self, origin, request)
  serve(self, origin)
end

--- Forgets a request that waits.
--- @param request ClientRequest
function Agent:forget_(request)
  local origin = self.origins_[name_of(request.plan_)]
  if not (origin and origin.waiting:remove(request)) then return end
  self.waiting = self.waiting - 1
  if origin.waiting.count == 0 then self.short_:remove(origin) end
  drop_if_empty(self, origin)
end

-- What connections call -------------------------------------------------------

--- Puts a request whose connection turned out to be gone in front of all others
--- of its origin: it gets the next connection that is opened. (The caller
--- closes the old one, which makes room for that.)
--- @param origin Origin
--- @param request ClientRequest
function Agent:again_(origin, request)
  request.place_ = 0
  origin.waiting:push_front(request)
  self.waiting = self.waiting + 1
end

--- Takes back a connection that has served its request and may serve others:
--- it goes to a request that waits for one, or is kept, or closed.
--- @param connection ClientConnection
--- @param hint integer? ms that the server keeps it
function Agent:take_back_(connection, hint)
  local origin = connection.origin_
  if others_come_first(self, origin) then return connection:close() end
  local request = next_request(self, origin)
  if request then
    if connection:is_usable_() then return connection:begin_(request) end
    self:again_(origin, request)
    return connection:close()
  end
  local ms = math.min(hint or math.huge, self.timeout or math.huge)
  if not self.keep_alive or ms <= 0
    or origin.free.count >= self.max_free then
    return connection:close()
  end
  keep(self, connection, ms < math.huge and ms or nil)
end

--- Counts off a connection that is closed, or belongs to another protocol now.
--- @param connection ClientConnection
function Agent:gone_(connection)
  local origin = connection.origin_
  self.connections_[connection] = nil
  origin.free:remove(connection)
  self.free_:remove(connection)
  origin.open, self.sockets = origin.open - 1, self.sockets - 1
  if others_come_first(self, origin) then serve_short(self) end
  serve(self, origin)
  serve_short(self)
end

-- Public ----------------------------------------------------------------------

--- Closes all connections, also those that are in use, whose requests fail with
--- ECANCELED, as those do that wait for a connection. Requests that are made
--- later are served as ever.
function Agent:destroy()
  local reason = errors.new("ECANCELED", "the agent was destroyed")
  local requests = {}
  for _, origin in next, self.origins_ do
    origin.waiting:append_to(requests)
  end
  for _, request in ipairs(requests) do request:destroy(reason) end
  local connections = {}
  for connection in next, self.connections_ do
    connections[#connections + 1] = connection
  end
  for _, connection in ipairs(connections) do connection:abandon_(reason) end
end

--- Closes all connections at the end of a block; see `destroy`.
function Agent:__close() self:destroy() end

return Agent
