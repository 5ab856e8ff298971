--- Our ends of a child's fds: each an `orrery.fd` until somebody asks for its
--- stream, or a reader whose bytes somebody collects. They say when the child's
--- `close` may come.

local loop = require "orrery.runtime.loop"
local pipe_reader = require "orrery.stream.pipe_reader"
local stdio = require "orrery.child_process.stdio"
local stream = require "orrery.stream"

local ends = {}

--- @class Ends
--- @field fds table<integer, userdata> orrery.fd by the child's fd: no stream yet
--- @field readers table<integer, PipeReader> collected, and no stream either
--- @field streams table<integer, Stream>
--- @field takers table<integer, function> who collects
--- @field failed string? the errno that ended a reader's reading, by name
local Ends = {}
Ends.__index = Ends

local none = setmetatable({}, { __newindex = function() error("read-only") end })

local function new(plan, fds, streams)
  return setmetatable({
    plan = plan, fds = fds, readers = none, streams = streams, takers = none,
    open = 0, -- that `close` waits for
    child_ended = false,
    on_closed = false,
    owner = false, -- who is told
  }, Ends)
end

local function closed(self)
  self.open = self.open - 1
  if self.open == 0 and self.on_closed then self.on_closed(self.owner) end
end

--- Calls once the stream is closed: first, so that no listener that throws comes
--- before it.
local function when_closed(one, fn, argument)
  local undo
  undo = one:prepend("close", function()
    undo()
    loop.soon(fn, argument)
  end)
end

-- Streams --------------------------------------------------------------------

--- Nobody reads any more what is written.
local function end_writing(one)
  if not one.readable then
    one:destroy()
  elseif one.writable then
    one.writable = false
    if one.ended then one:destroy() end
  end
end

--- Who has collected so far goes on, as one that listens.
local function share(self, n, one)
  one:on("data", self.takers[n])
  when_closed(one, closed, self)
end

--- The stream of one end, made when somebody asks for it.
--- @param n integer the child's fd
--- @return Stream?
function Ends:stream(n)
  local one = self.streams[n]
  if one then return one end
  local fd, reader = self.fds[n], self.readers[n]
  if fd then
    self.fds[n] = nil
    one = stream.new(fd, "pipe", stdio.mode(self.plan, n))
    if not fd:fileno() then one:destroy() end
    if self.child_ended then end_writing(one) end
  elseif reader then
    self.readers[n] = nil
    one = stream.of_reader(reader)
    if not one.closed then share(self, n, one) end
  end
  self.streams[n] = one
  return one
end

--- All that are open, as streams.
--- @return table<integer, Stream> by the child's fd
function Ends:all()
  for n = 0, self.plan.last do self:stream(n) end
  return self.streams
end

-- Collecting -----------------------------------------------------------------

--- Has a reader of its own read what nobody has asked for yet.
local function read(self, n, take)
  local reader = pipe_reader.open(self.fds[n])
  self.fds[n], self.readers[n] = nil, reader
  reader:read_start(function(code, chunk)
    if chunk then return take(chunk) end
    self.failed = self.failed or code
    reader:close()
    loop.soon(closed, self)
  end)
end

--- Calls take(chunk) for what comes up to the end, for which `close` waits. Nothing
--- where there is no such end.
--- @param n integer the child's fd
--- @param take fun(chunk: string)
function Ends:collect(n, take)
  local alone = self.fds[n] and stdio.mode(self.plan, n) == "r"
  local one = not alone and self:stream(n)
  if not alone and (not one or one.handle_closed_) then return end
  if self.takers == none then self.takers, self.readers = {}, {} end
  self.takers[n] = take
  self.open = self.open + 1
  if alone then read(self, n, take) else share(self, n, one) end
end

--- Reads at once what has come for those who collect.
function Ends:drain()
  for _, reader in next, self.readers do reader:drain_() end
end

-- The end --------------------------------------------------------------------

--- Whether something that can be read was not asked for yet.
local function has_unasked(self)
  for n in next, self.fds do
    if stdio.mode(self.plan, n) ~= "w" then return true end
  end
  for _, one in next, self.streams do
    if one.readable and not one.asked_ then return true end
  end
  return false
end

--- Waits for each stream that somebody asked for.
local function hold(self)
  for n, one in next, self.streams do
    if one.readable and one.asked_ and not one.handle_closed_
      and not self.takers[n] then
      self.open = self.open + 1
      when_closed(one, closed, self)
    end
  end
  closed(self)
end

--- The child has ended. Calls fn(owner) once all that somebody reads is at its
--- end: in a later turn where somebody who waited for the exit may still ask.
--- @param fn function
function Ends:finish(fn, owner)
  local unasked = has_unasked(self)
  self.child_ended = true
  if self.fds[0] and stdio.mode(self.plan, 0) == "w" then self.fds[0]:close() end
  for _, one in next, self.streams do end_writing(one) end
  self.open = self.open + 1
  self.on_closed, self.owner = fn, owner
  if unasked then
    loop.later(function() hold(self) end)
  else
    loop.soon(hold, self)
  end
end

--- Closes all of them.
function Ends:close()
  for _, fd in next, self.fds do fd:close() end
  for _, reader in next, self.readers do
    if not reader:is_closing() then
      reader:close()
      loop.soon(closed, self)
    end
  end
  for _, one in next, self.streams do one:destroy() end
end

-- Making them ----------------------------------------------------------------

--- Of a child that has none, as most of those that inherit all.
ends.none = {
  stream = function() end,
  all = function() return {} end,
  collect = function() end,
  drain = function() end,
  finish = function(_, fn, owner) loop.soon(fn, owner) end,
  close = function() end,
}

--- @param plan table as stdio.check's
--- @param fds table<integer, userdata> orrery.fd, owned from now on
--- @return Ends
function ends.new(plan, fds)
  if next(fds) == nil then return ends.none end
  return new(plan, fds, {})
end

--- Of a child that did not start.
--- @return Ends
function ends.ended(plan)
  return new(plan, none, stdio.ended(plan))
end

return ends
