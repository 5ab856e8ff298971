--- One end of a channel between two processes: what is queued for the peer,
--- when it goes out, and how the channel ends. The class Channel is put
--- together here, from this file and two parts:
---
---   receiving.lua   what comes: who gets it, and what waits
---   requests.lua    questions of both sides, and their answers
---
--- states.lua says where its two directions may be, a wire (msgpack_wire.lua,
--- json_wire.lua) how values and handles become bytes; messaging.lua is what
--- users call.
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
local states = require "orrery.channel.states"

local FLUSH = 64 * 1024 -- bytes queued: sent at once
local HIGH_WATER = 128 * 1024 -- bytes queued: send says false
local MOST_QUEUED = 64 * 1024 * 1024 -- bytes queued: send refuses
local RETRY, MOST_RETRY = 5, 80 -- ms, doubled, while the kernel is short
local EXIT_FLUSH = 2000 -- ms in all

local EAGAIN = core.errnos.EAGAIN

--- @class Channel
--- @field owner_ Emitter
--- @field core_end_ userdata the core's orrery.fork
--- @field wire_ Wire
--- @field watcher_ Watched of the fd
--- @field max_message_ integer bytes of one message, both ways
--- @field inherited_ boolean this process was started with it
--- @field pinned_ref_ boolean? what ref or unref asked for
--- @field sending_ "open"|"broken"|"leaving"|"left" see states.lua
--- @field receiving_ "reading"|"paused"|"gone"|"ended"
--- @field closed boolean
--- @field over_ boolean `disconnect` was emitted
--- @field error_ Error? with which it ends
--- @field fast_ boolean plain messages need no wire
--- @field sends_fast_ boolean and nothing keeps them from going to the core now
--- @field callbacks_ table<integer, Callback> of what is with the core, in the
---   order of sending
--- @field first_callback_ integer the place of the oldest, if there is any
--- @field last_callback_ integer
--- @field dirty_ boolean what is queued goes out when the turn ends
--- @field writing_ boolean the poll tells when the socket has room
--- @field retry_ Deadline|false when to flush again
--- @field retry_ms_ integer|false
--- @field need_drain_ boolean a send gave false: `drain` is owed
--- @field eager_ boolean something waits until all is sent
local Channel = class("orrery.Channel", nil, receiving, requests)

local channels = {} -- that are open

function Channel.__tostring(self)
  return ("channel: %s"):format(self.closed and "closed" or "open")
end

--- Returns what it is called among what keeps the loop alive.
--- @return string
function Channel:name_()
  local pid = self.owner_.pid
  return pid and ("channel to child %d"):format(pid) or "channel to the parent"
end

--- Goes to the state to which an event leads. Does nothing if it leads nowhere.
--- @param direction "sending"|"receiving"
--- @param event string
--- @return boolean went
function Channel:go_(direction, event)
  local field = direction .. "_"
  local to = states[direction][self[field]][event]
  if to then self[field] = to end
  return to ~= nil
end

-- Keeping the loop alive -----------------------------------------------------

--- Tells whether something here waits for what the peer may send.
--- @return boolean
local function is_awaited(self)
  return self.listeners_ > 0 or self.end_listeners_ > 0 or self.handler_ ~= nil
    or self.first_reader_ ~= false or next(self.requests_) ~= nil
end

--- Makes the channel keep the loop alive, or not. A child's does while it is
--- open; this process's own does while something is awaited from it. `ref` and
--- `unref` decide otherwise, but for what is still to be sent.
local function update_ref(self)
  if self.closed then return end
  local wanted = self.pinned_ref_
  if wanted == nil then wanted = not self.inherited_ or is_awaited(self) end
  self.watcher_:set_ref(wanted or self.writing_
    or self.callbacks_[self.first_callback_] ~= nil
    or not self.wire_.is_idle(self))
end
Channel.update_ref_ = update_ref

--- Keeps the loop alive while the channel is open.
--- @return Channel self
function Channel:ref()
  self.pinned_ref_ = true
  update_ref(self)
  return self
end

--- Lets the loop end while the channel is open, once what is queued is sent.
--- @return Channel self
function Channel:unref()
  self.pinned_ref_ = false
  update_ref(self)
  return self
end

--- Returns the fd of this end.
--- @return integer? fd nil once the channel is closed
function Channel:fileno() return self.core_end_:fileno() end

--- Tells the poll what to listen for.
local function listen(self)
  if self.closed then return end
  self.watcher_:listen(self.receiving_ ~= "paused", self.writing_)
end
Channel.listen_ = listen

-- Sending --------------------------------------------------------------------

--- Finds out whether plain messages may go straight to the core.
local function find_fast(self)
  self.sends_fast_ = self.fast_ and self.sending_ == "open"
    and not self.need_drain_
end

--- Calls the callbacks of which the kernel has all bytes.
local function call_sent(self)
  local list, first = self.callbacks_, self.first_callback_
  local callback = list[first]
  if not callback then return end
  local _, sent = self.core_end_:totals()
  while callback and callback.at <= sent do
    callback:call_()
    list[first] = nil
    first = first + 1
    callback = list[first]
  end
  self.first_callback_ = first
end

--- Calls all callbacks that are left, with an error.
local function fail_all(self, err)
  local list = self.callbacks_
  self.callbacks_ = {}
  for i = self.first_callback_, self.last_callback_ do list[i]:call_(err) end
  self.first_callback_ = self.last_callback_ + 1
end

--- Closes a channel that is left, for no more goes out. Does nothing while
--- messages are being delivered, also if a listener has thrown: they come
--- first, and another flush after them.
local function finish_if_left(self)
  if self.sending_ == "left" and not self.dispatching_ then self:finish_() end
end

--- Goes on when all that was queued is with the kernel.
local function sent_all(self)
  self.retry_ms_ = false
  if self.writing_ then
    self.writing_ = false
    listen(self)
  end
  if not self.wire_.is_idle(self) then return end
  if self.need_drain_ then
    self.need_drain_ = false
    find_fast(self)
    loop.soon(self.owner_.emit, self.owner_, "drain")
  end
  finish_if_left(self)
end

--- Flushes again some ms later: memory, or the limit of fds in flight (unix(7),
--- ETOOMANYREFS), is short, and no event tells when that is over.
local function retry_later(self)
  if self.retry_ then return end
  self.retry_ms_ = self.retry_ms_ and math.min(self.retry_ms_ * 2, MOST_RETRY)
    or RETRY
  self.retry_ = clock.after(self.retry_ms_, function()
    self.retry_ = false
    self:flush()
  end)
end

--- Waits until the rest can be sent. While the kernel is short of something
--- else than room in the socket, that is writable all the time: the poll does
--- not ask.
local function wait_for_room(self, errno)
  self.writing_ = errno == EAGAIN
  listen(self)
  if not self.writing_ then retry_later(self) end
end

--- Gives up sending, for the peer takes no more.
local function break_off(self, err)
  self:go_("sending", "fail")
  find_fast(self)
  self.writing_, self.owner_.connected = false, false
  fail_all(self, err)
  listen(self)
  finish_if_left(self)
end

--- Sends what the socket takes at once; the rest follows when it takes more.
--- @return boolean sent all of it
function Channel:flush()
  if self.closed or self.sending_ == "broken" then return false end
  local done, errno = self.core_end_:flush()
  if done and not self.eager_ then return true end
  call_sent(self)
  if done then
    sent_all(self)
  elseif done == false then
    wait_for_room(self, errno)
  else
    break_off(self, errors.system(errno, "send"))
  end
  self.eager_ = not done or self.need_drain_ or self.sending_ ~= "open"
  update_ref(self)
  return done == true
end

local function flush_dirty(self)
  self.dirty_ = false
  self:flush()
end

--- Returns how many bytes the core has still to send.
--- @return integer
local function unsent(self)
  local accepted, sent = self.core_end_:totals()
  return accepted - sent
end

--- Sends at once, for much is queued.
--- @return boolean go_on
local function flush_much(self, queued)
  if not (self.retry_ or self.writing_) then
    -- What the wire holds back, behind a handle, is not the core's.
    local deferred = self.fast_ and 0 or queued - unsent(self)
    queued = deferred + (self:flush() and 0 or unsent(self))
  end
  if queued < HIGH_WATER then return true end
  self.need_drain_, self.eager_ = true, true
  find_fast(self)
  return false
end

--- Sees to it that what has just been queued goes out: when the turn ends, or
--- at once if it is much.
--- @param queued integer bytes that wait by now
--- @return boolean go_on false: wait for `drain`
function Channel:queued_(queued)
  if queued >= FLUSH then return flush_much(self, queued) end
  if not (self.dirty_ or self.retry_ or self.writing_) then
    self.dirty_ = true
    loop.at_turn_end(flush_dirty, self)
  end
  return true
end

local function closed_error(what)
  return errors.new("ERR_IPC_CHANNEL_CLOSED",
    (what or "send") .. ": the channel is closed")
end

--- Returns why no message is taken now, or nil.
--- @return Error? err (ERR_IPC_CHANNEL_CLOSED, ENOBUFS)
function Channel:refusal_()
  if self.closed or self.sending_ ~= "open" then return closed_error() end
  if not self.need_drain_ then return nil end
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
      .. "(EMSGSIZE)"):format(self.max_message_)
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
  callback.at = self.core_end_:totals()
  self.last_callback_ = self.last_callback_ + 1
  self.callbacks_[self.last_callback_] = callback
  self.eager_ = true
  update_ref(self)
end

-- The end --------------------------------------------------------------------

--- Returns the error with which the channel ends: one that was met before, or
--- ECONNRESET if the peer ended within a message; nil if all is well.
--- @return Error?
local function final_error(self)
  local partial = self.core_end_:partial()
  if self.error_ or partial == 0 or self.receiving_ ~= "ended" then
    return self.error_
  end
  return errors.new("ECONNRESET",
    ("channel: the peer ended after %d bytes of a message"):format(partial))
end

local function emit_disconnect(self, err)
  self.over_ = true
  if self.on_over_ then loop.soon(self.on_over_, self.owner_) end
  self.owner_:emit("disconnect", err)
end

--- Calls fn(owner) after `disconnect`; at once if that was emitted before.
--- @param fn fun(owner: Emitter)
function Channel:when_over_(fn)
  if self.over_ then return fn(self.owner_) end
  self.on_over_ = fn
end

--- Closes the channel: what was not sent fails, and so does what waits here for
--- a message; `disconnect` follows. Does nothing if it is closed.
function Channel:finish_()
  if self.closed then return end
  local err = final_error(self)
  self.closed, self.sends_fast_, self.direct_ = true, false, false
  channels[self] = nil
  if self.retry_ then self.retry_:stop() end
  self.watcher_:close()
  self.core_end_:close()
  self.owner_.connected, self.owner_.channel = false, nil
  self.wire_.close(self, err or closed_error())
  fail_all(self, err or closed_error())
  given_away.lost(self)
  self.handler_ = nil
  self:fail_readers_(err or closed_error("receive"))
  self:fail_requests_(err or closed_error("request"))
  loop.soon(emit_disconnect, self, err)
end

--- Takes no more messages from now on, and closes the channel once what is
--- queued is sent and what has come is delivered. Does nothing the second time.
function Channel:leave_()
  if self.closed or not self:go_("sending", "leave") then return end
  self.owner_.connected, self.eager_ = false, true
  find_fast(self)
  loop.soon(self.dispatch_, self)
  loop.soon(function()
    if not self.closed then self:read_() end
  end)
  loop.soon(function()
    self:go_("sending", "delivered")
    self:flush()
  end)
end

-- Writes what is queued, waiting for slow readers, for all channels together.
loop.at_exit(function()
  local deadline = clock.now() + EXIT_FLUSH
  for self in pairs(channels) do self.core_end_:flush() end
  for self in pairs(channels) do
    local done, errno = self.core_end_:flush()
    while done == false and clock.now() < deadline do
      local full = errno == EAGAIN
      core.poll({}, full and { self.core_end_:fileno() } or {},
        full and deadline - clock.now() or RETRY)
      done, errno = self.core_end_:flush()
    end
  end
end)

-- Making one -----------------------------------------------------------------

local channel = { closed_error = closed_error }

--- Makes a channel on which nothing has happened yet.
local function new(owner)
  return setmetatable({
    owner_ = owner,
    sending_ = "open",
    receiving_ = "reading",
    closed = false,
    over_ = false,
    callbacks_ = {},
    first_callback_ = 1,
    last_callback_ = 0,
    dirty_ = false,
    writing_ = false,
    retry_ = false,
    retry_ms_ = false,
    need_drain_ = false,
    eager_ = false,
    inbox_ = {},
    taken_ = 0,
    waiting_ = 0,
    inbox_bytes_ = 0,
    inbox_handles_ = 0,
    first_reader_ = false,
    last_reader_ = false,
    dispatching_ = false,
    emptying_ = false,
    took_ = false,
    requests_ = {},
    last_id_ = 0,
    serving_ = 0,
  }, Channel)
end

--- Gives a channel the core's end of it.
local function attach(self, core_end, opts)
  local fast = opts.wire.framing == "frames"
  self.core_end_, self.wire_ = core_end, opts.wire
  self.fetch_, self.post_ = core_end.fetch, core_end.send
  self.fast_, self.sends_fast_ = fast, fast
  self.max_message_, self.inherited_ = opts.max_message, opts.inherited
  self.listeners_ = self.owner_:listener_count("message")
  self.end_listeners_ = self.owner_:listener_count("disconnect")
end

--- Opens a channel over a connected Unix stream socket.
--- @param fd userdata orrery.fd, owned
--- @param owner Emitter
--- @param opts {wire: Wire, max_message: integer, inherited: boolean}
--- @return Channel? channel nil, err
--- @return Error? err (EMFILE, ENFILE, ENOMEM, ENOSPC)
function channel.open(fd, owner, opts)
  local core_end = core.fork(fd, opts.wire.framing, opts.max_message)
  local self = new(owner)
  attach(self, core_end, opts)
  local err
  self.watcher_, err = poller.watch(core_end:fileno(), self.on_ready_, self)
  if not self.watcher_ then
    core_end:close()
    return nil, err
  end
  channels[self] = true
  self:begin_receiving_()
  owner.connected = true
  update_ref(self)
  return self
end

--- Makes a channel that is closed, for an owner that failed to start.
--- @param owner Emitter
--- @return Channel
function channel.none(owner)
  local self = new(owner)
  self.sending_, self.receiving_ = "left", "ended"
  self.closed, self.over_ = true, true
  return self
end

return channel
