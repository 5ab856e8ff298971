--- Connections over TCP and Unix sockets: streams that know where they go. The
--- public names are in net.lua. Class Socket is a Stream with two files:
--- connecting.lua, a part of it with a state of its own, gets a socket
--- connected and holds back writes until it is; this one has all that comes
--- after.
---
--- Unlike other streams a socket reads ahead from the start, up to a limit,
--- since it would not notice otherwise that its peer has gone. The start is the
--- end of the turn: a connection that is answered or sent on at once is never
--- opened in luv.

local address = require "orrery.net.address"
local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local connecting = require "orrery.net.connecting"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local opening = require "orrery.net.opening"
local options = require "orrery.runtime.options"
local stream = require "orrery.stream"

local Stream = stream.Stream
local checks = options.checks

--- @class Socket : Stream events: connect, timeout, and those of a stream
--- @field connecting boolean
--- @field local_address string? an IP address, or the path of a Unix socket
--- @field local_port integer?
--- @field remote_address string?
--- @field remote_port integer?
--- @field remote_family 4|6|"unix"|nil
--- @field bytes_read integer
--- @field bytes_written integer
--- @field server Server? which accepted it
--- @field count_off_ function? to be called when it has ended: see `leave`
--- @field given_ boolean? it is on its way to another process, for good
--- @field touch_ function? tells `set_timeout` that bytes have gone either way
--- @field idle_timer_ Timer? of `set_timeout`
--- @field allow_half_open_ boolean?
--- @field no_delay_ boolean?
--- @field keep_alive_ boolean?
--- @field keep_alive_delay_ integer? ms
local Socket = class("orrery.Socket", Stream, connecting)

Socket.handle_type_ = "net.Socket"
Socket.reads_ahead_ = true
Socket.is_socket_ = true
Socket.readable, Socket.writable = true, true

function Socket.__tostring(self)
  local place = self.remote_address or "-"
  if self.remote_port then
    place = address.show { address = place, port = self.remote_port }
  end
  local state = self.closed and "closed" or self.connecting and "connecting"
    or self.pending_ and "new" or self.ended and "ended" or "open"
  return ("socket %s: %s"):format(place, state)
end

-- Making them ----------------------------------------------------------------

--- Makes a socket that is not connected. It must be made before its handle:
--- when the Lua state closes, the object that was made last is finalized first,
--- and then a handle must not be closed by its socket.
--- @param opts {allow_half_open: boolean?, no_delay: boolean?,
---   keep_alive: boolean?}
--- @return Socket
function Socket.new_(opts)
  local self = setmetatable(stream.new(nil, "tcp", "rw"), Socket)
  self.pending_ = true
  self.allow_half_open_ = opts.allow_half_open
  self.no_delay_, self.keep_alive_ = opts.no_delay, opts.keep_alive
  return self
end

local function apply_settings(self)
  if self.no_delay_ then self:set_no_delay(true) end
  if self.keep_alive_ then
    self:set_keep_alive(true, self.keep_alive_delay_)
  end
end

--- Takes in a connected handle, and starts to look out for the peer's end.
--- @param handle userdata luv's
--- @param kind "tcp"|"pipe"
function Socket:begin_(handle, kind)
  self.handle_, self.kind_, self.pending_ = handle, kind, nil
  self.local_address, self.local_port, self.remote_address, self.remote_port,
    self.remote_family = core.addresses(handle:fileno())
  apply_settings(self)
  if not self.paused_ then self:start_reading_() end
end

local function begin_reading(self)
  if not (self.paused_ or self.given_) then self:start_reading_() end
end

--- Makes a socket of a connected fd; it is read from the end of the turn on.
--- @param fd userdata orrery.fd, owned
--- @param kind "tcp"|"pipe"
--- @param opts {allow_half_open: boolean?, no_delay: boolean?,
---   keep_alive: boolean?, pause_on_connect: boolean?}
--- @param own_address string? these five as core.addresses gives them
--- @param own_port integer?
--- @param address_ string?
--- @param port integer?
--- @param family any
--- @return Socket
function Socket.over_(fd, kind, opts, own_address, own_port, address_, port,
    family)
  local self = setmetatable({
    fd_ = fd,
    kind_ = kind,
    chunks_ = {},
    local_address = own_address,
    local_port = own_port,
    remote_address = address_,
    remote_port = port,
    remote_family = family,
    paused_ = opts.pause_on_connect,
    allow_half_open_ = opts.allow_half_open,
    no_delay_ = opts.no_delay,
    keep_alive_ = opts.keep_alive,
  }, Socket)
  apply_settings(self)
  loop.at_turn_end(begin_reading, self)
  return self
end

-- Ending ---------------------------------------------------------------------

--- Ends our side after the peer's, unless it was told otherwise.
function Socket:after_end_()
  if not self.allow_half_open_ then self:finish() end
end

--- Closes as a stream does; and also a connection that is of no use any more
--- although there are unread bytes, if they have not been asked for so far.
--- They can still be read.
function Socket:close_if_over_()
  local over = self.write_error_
    or self.ended and (self.read_error_ or not self.writable)
  if self.closed or self.asked_ or not over then
    return Stream.close_if_over_(self)
  end
  self.keeps_unread_ = true
  self:destroy()
end

--- Ends the opening of a socket that is destroyed before it is connected: the
--- callbacks of what was written, and the task that waits, get the reason.
local function disappoint(self, reason)
  reason = reason or errors.new("ECANCELED", "the socket was closed")
  local held = self.held_ or {}
  self.connecting, self.held_ = false, nil
  for _, write in ipairs(held) do
    if write.cb then loop.soon(write.cb, reason) end
  end
  opening.refused(self, reason)
end

--- Ends both directions at once; see `Stream:destroy`. A `connect` that is
--- under way fails with `err` or ECANCELED.
--- @param err Error? emitted as `error` first
function Socket:destroy(err)
  if self.closed then return end
  self.touch_ = nil
  if self.idle_timer_ then self.idle_timer_:stop() end
  Stream.destroy(self, err)
  if self.connecting then disappoint(self, self.write_error_ or err) end
end

--- Tells who counts the connection that it has ended: the server that accepted
--- it, or the process that sent it here.
local function leave(self)
  local count_off = self.count_off_
  self.count_off_ = nil
  if count_off then count_off() end
end

--- Tells the user and who counts the connection that it is closed.
function Socket:emit_close_()
  leave(self)
  Stream.emit_close_(self)
end

--- Counts off a connection that is collected before it was closed.
function Socket:__gc()
  if self.server and not self.closed then pcall(leave, self) end
  Stream.__gc(self)
end

--- Closes a socket that belongs to another process now, without a word to the
--- peer.
function Socket:sent_() self:destroy() end

-- Settings -------------------------------------------------------------------

--- Returns its own address: `{address, port, family}`, or `{path}` of a Unix
--- socket.
--- @return table? address nil unless it is connected
function Socket:address()
  if self.closed or self.pending_ then return nil end
  if self.kind_ == "tcp" and not self.local_port then return nil end
  return address.place(self.local_address, self.local_port)
end

--- Returns the luv handle of a TCP connection, or nil if there is none.
local function settable_handle(self)
  if self.closed or self.pending_ or self.kind_ ~= "tcp" then return nil end
  return (self:handle_of_())
end

--- Sets whether small writes go out at once (TCP_NODELAY). A socket that is not
--- connected so far has it from then on; a Unix socket ignores it.
--- @param on boolean? true
--- @return Socket self
function Socket:set_no_delay(on)
  if on == nil then on = true end
  options.argument("set_no_delay", "the argument", on, checks.boolean)
  self.no_delay_ = on
  local handle = settable_handle(self)
  if handle then handle:nodelay(on) end
  return self
end

--- Sets whether the kernel probes an idle connection (SO_KEEPALIVE). A socket
--- that is not connected so far has it from then on; a Unix socket ignores it.
--- @param on boolean? true
--- @param delay integer? ms of idleness before the first probe; 0: the system's
--- @return Socket self
function Socket:set_keep_alive(on, delay)
  if on == nil then on = true end
  options.argument("set_keep_alive", "the argument", on, checks.boolean)
  options.argument("set_keep_alive", "the delay", delay or 0, checks.ms)
  self.keep_alive_, self.keep_alive_delay_ = on, delay
  local handle = settable_handle(self)
  if handle then handle:keepalive(on, math.ceil((delay or 0) / 1000)) end
  return self
end

--- Emits `timeout` when nothing has gone either way for `ms`. The timer is not
--- armed anew on each read and write: `check` sees how long it has really been.
local function watch_idleness(self, ms)
  local at, queue = nil, 0
  local check
  local function arm(left)
    self.idle_timer_ = clock.after(left, check)
    self.idle_timer_:set_ref(false)
  end
  function check()
    self.idle_timer_ = nil
    local still = self.handle_ and self.handle_:get_write_queue_size() or 0
    local now = clock.now()
    if still ~= queue then at, queue = now, still end
    local left = at + ms - now
    if left > 0 then return arm(left) end
    self:emit("timeout")
  end
  function self.touch_()
    at = clock.now()
    if not self.idle_timer_ then arm(ms) end
  end
  self.touch_()
end

--- Emits `timeout` once nothing has been read or written for so long; closing
--- the connection is up to the listener.
--- @param ms integer 0: no longer
--- @param cb function? added as a listener for one `timeout`
--- @return Socket self
function Socket:set_timeout(ms, cb)
  options.argument("set_timeout", "the time", ms, checks.ms)
  if cb ~= nil then
    options.argument("set_timeout", "the callback", cb, checks.callback)
  end
  if self.idle_timer_ then self.idle_timer_:stop() end
  self.idle_timer_, self.touch_ = nil, nil
  if ms == 0 or self.closed then return self end
  if cb then self:once("timeout", cb) end
  watch_idleness(self, ms)
  return self
end

return Socket
