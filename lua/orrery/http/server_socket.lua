--- The connection of a request, for those who ask for it: where it comes from,
--- and its end. Bytes go through requests and responses only, so it is no
--- stream; a connection that changes its protocol becomes a net.Socket.

local address = require "orrery.net.address"
local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local events = require "orrery.events"
local native = require "orrery.http.native"
local options = require "orrery.runtime.options"

local server_socket = {}

--- @class HttpSocket : Emitter events: timeout, close
--- @field local_address string? an IP address, or the path of a Unix socket
--- @field local_port integer?
--- @field remote_address string?
--- @field remote_port integer?
--- @field remote_family 4|6|"unix"|nil
--- @field closed boolean?
--- @field connection_ userdata as the core calls it, until it is closed
--- @field timer_ Timer?
local HttpSocket = class("orrery.HttpSocket", events.Emitter)

function HttpSocket.__tostring(self)
  local place = { address = self.remote_address, port = self.remote_port }
  return ("http socket %s: %s"):format(address.show(place),
    self.closed and "closed" or "open")
end

local known = {} -- by what the core calls the connection

--- Returns the socket of a connection, which is one for all of its requests.
--- @param connection userdata as the core calls it
--- @return HttpSocket
function server_socket.of_connection(connection)
  local self = known[connection]
  if self then return self end
  self = setmetatable({ connection_ = connection }, HttpSocket)
  self.local_address, self.local_port, self.remote_address, self.remote_port,
    self.remote_family = core.addresses(native.connection_fd(connection))
  known[connection] = self
  return self
end

--- Returns the socket of a request's connection; one that is closed if that is
--- over.
--- @param request ServerRequest
--- @return HttpSocket
function server_socket.of(request)
  local connection = request:connection_()
  return connection and server_socket.of_connection(connection)
    or setmetatable({ closed = true }, HttpSocket)
end

--- Tells whether a value is such a socket.
--- @param value any
--- @return boolean
function server_socket.is(value) return getmetatable(value) == HttpSocket end

--- Tells that a connection has gone.
--- @param connection userdata as the core calls it
function server_socket.gone(connection)
  local self = known[connection]
  known[connection] = nil
  if not self then return end
  self.closed, self.connection_ = true, nil
  if self.timer_ then self.timer_:stop() end
  self:emit("close")
end

--- Returns its own address.
--- @return table? address nil once it is closed
function HttpSocket:address()
  if self.closed then return nil end
  return address.place(self.local_address, self.local_port)
end

--- Returns the number of its fd.
--- @return integer? fd nil once it is closed
function HttpSocket:fileno()
  if not self.closed then return native.connection_fd(self.connection_) end
end

--- Cuts the connection, with all requests that it has under way.
function HttpSocket:destroy()
  if not self.closed then native.cut_connection(self.connection_) end
end

--- Emits `timeout` after a time, once; what to do is up to the listener.
--- @param ms integer 0: never
--- @param cb function? added as a listener for one `timeout`
--- @return HttpSocket self
function HttpSocket:set_timeout(ms, cb)
  options.argument("set_timeout", "the time", ms, options.checks.ms)
  if cb ~= nil then
    options.argument("set_timeout", "the callback", cb,
      options.checks.callback)
    self:once("timeout", cb)
  end
  if self.timer_ then self.timer_:stop() end
  self.timer_ = nil
  if ms == 0 or self.closed then return self end
  self.timer_ = clock.after(ms, function() self:emit("timeout") end)
  self.timer_:set_ref(false)
  return self
end

return server_socket
