--- One end of a channel between two processes: queueing, flushing, its end.
--- receiving.lua is the other half, `messaging.lua` is what users call, and
--- the frames are the core's.
---
--- It owns the core's `orrery.fork` and what polls its fd. The owner, a child or
--- this process, is the emitter of `message`, `disconnect` and `drain`.

local core = require "orrery.core"
local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"

local FLUSH = 64 * 1024 -- bytes queued: sent at once
local HIGH_WATER = 128 * 1024 -- bytes queued: send says false
local MOST_QUEUED = 64 * 1024 * 1024 -- bytes queued: send refuses
local RETRY, MOST_RETRY = 5, 80 -- ms, doubled, where the kernel is short
local EXIT_FLUSH = 2000 -- ms in all

local EAGAIN = core.errnos.EAGAIN

--- @class Channel
--- @field closed boolean
local Channel = { __name = "orrery.Channel" }
Channel.__index = Channel

local channels = {} -- that are open

--- How many callbacks of sends were given, and called: they end up the same.
local counts = { given = 0, called = 0 }

function Channel.__tostring(self)
  return ("channel: %s"):format(self.closed and "closed" or "open")
end

-- Keeping the loop alive -----------------------------------------------------

--- A channel of a child counts while it is open. This process's own counts while
--- somebody listens, waits or is owed bytes, until ref or unref say otherwise.
local function update_ref(self)
  if self.closed then return end
  local wanted = self.pinned_ref
  if wanted == nil then
    wanted = not self.inherited or self.listeners > 0 or self.end_listeners > 0
      or self.handler ~= nil or #self.readers > 0 or next(self.requests) ~= nil
  end
  self.watcher:set_ref(wanted or self.writing or #self.callbacks > 0
    or not self.wire.is_idle(self))
end
Channel.update_ref = update_ref

--- The loop lives while the channel is open.
function Channel:ref()
  self.pinned_ref = true
  update_ref(self)
  return self
end

--- The channel does not keep the loop alive, but for what is still to be sent.
function Channel:unref()
  self.pinned_ref = false
  update_ref(self)
  return self
end

--- @return integer? fd nil once it is closed
function Channel:fileno() return self.fork:fileno() end

-- What the poll listens for --------------------------------------------------

local function listen(self)
  if not self.closed then self.watcher:listen(not self.paused, self.writing) end
end
Channel.listen_ = listen

-- Sending --------------------------------------------------------------------

--- @class Sent a send that somebody wants to hear of
--- @field at integer? bytes of the channel, ever, after which it is sent
--- @field done fun(err: Error?)

local function call_back(entry, err)
  if entry.called then return end
  entry.called = true
  counts.called = counts.called + 1
  loop.soon(entry.done, err)
end

Channel.call_back = call_back

--- Tells those whose bytes are with the kernel.
local function settle(self)
  local list, first = self.callbacks, 1
  if not list[1] then return end
  local _, sent = self.fork:totals()
  while list[first] and list[first].at <= sent do
    call_back(list[first])
    first = first + 1
  end
  if first > 1 then table.move(list, first, #list + first - 1, 1) end
end

local function fail_all(self, err)
  local list = self.callbacks
  self.callbacks = {}
  for _, entry in ipairs(list) do call_back(entry, err) end
end

local function closed_error(what)
  return errors.new("ERR_IPC_CHANNEL_CLOSED",
    (what or "send") .. ": the channel is closed")
end

--- Whoever leaves has sent and delivered all; not where a listener has thrown in
--- the midst of that: then dispatching goes on first.
local function finish_if_left(self)
  if self.left and not self.dispatching then self:finish() end
end

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

--- Memory, or the limit of fds in flight (unix(7), ETOOMANYREFS), is short: that
--- nobody signals the end of, so it is tried again.
local function retry_later(self)
  if self.retry then return end
  self.retry_ms = self.retry_ms and math.min(self.retry_ms * 2, MOST_RETRY) or RETRY
  self.retry = clock.after(self.retry_ms, function()
    self.retry = false
    self:flush()
  end)
end

--- Sends what the socket takes now; the rest when it takes more.
--- @return boolean sent all of it
function Channel:flush()
  if self.closed or self.broken then return false end
  local done, errno = self.fork:flush()
  if done and not self.eager then return true end
  settle(self)
  if done then
    sent_all(self)
  elseif done == false and errno ~= EAGAIN then
    self.writing = false -- writable it may be all the time
    listen(self)
    retry_later(self)
  elseif done == false then
    self.writing = true
    listen(self)
  else
    self:break_off(errors.system(errno, "send"))
  end
  self.eager = not done or self.need_drain or self.leaving
  update_ref(self)
  return done == true
end

--- The peer takes no more. What it has sent is still read, to its end.
function Channel:break_off(err)
  if self.broken then return end
  self.broken, self.writing, self.sends_fast = true, false, false
  self.owner.connected = false
  fail_all(self, err)
  listen(self)
  finish_if_left(self)
end

local function flush_dirty(self)
  self.dirty = false
  self:flush()
end

--- Bytes that the core has still to send.
local function unsent(self)
  local accepted, sent = self.fork:totals()
  return accepted - sent
end

--- Much is queued: it goes out at once.
local function queued_much(self, queued)
  if not (self.retry or self.writing) then
    -- What the wire holds back, behind a handle, is not the core's.
    local deferred = self.fast and 0 or queued - unsent(self)
    queued = deferred + (self:flush() and 0 or unsent(self))
  end
  if queued < HIGH_WATER then return true end
  self.need_drain, self.eager, self.sends_fast = true, true, false
  return false
end

--- Something has been queued, `queued` bytes by now: it goes out when the turn
--- ends, or at once where it is much.
--- @return boolean go_on
function Channel:queued(queued)
  if queued >= FLUSH then return queued_much(self, queued) end
  if not (self.dirty or self.retry or self.writing) then
    self.dirty = true
    loop.at_turn_end(flush_dirty, self)
  end
  return true
end

--- Why no more can be sent; nil where it can.
--- @return Error?
function Channel:refusal()
  if self.closed or self.leaving or self.broken then return closed_error() end
  if not self.need_drain then return nil end
  local waiting = unsent(self)
  if waiting < MOST_QUEUED then return nil end
  return errors.new("ENOBUFS", ("send: %d bytes are queued already, and the peer "
    .. "does not read: wait for 'drain'"):format(waiting))
end

--- A callback that will be called once: done(err).
--- @return Sent
function Channel:expect(done) -- luacheck: ignore 212
  counts.given = counts.given + 1
  return { done = done, at = 0, called = false }
end

--- Has it called when what was queued last is sent, or never will be.
--- @param entry Sent
function Channel:when_sent(entry)
  entry.at = self.fork:totals()
  self.callbacks[#self.callbacks + 1] = entry
  self.eager = true
  update_ref(self)
end

-- The end --------------------------------------------------------------------

--- A peer that ended within a message was cut off.
local function cut_off(self)
  local partial = self.fork:partial()
  if self.error or partial == 0 or not self.ended then return self.error end
  return errors.new("ECONNRESET",
    ("channel: the peer ended after %d bytes of a message"):format(partial))
end

local function emit_disconnect(self, err)
  self.done = true
  if self.on_finish then loop.soon(self.on_finish) end
  self.owner:emit("disconnect", err)
end

--- Closes it; what was not sent fails, who waits is told, `disconnect` follows.
function Channel:finish()
  if self.closed then return end
  local err = cut_off(self)
  self.closed, self.sends_fast, self.direct = true, false, false
  channels[self] = nil
  if self.retry then self.retry:stop() end
  self.watcher:close()
  self.fork:close()
  self.owner.connected, self.owner.channel = false, nil
  self.wire.close(self, err or closed_error())
  fail_all(self, err or closed_error())
  local readers = self.readers
  self.readers, self.handler = {}, nil
  if self.on_lost then self:on_lost() end
  for _, wake in ipairs(readers) do wake(nil, err or closed_error("receive")) end
  self:fail_requests_(err or closed_error("request"))
  loop.soon(emit_disconnect, self, err)
end

--- No more is sent, once what is queued is out; what has come is delivered.
function Channel:leave()
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
  for self in pairs(channels) do self.fork:flush() end
  for self in pairs(channels) do
    local done, errno = self.fork:flush()
    while done == false and clock.now() < deadline do
      local full = errno == EAGAIN
      core.poll({}, full and { self.fork:fileno() } or {},
        full and deadline - clock.now() or RETRY)
      done, errno = self.fork:flush()
    end
  end
end)

-- Making one -----------------------------------------------------------------

for name, method in pairs(require "orrery.channel.receiving") do
  Channel[name] = method
end

local channel = { Channel = Channel, counts = counts }

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
--- @param opts {wire: table, framing: string, max_message: integer, inherited: boolean}
--- @return Channel? channel nil, err (EMFILE)
--- @return Error? err
function channel.open(fd, owner, opts)
  local fork = core.fork(fd, opts.framing, opts.max_message)
  local self = new(owner, {
    fork = fork,
    wire = opts.wire,
    fetch = fork.fetch,
    post = fork.send,
    fast = opts.framing == "frames",
    sends_fast = opts.framing == "frames", -- and nothing is in the way
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
  self.watcher, err = poller.watch(fork:fileno(), self.on_ready_, self)
  if not self.watcher then
    fork:close()
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
  return new(owner, { closed = true, done = true })
end

channel.closed_error = closed_error

return channel
