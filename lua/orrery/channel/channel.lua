--- One end of a channel between two processes: what is queued for the peer,
--- when it goes out, and how the channel ends. The class Channel is put
--- together here, from this file and two parts:
---
---   receiving.lua   what comes: who gets it, and what waits
---   requests.lua    questions of both sides, and their answers
---
--- messaging.lua is what users call. How values and handles become bytes is
--- said by a wire (msgpack_wire.lua, json_wire.lua); the frames are the core's.
---
--- A channel owns the core's `orrery.fork` and what polls its fd. Its owner, a
--- Child or this process, is the emitter of `message`, `disconnect` and
--- `drain`. Users have it as `channel`, for `ref`, `unref`, `fileno` and
--- `flush`.

local core = require "orrery.core"
local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local given_away = require "orrery.channel.given_away"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"
local receiving = require "orrery.channel.receiving"
local requests = require "orrery.channel.requests"

local FLUSH = 64 * 1024 -- bytes queued: sent at once
local HIGH_WATER = 128 * 1024 -- bytes queued: send says false
local MOST_QUEUED = 64 * 1024 * 1024 -- bytes queued: send refuses
local RETRY, MOST_RETRY = 5, 80 -- ms, doubled, where the kernel is short
local EXIT_FLUSH = 2000 -- ms in all

local EAGAIN = core.errnos.EAGAIN

--- @class Channel
--- @field closed boolean
--- @field core_end userdata the core's orrery.fork
--- @field owner Emitter
--- @field wire Wire
--- @field max_message integer bytes of one message, both ways
--- @field callbacks Callback[] of what is with the core, in the order of
---   sending
local Channel = class("orrery.Channel", nil, receiving, requests)

local channels = {} -- that are open

function Channel.__tostring(self)
  return ("channel: %s"):format(self.closed and "closed" or "open")
end

-- Keeping the loop alive -----------------------------------------------------

--- Tells whether this process waits for something that the peer may send.
local function is_awaited(self)
  return self.listeners > 0 or self.end_listeners > 0 or self.handler ~= nil
    or #self.readers > 0 or next(self.requests) ~= nil
end

--- Makes the loop live, or not, for this channel. A child's counts while it is
--- open; this process's own while something is awaited from it or owed to it;
--- ref and unref decide otherwise, but for what is still to be sent.
local function update_ref(self)
  if self.closed then return end
  local wanted = self.pinned_ref
  if wanted == nil then wanted = not self.inherited or is_awaited(self) end
  self.watcher:set_ref(wanted or self.writing or #self.callbacks > 0
    or not self.wire.is_idle(self))
end
Channel.update_ref_ = update_ref

--- Keeps the loop alive while the channel is open.
--- @return Channel self
function Channel:ref()
  self.pinned_ref = true
  update_ref(self)
  return self
end

--- Lets the loop end while the channel is open, but for what is still to be
--- sent.
--- @return Channel self
function Channel:unref()
  self.pinned_ref = false
  update_ref(self)
  return self
end

--- Returns the fd of this end.
--- @return integer? fd nil once it is closed
function Channel:fileno() return self.core_end:fileno() end

-- What the poll listens for --------------------------------------------------

--- Has the poll listen for what this channel is ready to do.
local function listen(self)
  if not self.closed then self.watcher:listen(not self.paused, self.writing) end
end
Channel.listen_ = listen

-- Sending --------------------------------------------------------------------

--- Calls the callbacks of which the kernel has all bytes.
local function call_sent(self)
  local list, first = self.callbacks, 1
  if not list[1] then return end
  local _, sent = self.core_end:totals()
  while list[first] and list[first].at <= sent do
    list[first]:call_()
    first = first + 1
  end
  if first > 1 then table.move(list, first, #list + first - 1, 1) end
end

--- Calls all callbacks that are left, with an error.
local function fail_all(self, err)
  local list = self.callbacks
  self.callbacks = {}
  for _, callback in ipairs(list) do callback:call_(err) end
end

local function closed_error(what)
  return errors.new("ERR_IPC_CHANNEL_CLOSED",
    (what or "send") .. ": the channel is closed")
end

--- Whoever leaves has sent and delivered all; not where a listener has thrown
--- in the midst of that: then dispatching goes on first.
local function finish_if_left(self)
  if self.left and not self.dispatching then self:finish_() end
end

--- All that was queued is with the kernel.
local function sent_all(self)
  self.retry_ms = false
  if self.writing then
    self.writing = false
    listen(self)
  end
  if not self.wire.is_idle(self) then return end
  if self.need_drain then
    self.need_drain, self.sends_fast = false, self.fast
    loop.soon(self.owner.emit, self.owner, "drain")
  end
  finish_if_left(self)
end

--- Flushes again some ms later: memory, or the limit of fds in flight (unix(7),
--- ETOOMANYREFS), is short, and no event tells when that is over.
local function retry_later(self)
  if self.retry then return end
  self.retry_ms = self.retry_ms and math.min(self.retry_ms * 2, MOST_RETRY)
    or RETRY
  self.retry = clock.after(self.retry_ms, function()
    self.retry = false
    self:flush()
  end)
end

--- The peer takes no more. What it has sent is still read, to its end.
local function break_off(self, err)
  if self.broken then return end
  self.broken, self.writing, self.sends_fast = true, false, false
  self.owner.connected = false
  fail_all(self, err)
  listen(self)
  finish_if_left(self)
end

--- Waits until there is room for the rest. A socket that has room while the
--- kernel is short of something else is writable all the time, so the poll does
--- not ask then.
local function wait_for_room(self, errno)
  self.writing = errno == EAGAIN
  listen(self)
  if not self.writing then retry_later(self) end
end

--- Sends what the socket takes at once; the rest follows when it takes more.
--- @return boolean sent all of it
function Channel:flush()
  if self.closed or self.broken then return false end
  local done, errno = self.core_end:flush()
  if done and not self.eager then return true end
  call_sent(self)
  if done then
    sent_all(self)
  elseif done == false then
    wait_for_room(self, errno)
  else
    break_off(self, errors.system(errno, "send"))
  end
  self.eager = not done or self.need_drain or self.leaving
  update_ref(self)
  return done == true
end

local function flush_dirty(self)
  self.dirty = false
  self:flush()
end

--- Returns how many bytes the core has still to send.
local function unsent(self)
  local accepted, sent = self.core_end:totals()
  return accepted - sent
end

--- Sends at once, for much is queued.
--- @return boolean go_on
local function flush_much(self, queued)
  if not (self.retry or self.writing) then
    -- What the wire holds back, behind a handle, is not the core's.
    local deferred = self.fast and 0 or queued - unsent(self)
    queued = deferred + (self:flush() and 0 or unsent(self))
  end
  if queued < HIGH_WATER then return true end
  self.need_drain, self.eager, self.sends_fast = true, true, false
  return false
end

--- Sees to it that what has just been queued goes out: when the turn ends, or
--- at once if it is much.
--- @param queued integer bytes that wait by now
--- @return boolean go_on false: wait for `drain`
function Channel:queued_(queued)
  if queued >= FLUSH then return flush_much(self, queued) end
  if not (self.dirty or self.retry or self.writing) then
    self.dirty = true
    loop.at_turn_end(flush_dirty, self)
  end
  return true
end

--- Returns why no message is taken now, or nil.
--- @return Error? err (ERR_IPC_CHANNEL_CLOSED, ENOBUFS)
function Channel:refusal_()
  if self.closed or self.leaving or self.broken then return closed_error() end
  if not self.need_drain then return nil end
  local waiting = unsent(self)
  if waiting < MOST_QUEUED then return nil end
  return errors.new("ENOBUFS", ("send: %d bytes are queued already, and the "
    .. "peer does not read: wait for 'drain'"):format(waiting))
end

--- Returns the error of a message that the wire has not queued.
--- @param errno integer
--- @return Error
function Channel:queue_error_(errno)
  local err = errors.system(errno, "send")
  if err.code == "EMSGSIZE" then
    err.message = ("send: the message is longer than max_message, %d bytes "
      .. "(EMSGSIZE)"):format(self.max_message)
  elseif err.code == "EBUSY" then
    err.message = "send: bytes of the socket were read here already, which "
      .. "have no place in Node's protocol (EBUSY): accept it with "
      .. "pause_on_connect"
  end
  return err
end

--- Calls `callback` when what was queued last is sent, or never will be.
--- @param callback Callback
function Channel:when_sent_(callback)
  callback.at = self.core_end:totals()
  self.callbacks[#self.callbacks + 1] = callback
  self.eager = true
  update_ref(self)
end

-- The end --------------------------------------------------------------------

--- Returns the error with which the channel ends: one that was met before, or
--- ECONNRESET if the peer ended within a message; nil if all is well.
--- @return Error?
local function final_error(self)
  local partial = self.core_end:partial()
  if self.error or partial == 0 or not self.ended then return self.error end
  return errors.new("ECONNRESET",
    ("channel: the peer ended after %d bytes of a message"):format(partial))
end

local function emit_disconnect(self, err)
  self.over = true
  if self.on_over_ then loop.soon(self.on_over_) end
  self.owner:emit("disconnect", err)
end

--- Calls fn(owner) after `disconnect`; at once if that was emitted before.
--- @param fn fun(owner: Emitter)
function Channel:when_over_(fn)
  if self.over then return fn(self.owner) end
  self.on_over_ = function() fn(self.owner) end
end

--- Closes the channel: what was not sent fails, and so does what waits here for
--- a message; `disconnect` follows. Does nothing if it is closed.
function Channel:finish_()
  if self.closed then return end
  local err = final_error(self)
  self.closed, self.sends_fast, self.direct = true, false, false
  channels[self] = nil
  if self.retry then self.retry:stop() end
  self.watcher:close()
  self.core_end:close()
  self.owner.connected, self.owner.channel = false, nil
  self.wire.close(self, err or closed_error())
  fail_all(self, err or closed_error())
  local readers = self.readers
  self.readers, self.handler = {}, nil
  given_away.lost(self)
  for _, wake in ipairs(readers) do wake(nil, err or closed_error("receive")) end
  self:fail_requests_(err or closed_error("request"))
  loop.soon(emit_disconnect, self, err)
end

--- Takes no more messages from now on, and closes the channel once what is
--- queued is sent and what has come is delivered. Does nothing if that was
--- asked before.
function Channel:leave_()
  if self.leaving or self.closed then return end
  self.owner.connected = false
  self.leaving, self.eager, self.sends_fast = true, true, false
  loop.soon(self.dispatch_, self)
  loop.soon(function()
    if not self.closed then self:read_() end
  end)
  loop.soon(function()
    self.left = true
    self:go_on_leaving_()
  end)
end

--- Ends it where all is sent, or cannot be.
function Channel:go_on_leaving_()
  if self.broken then return finish_if_left(self) end
  self:flush()
end

-- Exit -----------------------------------------------------------------------

--- Writes what is queued, waiting for slow readers, for all channels together.
loop.at_exit(function()
  local deadline = clock.now() + EXIT_FLUSH
  for self in pairs(channels) do self.core_end:flush() end
  for self in pairs(channels) do
    local done, errno = self.core_end:flush()
    while done == false and clock.now() < deadline do
      local full = errno == EAGAIN
      core.poll({}, full and { self.core_end:fileno() } or {},
        full and deadline - clock.now() or RETRY)
      done, errno = self.core_end:flush()
    end
  end
end)

-- Making one -----------------------------------------------------------------

local channel = { closed_error = closed_error }

--- A channel of which nobody wants anything yet.
local function new(owner, fields)
  fields.owner = owner
  fields.inbox, fields.taken, fields.waiting = {}, 0, 0 -- from taken + 1 on
  fields.inbox_bytes, fields.inbox_handles = 0, 0
  fields.readers, fields.requests, fields.callbacks = {}, {}, {}
  return setmetatable(fields, Channel)
end

--- Opens a channel over a connected Unix stream socket.
--- @param fd userdata orrery.fd; the channel's from now on
--- @param owner Emitter
--- @param opts {wire: Wire, max_message: integer, inherited: boolean}
--- @return Channel? channel nil, err (EMFILE)
--- @return Error? err
function channel.open(fd, owner, opts)
  local framing = opts.wire.framing
  local core_end = core.fork(fd, framing, opts.max_message)
  local self = new(owner, {
    core_end = core_end,
    wire = opts.wire,
    fetch_ = core_end.fetch,
    post_ = core_end.send,
    fast = framing == "frames",
    sends_fast = framing == "frames", -- and nothing is in the way
    max_message = opts.max_message,
    inherited = opts.inherited or false,
    closed = false,
    paused = false, -- the inbox is full
    writing = false, -- the socket is
    broken = false, -- the peer takes no more
    leaving = false, -- nothing more is to be sent
    left = false, -- and what has come is read
    took = false, -- somebody, of what waited here, since the oldest request
    gone = false, -- the peer has
    ended = false, -- and all of it is read
    dirty = false, -- what is queued goes out when the turn ends
    dispatching = false,
    need_drain = false,
    retry = false, -- a timer
    retry_ms = false,
    eager = false, -- somebody wants to hear that all is sent
    listeners = owner:listener_count("message"),
    end_listeners = owner:listener_count("disconnect"),
    last_id = 0,
    serving = 0,
  })
  local err
  self.watcher, err = poller.watch(core_end:fileno(), self.on_ready_, self)
  if not self.watcher then
    core_end:close()
    return nil, err
  end
  channels[self] = true
  self:begin_receiving_()
  owner.connected = true
  update_ref(self)
  return self
end

--- A channel that there never was: its owner failed to start.
--- @return Channel
function channel.none(owner)
  return new(owner, { closed = true, over = true })
end

return channel
