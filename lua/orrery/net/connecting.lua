--- The beginning of a connection, a part of class Socket: finds the addresses,
--- tries one after the other, and holds back what is written meanwhile, for
--- which there is no fd so far. It ends with `begin_`, or with `destroy`.
---
--- Its state: `pending_` (the socket has never had a connection), `connecting`,
--- and from then until there is one `held_` and `held_size_`, what is held back
--- and its bytes. While writes are held back, `finishing_` and `need_drain_` of
--- the writing half are set here.

local uv = require "orrery.runtime.luv"
local address = require "orrery.net.address"
local clock = require "orrery.runtime.clock"
local loop = require "orrery.runtime.loop"
local opening = require "orrery.net.opening"
local options = require "orrery.runtime.options"
local stream = require "orrery.stream"

local HIGH_WATER = 65536 -- bytes held back: write says false
local BACKLOG_FULL = 10 -- ms until a full Unix socket is tried again

local Stream = stream.Stream
local checks = options.checks

--- @class Socket
local Connecting = { connecting = false }

--- The options of a socket that may be given when it is made.
Connecting.schema_ = {
  allow_half_open = checks.boolean,
  no_delay = checks.boolean,
  keep_alive = checks.boolean,
}

-- Connecting -----------------------------------------------------------------

local attempt

--- Writes what was held back, in order.
local function flush_held(self)
  local held = self.held_
  self.held_, self.held_size_, self.finishing_ = nil, nil, nil
  for _, write in ipairs(held) do
    Stream[write.method](self, write.data, write.cb)
  end
  if self.need_drain_ and self.queued_ == 0 then
    self.need_drain_ = false
    loop.soon(self.emit, self, "drain")
  end
end

local function connected(self, handle, kind)
  self.connecting = false
  self:begin_(handle, kind)
  flush_held(self)
  opening.opened(self, "connect")
end

--- Gives up: the error is for the task that waits, or an `error` event.
local function refused(self, err)
  if self.closed then return end
  self.read_error_, self.write_error_ = err, err
  if opening.refused(self, err) then err = nil end
  self:destroy(err)
end

--- Connecting to place `i` failed: tries the next one, or gives up with this
--- error. A Unix socket whose backlog is full is tried again.
local function attempt_failed(self, places, i, code)
  if self.closed then return end
  if self.handle_ then loop.close(self.handle_) end
  self.handle_ = nil
  if code == "EAGAIN" and places[i].path then
    return clock.after(BACKLOG_FULL, function() attempt(self, places, i) end)
  elseif places[i + 1] then
    return attempt(self, places, i + 1)
  end
  refused(self, address.failure(code, "connect", places[i]))
end

--- Has a handle connect to a place. Returns what luv does.
local function aim(handle, place, done)
  if place.path then return handle:connect(place.path, done) end
  if place.from then
    local ok, message, code = handle:bind(place.from, 0)
    if not ok then return nil, message, code end
  end
  return handle:connect(place.address, place.port, done)
end

function attempt(self, places, i)
  if self.closed then return end
  local place = places[i]
  local kind = place.path and "pipe" or "tcp"
  local handle = place.path and uv.new_pipe(false) or uv.new_tcp()
  self.handle_ = handle
  if not self.referenced_ then handle:unref() end
  local done = loop.guard(function(code)
    if self.closed then return end
    if code then return attempt_failed(self, places, i, code) end
    connected(self, handle, kind)
  end)
  local ok, _, code = aim(handle, place, done)
  if ok then return end
  loop.soon(function() attempt_failed(self, places, i, code) end)
end

--- Finds out where to go, and tries one place after the other.
local function start_connecting(self, target)
  self.connecting, self.held_, self.held_size_ = true, {}, 0
  if target.path then
    local err = address.path_failure(target.path, "connect")
    if err then return loop.soon(refused, self, err) end
    return attempt(self, { target }, 1)
  end
  address.resolve(target.host or "localhost", target.family,
    function(err, list)
      if err then return refused(self, err) end
      local from = target.local_address and address.ip(target.local_address)
      local places = {}
      for i, one in ipairs(list) do
        places[i] = { address = one.address, port = address.port(target.port),
          from = from }
      end
      attempt(self, places, 1)
    end)
end

local connect_options = options.copy(Connecting.schema_)
connect_options.port = address.checks.port
connect_options.host = address.checks.host
connect_options.family = address.checks.family
connect_options.path = address.checks.path
connect_options.local_address = address.checks.ip

--- Returns the arguments of `connect` as a table. Raises unless they are good.
--- @param ... any port, host, cb; path, cb; or options, cb
--- @return table target
--- @return function? cb
function Connecting.target_(...)
  local args, cb = address.callback(...)
  local target = args[1]
  if type(target) ~= "table" then
    local is_path = type(target) == "string" and not address.port(target)
    target = { host = args[2], [is_path and "path" or "port"] = target }
  end
  target = options.check("connect", target, connect_options)
  if (target.port == nil) == (target.path == nil) then
    options.raise("connect: either a port or a path must be given")
  end
  return target, cb
end

--- Connects to a target; see `connect`.
--- @param target table as `target_` gives it
--- @param cb function?
--- @return Socket? self
--- @return Error? err
function Connecting:open_(target, cb)
  return opening.open(self, "connect", cb, function()
    start_connecting(self, target)
  end, self.destroy)
end

--- Connects a socket that `net.socket` made; see `net.connect` for the
--- arguments, the results and the errors. Raises if the socket has been
--- connected before, or is closed. [w]
--- @param ... any as those of `net.connect`
--- @return Socket? self connected, if it has waited
--- @return Error? err as that of `net.connect`
function Connecting:connect(...)
  local target, cb = Connecting.target_(...)
  if not self.pending_ or self.connecting or self.closed then
    options.raise("connect: this socket has been connected before; make "
      .. "another one")
  end
  for name in next, Connecting.schema_ do
    if target[name] ~= nil then self[name .. "_"] = target[name] end
  end
  return self:open_(target, cb)
end

-- Writing --------------------------------------------------------------------

--- Holds a write back. Returns what `write` does.
local function hold(self, method, data, cb)
  table.insert(self.held_, { method = method, data = data, cb = cb })
  self.held_size_ = self.held_size_ + #data
  if self.held_size_ < HIGH_WATER then return true end
  self.need_drain_ = true
  return false
end

--- Writes as a stream does. What is written before the socket is connected goes
--- out then; if it never is, the callback has the error of that.
--- @param data string
--- @param cb fun(err: Error?)? see `Stream:write`
--- @return boolean go_on false: 64 KiB or more are held back or queued, and a
---   patient writer waits for `drain`; or the write failed
function Connecting:write(data, cb)
  options.check_write("write", data, cb)
  if self.touch_ then self.touch_() end
  if self.held_ and not self.finishing_ then
    return hold(self, "write", data, cb)
  end
  local more = Stream.write(self, data, cb)
  if self.write_error_ and not self.closed then
    loop.soon(self.close_if_over_, self)
  end
  return more
end

--- Ends the writing side as a stream does, once the socket is connected.
--- @param data string? written first
--- @param cb fun(err: Error?)? see `Stream:finish`
function Connecting:finish(data, cb)
  if not self.held_ or self.finishing_ then
    Stream.finish(self, data, cb)
    return
  end
  if type(data) == "function" then data, cb = nil, data end
  options.check_write("finish", data or "", cb)
  hold(self, "finish", data or "", cb)
  self.finishing_ = true
end

return Connecting
