--- The receiving part of Channel (see channel.lua): what comes goes to the task
--- that waits or to the listeners, and waits, within bounds, if there are none.
--- It owns the fields of a channel that are listed below.

local core = require "orrery.core"
local class = require "orrery.runtime.class"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"

local MOST_HANDLES = 512 -- that wait of a peer that has gone
-- What may wait here before reading stops; and while an answer is awaited that
-- may be behind it. (Decoded, it may take 75 times as much memory.)
local INBOX = { bytes = 1024 * 1024, count = 1024, handles = 64 }
local AWAITING = { bytes = 8 * 1024 * 1024, count = 64 * 1024, handles = 256 }
local READS = 8 -- in a row, before others have their turn

local MESSAGE = core.frame.message
local FRAMES, BYTES = core.more.frames, core.more.bytes -- that may be there

local EAGAIN, ECONNRESET, EPROTO = core.errnos.EAGAIN, core.errnos.ECONNRESET,
  core.errnos.EPROTO

--- @class Channel
--- @field inbox_ table<integer, table> {message, opener?, bytes} by place
--- @field taken_ integer places of messages that are gone
--- @field waiting_ integer messages in the inbox
--- @field inbox_bytes_ integer of their frames
--- @field inbox_handles_ integer
--- @field took_ boolean one was taken from the inbox since the oldest request
--- @field emptying_ boolean the inbox is being emptied for a listener, in ticks
--- @field first_reader_ Reader|false of the tasks in `receive`, in their order
--- @field last_reader_ Reader|false
--- @field listeners_ integer of `message`
--- @field takes_handles_ boolean? whether one of them can take a handle; nil
---   until a message with one has come for these listeners
--- @field end_listeners_ integer of `disconnect`
--- @field direct_ function|false the listener to which messages go straight
--- @field dispatching_ boolean frames are being delivered, or a listener has
---   thrown among them
--- @field unfinished_ Unfinished
local receiving = {}

--- @class Reader a task in `receive`
--- @field wake function
--- @field before Reader? in the order of waiting
--- @field behind Reader?
--- @field gone boolean? it waits no more

--- Puts a message into the inbox. All of a peer that has gone is read, but its
--- handles do not fill our table of fds: beyond a number of them they are lost.
local function keep(self, value, open)
  if open and self.inbox_handles_ >= MOST_HANDLES then
    local _, err = open(true)
    open = function() return nil, err end
  end
  if open then self.inbox_handles_ = self.inbox_handles_ + 1 end
  self.waiting_ = self.waiting_ + 1
  self.inbox_[self.taken_ + self.waiting_] = { value, open, 0 }
end

--- Returns the only listener of `message`; false if there is none, are more, or
--- if it is one for a single message.
local function sole_listener(owner)
  local entries = owner.listeners_ and owner.listeners_.message
  local entry = entries and not entries[2] and entries[1]
  return entry and not entry.once and entry.fn
end

--- Sets `self.direct_` to the only `message` listener if messages may go
--- straight to it: nothing waits in the inbox, no task is in `receive`, and
--- reading is not paused. Otherwise to false: `deliver` decides.
local function find_direct(self)
  self.direct_ = self.fast_ and self.waiting_ == 0 and not self.closed
    and self.receiving_ ~= "paused" and not self.first_reader_
    and sole_listener(self.owner_)
end

--- Tells whether a listener of `message` can take the handle that comes as its
--- second argument. A handle that none can take is closed at once: a peer could
--- fill our table of fds with what nobody sees.
--- @return boolean
local function takes_handles(self)
  if self.takes_handles_ == nil then
    self.takes_handles_ = false
    for _, entry in ipairs(self.owner_.listeners_.message) do
      local info = debug.getinfo(entry.fn, "u")
      if info.isvararg or info.nparams > 1 then self.takes_handles_ = true end
    end
  end
  return self.takes_handles_
end

--- Takes note that the tasks in `receive` have changed: they come first.
local function readers_changed(self)
  find_direct(self)
  self:update_ref_()
end

--- Takes a reader out of the order. Does nothing if it is gone already.
local function remove_reader(self, reader)
  if reader.gone then return end
  reader.gone = true
  local before, behind = reader.before, reader.behind
  if before then
    before.behind = behind
  else
    self.first_reader_ = behind or false
  end
  if behind then
    behind.before = before
  else
    self.last_reader_ = before or false
  end
end

--- Calls wake with the next message that none of the readers before it gets.
--- The inbox must be empty.
--- @param wake function
--- @return function undo
function receiving:add_reader_(wake)
  local last = self.last_reader_
  local reader = { wake = wake, before = last or nil }
  if last then last.behind = reader else self.first_reader_ = reader end
  self.last_reader_ = reader
  readers_changed(self)
  return function()
    remove_reader(self, reader)
    readers_changed(self)
  end
end

--- Wakes all readers with an error, since no message comes any more.
--- @param err Error
function receiving:fail_readers_(err)
  local reader = self.first_reader_
  self.first_reader_, self.last_reader_ = false, false
  while reader do
    reader.gone = true
    reader.wake(nil, err)
    reader = reader.behind
  end
end

--- Gives a message to the task that waits in `receive`, or else to the
--- listeners. If there are neither, or if others wait in the inbox already, it
--- is put there. A handle is opened when it is delivered: a server that was not
--- taken accepts nothing.
--- @param open (fun(drop: boolean?): any, Error?)? see attachments.opener
local function deliver(self, value, open)
  local reader = self.waiting_ == 0 and self.first_reader_
  if reader then
    remove_reader(self, reader)
    self.took_ = true
    if open then reader.wake(value, open()) else reader.wake(value) end
    readers_changed(self)
  elseif self.listeners_ > 0 and self.waiting_ == 0 then
    if open then
      return self.owner_:emit("message", value, open(not takes_handles(self)))
    end
    self.owner_:emit("message", value)
  else
    keep(self, value, open)
  end
end

--- Takes the first message out of the inbox, which is not empty.
--- @param drop boolean? its handle is not wanted
--- @return any message
--- @return any handle
--- @return Error? err if the handle could not be opened
local function take(self, drop)
  local i = self.taken_ + 1
  local item = self.inbox_[i]
  self.inbox_[i] = nil
  self.taken_, self.waiting_, self.took_ = i, self.waiting_ - 1, true
  self.inbox_bytes_ = self.inbox_bytes_ - item[3]
  if self.waiting_ == 0 then self.inbox_, self.taken_ = {}, 0 end
  find_direct(self)
  if not item[2] then return item[1] end
  self.inbox_handles_ = self.inbox_handles_ - 1
  return item[1], item[2](drop)
end
receiving.take_ = take

--- Tells whether no more may wait here.
--- @return boolean
local function inbox_full(self)
  local most = next(self.requests_) and AWAITING or INBOX
  return self.waiting_ >= most.count or self.inbox_bytes_ >= most.bytes
    or self.inbox_handles_ >= most.handles
end

--- Stops reading if the inbox is full. Answers to requests that are behind it
--- are not going to be read then: these fail, unless messages are being taken.
local function pause_if_full(self)
  if self.receiving_ ~= "reading" or not inbox_full(self) then return end
  if next(self.requests_) and not self.took_ then self:give_up_requests_() end
  self:go_("receiving", "full")
  find_direct(self)
  self:listen_()
end

--- Hands a frame to the wire, whose errors are the peer's fault.
local function receive_frame(self, ...)
  local ok, message, value, open = pcall(self.wire_.receive, self, ...)
  if not ok then
    self:protocol_error_(EPROTO, tostring(message))
  elseif message then
    deliver(self, value, open)
  end
end

--- Takes note that the peer has sent its last byte.
--- @param errno integer? nil for a plain end
local function on_end(self, errno)
  self:go_("receiving", "eof")
  find_direct(self)
  if errno and errno ~= ECONNRESET then
    self.error_ = errors.system(errno, "receive")
  end
end

--- Delivers what the core's `fetch` gave.
--- @return integer more FRAMES, BYTES or both: of what there may be more
local function take_frame(self, more, kind, value, id, flags, description, fd)
  if not more then
    if kind ~= EAGAIN then on_end(self, kind) end
    return FRAMES -- that a listener's error has left
  elseif kind == MESSAGE and not description and self.fast_ then
    deliver(self, value)
  elseif kind then
    receive_frame(self, kind, value, id, flags, description, fd)
  elseif kind == false then
    self:protocol_error_(value, id)
  end
  return more
end

--- Returns how many bytes all frames so far had.
--- @return integer
local function position(self)
  local _, _, used = self.core_end_:totals()
  return used
end

--- Delivers the next frame, and keeps the inbox small.
--- @param fresh boolean reads once before that
--- @return integer more as take_frame's
local function next_frame(self, fresh)
  if self.listeners_ > 0 and self.waiting_ == 0 then
    return take_frame(self, self.fetch_(self.core_end_, fresh))
  end
  local before, waiting = position(self), self.waiting_
  local more = take_frame(self, self.fetch_(self.core_end_, fresh))
  if self.waiting_ > waiting and not self.closed then
    local size = position(self) - before
    self.inbox_[self.taken_ + self.waiting_][3] = size
    self.inbox_bytes_ = self.inbox_bytes_ + size
  end
  pause_if_full(self)
  return more
end

--- Tells whether `disconnect` was called. Then all that has come is delivered,
--- full as the inbox may be.
--- @return boolean
local function is_leaving(self)
  return self.sending_ == "leaving" or self.sending_ == "left"
end

--- Delivers frame after frame. Each is gone from the core before it is
--- delivered, so that an error of a listener loses none: `dispatch` goes on
--- with the next.
--- @param fresh boolean reads once before the first
--- @return boolean more can be read at once
local function dispatch_frames(self, fresh)
  local core_end, fetch = self.core_end_, self.fetch_
  local more
  repeat
    local listener = self.direct_
    if listener then
      local got, kind, value, id, flags, description, fd =
        fetch(core_end, fresh)
      if kind == MESSAGE and not id then
        more = got
        listener(value)
      else
        more = take_frame(self, got, kind, value, id, flags, description, fd)
      end
    elseif self.closed or self.receiving_ == "paused"
      and not (fresh or is_leaving(self)) then
      return false
    else
      more = next_frame(self, fresh)
    end
    fresh = false
  until more & FRAMES == 0
  return more & BYTES ~= 0
end

local dispatch

--- @class Unfinished the guard of `dispatch`, one for each channel
--- @field channel Channel
--- @field emitting integer loop.emitting before
local Unfinished = class "orrery.Unfinished"

--- Goes on dispatching in the next tick if a listener has raised.
function Unfinished:__close()
  if not self.channel.dispatching_ then return end
  loop.emitting = self.emitting
  loop.soon(dispatch, self.channel)
end

--- Delivers what has come.
--- @param fresh boolean? reads once before that
--- @return boolean more can be read at once
function dispatch(self, fresh)
  local guard <close> = self.unfinished_
  local emitting = loop.emitting
  guard.emitting, loop.emitting = emitting, emitting + 1
  self.dispatching_ = true
  local more = dispatch_frames(self, fresh)
  self.dispatching_, loop.emitting = false, emitting
  if self.sending_ == "left" then self:flush() end
  if self.receiving_ ~= "ended" then return more end
  if not self.closed then loop.soon(self.finish_, self) end
  return false
end
receiving.dispatch_ = dispatch

--- Delivers what waits to the listeners that have come; then reading goes on.
--- If one of them raises, a tick goes on with the rest.
local function empty_inbox(self)
  self.emptying_ = false
  while self.waiting_ > 0 and self.listeners_ > 0 do
    if self.waiting_ > 1 and not self.emptying_ then
      self.emptying_ = true
      loop.soon(empty_inbox, self)
    end
    if self.waiting_ == 1 then self:resume_() end
    self.owner_:emit("message", take(self, not takes_handles(self)))
  end
  self:resume_()
end

--- Goes on reading if that is paused and the inbox has room again.
function receiving:resume_()
  if self.closed or self.receiving_ ~= "paused" or inbox_full(self) then
    return
  end
  self:go_("receiving", "room")
  find_direct(self)
  self:listen_()
  loop.soon(dispatch, self)
end

--- Takes note of how many listeners there are now.
--- @param messages integer
--- @param disconnects integer
function receiving:listeners_changed_(messages, disconnects)
  self.listeners_, self.end_listeners_ = messages, disconnects
  self.takes_handles_ = nil
  find_direct(self)
  if messages > 0 and self.waiting_ > 0 and not self.emptying_ then
    self.emptying_ = true
    loop.soon(empty_inbox, self)
  end
  self:update_ref_()
end

--- Closes the channel, for the peer breaks the rules: nothing that it sends can
--- be trusted any more.
--- @param errno integer
--- @param text string what is wrong
function receiving:protocol_error_(errno, text)
  self.error_ = errors.system(errno, "receive")
  self.error_.message = ("channel: %s (%s)"):format(text, self.error_.code)
  self:finish_()
end

--- Reads what can be read at once, some of it.
local function read(self)
  for _ = 1, READS do
    local more = dispatch(self, true)
    if not more or self.closed or self.receiving_ == "paused" then return end
  end
end
receiving.read_ = read

--- Called by the poller. A peer that has gone is read up to its end, full as
--- the inbox may be: it sends no more than the socket holds already.
function receiving:on_ready_(readable, writable, gone)
  if writable and self.writing_ then self:flush() end
  if self.closed then return end
  if gone then
    self:go_("receiving", "gone")
    find_direct(self)
  elseif not readable or self.receiving_ == "paused" then
    return
  end
  read(self)
end

--- Begins to receive, when the channel opens: it may have a listener already.
function receiving:begin_receiving_()
  self.unfinished_ = setmetatable({ channel = self }, Unfinished)
  find_direct(self)
end

--- Returns what the channel is called among what keeps the loop alive.
--- @return string
function receiving:name_()
  local pid = self.owner_.pid
  return pid and ("channel to child %d"):format(pid) or "channel to the parent"
end

return receiving
