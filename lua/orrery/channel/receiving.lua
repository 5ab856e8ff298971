--- The receiving part of Channel (see channel.lua): what comes goes to whoever
--- waits, listens, or will, and waits within bounds until then.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"

local MOST_HANDLES = 512 -- that wait of a peer that has gone
-- What may wait here before reading stops; and where an answer is awaited, which
-- may be behind it. (Decoded, it may take 75 times as much memory.)
local INBOX = { bytes = 1024 * 1024, count = 1024, handles = 64 }
local AWAITING = { bytes = 8 * 1024 * 1024, count = 64 * 1024, handles = 256 }
local READS = 8 -- in a row, before others have their turn

local MESSAGE = core.frame.message
local FRAMES, BYTES = core.more.frames, core.more.bytes -- that may be there

local EAGAIN, EPROTO = core.errnos.EAGAIN, core.errnos.EPROTO

--- @class Channel
local Receiving = {}

--- Has a message wait. Of a peer that has gone all is read, but its handles do
--- not fill our table of fds: beyond a number of them, they are lost.
local function keep(self, value, open)
  if open and self.inbox_handles >= MOST_HANDLES then
    local _, err = open(true)
    open = function() return nil, err end
  end
  if open then self.inbox_handles = self.inbox_handles + 1 end
  self.waiting = self.waiting + 1
  self.inbox[self.taken + self.waiting] = { value, open, 0 }
end

--- The only listener of `message`; false where there are none, or more.
local function sole_listener(owner)
  local entries = owner.listeners_ and owner.listeners_.message
  local entry = entries and not entries[2] and entries[1]
  return entry and not entry.once and entry.fn
end

--- Who gets messages as they come, with nothing in between; false: see deliver.
local function find_direct(self)
  self.direct = self.fast and self.waiting == 0
    and not (self.closed or self.paused or self.readers[1]) and sole_listener(self.owner)
end

--- The readers, who come first, have changed.
function Receiving:readers_changed_()
  find_direct(self)
  self:update_ref_()
end

--- A message for whoever waits, listens, or will. Its handle is opened when it
--- is delivered: a server that nobody has taken accepts nothing.
--- @param open (fun(drop: boolean?): any, Error?)?
local function deliver(self, value, open)
  local wake = self.waiting == 0 and table.remove(self.readers, 1)
  if wake then
    self.took = true
    if open then wake(value, open()) else wake(value) end
    self:readers_changed_()
  elseif self.listeners > 0 and self.waiting == 0 then
    if open then return self.owner:emit("message", value, open()) end
    self.owner:emit("message", value)
  else
    keep(self, value, open)
  end
end

--- The first message that waits here, with its handle.
local function take(self)
  local i = self.taken + 1
  local item = self.inbox[i]
  self.inbox[i] = nil
  self.taken, self.waiting, self.took = i, self.waiting - 1, true
  self.inbox_bytes = self.inbox_bytes - item[3]
  if self.waiting == 0 then self.inbox, self.taken = {}, 0 end
  find_direct(self)
  if not item[2] then return item[1] end
  self.inbox_handles = self.inbox_handles - 1
  return item[1], item[2]()
end
Receiving.take_ = take

--- Whether more may wait here for somebody to want it.
local function inbox_full(self)
  local most = next(self.requests) and AWAITING or INBOX
  return self.waiting >= most.count or self.inbox_bytes >= most.bytes
    or self.inbox_handles >= most.handles
end

local function pause_if_full(self)
  if self.paused or self.gone or not inbox_full(self) then return end
  if next(self.requests) and not self.took then self:give_up_requests_() end
  self.paused = true
  find_direct(self)
  self:listen_()
end

--- Hands a frame to the wire, whose errors are the peer's.
local function receive_frame(self, ...)
  local ok, message, value, open = pcall(self.wire.receive, self, ...)
  if not ok then
    self:protocol_error_(EPROTO, tostring(message))
  elseif message then
    deliver(self, value, open)
  end
end

--- The peer will send no more.
local function on_end(self, errno)
  self.ended, self.gone, self.paused = true, true, false
  find_direct(self)
  if errno and errno ~= core.errnos.ECONNRESET then
    self.error = errors.system(errno, "receive")
  end
end

--- Takes what `fetch` gave. What more of may be there.
local function take_frame(self, more, kind, value, id, flags, description, fd)
  if not more then
    if kind ~= EAGAIN then on_end(self, kind) end
    return FRAMES -- that a listener's error has left
  elseif kind == MESSAGE and not description and self.fast then
    deliver(self, value)
  elseif kind then
    receive_frame(self, kind, value, id, flags, description, fd)
  elseif kind == false then
    self:protocol_error_(value, id)
  end
  return more
end

--- Bytes of all frames so far.
local function position(self)
  local _, _, used = self.core_end:totals()
  return used
end

--- Delivers the next frame, and keeps the inbox small. What more of may be
--- there.
local function next_frame(self, fresh)
  if self.listeners > 0 and self.waiting == 0 then
    return take_frame(self, self.fetch_(self.core_end, fresh))
  end
  local before, waiting = position(self), self.waiting
  local more = take_frame(self, self.fetch_(self.core_end, fresh))
  if self.waiting > waiting and not self.closed then
    local size = position(self) - before
    self.inbox[self.taken + self.waiting][3] = size
    self.inbox_bytes = self.inbox_bytes + size
  end
  pause_if_full(self)
  return more
end

--- Each frame is gone from the core before it is delivered, so that an error of
--- a listener loses none: dispatch goes on in the next tick.
local function dispatch_frames(self, fresh)
  local core_end, fetch = self.core_end, self.fetch_
  local more
  repeat
    local listener = self.direct
    if listener then
      local got, kind, value, id, flags, description, fd = fetch(core_end, fresh)
      if kind == MESSAGE and not id then
        more = got
        listener(value)
      else
        more = take_frame(self, got, kind, value, id, flags, description, fd)
      end
    elseif self.closed or self.paused and not (fresh or self.leaving) then
      return false
    else
      more = next_frame(self, fresh)
    end
    fresh = false
  until more & FRAMES == 0
  return more & BYTES ~= 0
end

local dispatch

--- Dispatching goes on where a listener has raised.
local Unfinished = {
  __close = function(guard)
    if not guard.self.dispatching then return end
    loop.emitting = guard.emitting
    loop.soon(dispatch, guard.self)
  end,
}

--- Delivers what has come, and where it is to be `fresh`, what one read brings.
--- Whether more can be read at once.
function dispatch(self, fresh)
  local guard <close> = self.unfinished
  local emitting = loop.emitting
  guard.emitting, loop.emitting = emitting, emitting + 1
  self.dispatching = true
  local more = dispatch_frames(self, fresh)
  self.dispatching, loop.emitting = false, emitting
  if self.left then self:go_on_leaving_() end
  if not self.ended then return more end
  if not self.closed then loop.soon(self.finish_, self) end
  return false
end

--- What waits is delivered now that somebody listens; then reading goes on.
local function empty_inbox(self)
  self.emptying = false
  while self.waiting > 0 and self.listeners > 0 do
    if self.waiting > 1 and not self.emptying then
      self.emptying = true
      loop.soon(empty_inbox, self)
    end
    if self.waiting == 1 then self:resume_() end
    self.owner:emit("message", take(self))
  end
  self:resume_()
end

--- Takes up reading again, where the inbox has room.
function Receiving:resume_()
  if self.closed or not self.paused or inbox_full(self) then return end
  self.paused = false
  find_direct(self)
  self:listen_()
  loop.soon(dispatch, self)
end

--- The number of `message` or `disconnect` listeners has changed.
function Receiving:listeners_changed_(messages, disconnects)
  self.listeners, self.end_listeners = messages, disconnects
  find_direct(self)
  if messages > 0 and self.waiting > 0 and not self.emptying then
    self.emptying = true
    loop.soon(empty_inbox, self)
  end
  self:update_ref_()
end

--- The peer breaks the rules: nothing that it sends can be trusted any more.
function Receiving:protocol_error_(errno, text)
  self.error = errors.system(errno, "receive")
  self.error.message = ("channel: %s (%s)"):format(text, self.error.code)
  self:finish_()
end

--- Reads what can be read at once, some of it.
local function read(self)
  for _ = 1, READS do
    local more = dispatch(self, true)
    if not more or self.closed or self.paused then return end
  end
end

--- A peer that has gone is read up to its end, full as the inbox may be: it
--- sends no more than the socket holds already.
local function on_ready(self, readable, writable, gone)
  if writable and self.writing then self:flush() end
  if self.closed or not (gone or readable and not self.paused) then return end
  if gone then
    self.gone, self.paused = true, false
    find_direct(self)
  end
  read(self)
end

--- A channel is open: it may have a listener already.
function Receiving:begin_receiving_()
  self.unfinished = setmetatable({ self = self }, Unfinished)
  find_direct(self)
end

Receiving.dispatch_, Receiving.read_, Receiving.on_ready_ = dispatch, read, on_ready

return Receiving
