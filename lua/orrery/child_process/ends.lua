--- Our ends of a child's fds: each an `orrery.fd` until its stream is asked
--- for, or a reader if its bytes are collected. They say when the child's
--- `close` may come.

local class = require "orrery.runtime.class"
local loop = require "orrery.runtime.loop"
local pipe_reader = require "orrery.stream.pipe_reader"
local stdio = require "orrery.child_process.stdio"
local stream = require "orrery.stream"

local ends = {}

--- @class Ends
--- @field plan_ Plan
--- @field fds_ table<integer|"pty", userdata> orrery.fd by the child's fd: no
---   stream yet; "pty": of the terminal that several fds may be
--- @field readers_ table<integer, PipeReader> collected, and no stream either
--- @field streams_ table<integer|"pty", Stream>
--- @field takers_ table<integer, function> what collects
--- @field failed_ string? the errno that ended a reader's reading, by name
--- @field open_ integer how many ends `close` waits for
--- @field child_ended_ boolean
--- @field on_closed_ function|false for `finish`, with its owner
local Ends = class "orrery.Ends"

local none = setmetatable({}, {
  __newindex = function() error("read-only") end,
})

local function new(plan, fds, streams)
  return setmetatable({
    plan_ = plan,
    fds_ = fds,
    readers_ = none,
    streams_ = streams,
    takers_ = none,
    open_ = 0,
    child_ended_ = false,
    on_closed_ = false,
    owner_ = false,
  }, Ends)
end

--- Counts one end less; calls what `finish` was given when none is open.
local function closed(self)
  self.open_ = self.open_ - 1
  if self.open_ == 0 and self.on_closed_ then self.on_closed_(self.owner_) end
end

--- Queues fn(argument) when the stream is closed: as its first listener, so
--- that none that throws comes before it.
local function when_closed(one, fn, argument)
  local undo
  undo = one:prepend("close", function()
    undo()
    loop.soon(fn, argument)
  end)
end

-- Streams --------------------------------------------------------------------

--- Ends writing to a child that has ended, for nothing reads that any more.
local function end_writing(one)
  if not one.readable then
    one:destroy()
  elseif one.writable then
    one:end_writing_()
    one:close_if_over_()
  end
end

--- Gives what is collected to a taker as to any listener.
local function share(self, n, one)
  one:on("data", self.takers_[n])
  when_closed(one, closed, self)
end

--- Makes the stream of an fd that has none yet.
local function open(self, n, fd)
  if n == "pty" then return require "orrery.stream.pty".new(fd) end
  return stream.new(fd, "pipe", stdio.mode(self.plan_, n))
end

--- Returns the stream of one end, made when it is asked for; nil if fd `n` is
--- no pipe to us. What collects already goes on.
--- @param n integer|"pty" the child's fd, or its terminal, which its stdin and
---   stdout may be
--- @return Stream?
function Ends:stream(n)
  local one = self.streams_[n]
  if one then return one end
  local fd, reader = self.fds_[n], self.readers_[n]
  if fd then
    self.fds_[n] = nil
    one = open(self, n, fd)
    if not fd:fileno() then one:destroy() end
    if self.child_ended_ then end_writing(one) end
  elseif reader then
    self.readers_[n] = nil
    one = stream.of_reader(reader)
    if not one.closed then share(self, n, one) end
  elseif stdio.is_terminal(self.plan_, n) then
    return self:stream("pty")
  end
  self.streams_[n] = one
  return one
end

--- Returns all ends as streams, by the child's fd.
--- @return table<integer, Stream>
function Ends:all()
  local all = {}
  for n = 0, self.plan_.last do all[n] = self:stream(n) end
  return all
end

-- Collecting -----------------------------------------------------------------

--- Reads an end that has no stream by a reader of its own.
local function read(self, n, take)
  local reader = pipe_reader.open(self.fds_[n])
  self.fds_[n], self.readers_[n] = nil, reader
  reader:read_start(function(code, chunk)
    if chunk then return take(chunk) end
    self.failed_ = self.failed_ or code
    reader:close()
    loop.soon(closed, self)
  end)
end

--- Calls take(chunk) for every chunk that the child writes to fd `n`, and makes
--- the child's `close` event wait for its end. Does nothing if fd `n` is no
--- pipe to us.
--- @param n integer the child's fd
--- @param take fun(chunk: string)
function Ends:collect(n, take)
  local alone = self.fds_[n] and stdio.mode(self.plan_, n) == "r"
  local one = not alone and self:stream(n)
  if not alone and (not one or one.handle_closed_) then return end
  if self.takers_ == none then self.takers_, self.readers_ = {}, {} end
  self.takers_[n] = take
  self.open_ = self.open_ + 1
  if alone then read(self, n, take) else share(self, n, one) end
end

--- Reads at once what has come for those who collect.
function Ends:drain()
  for _, reader in next, self.readers_ do reader:drain_() end
end

--- Tells whether reading what is collected has failed, so that some may be
--- missing.
--- @return boolean
function Ends:failed()
  return self.failed_ ~= nil
end

-- The end --------------------------------------------------------------------

--- Tells whether an end that can be read was not asked for yet.
local function has_unasked(self)
  for n in next, self.fds_ do
    if stdio.mode(self.plan_, n) ~= "w" then return true end
  end
  for _, one in next, self.streams_ do
    if one.readable and not one.asked_ then return true end
  end
  return false
end

--- Waits for each stream that was asked for.
local function hold(self)
  for n, one in next, self.streams_ do
    if one.readable and one.asked_ and not one.handle_closed_
      and not self.takers_[n] then
      self.open_ = self.open_ + 1
      when_closed(one, closed, self)
    end
  end
  closed(self)
end

--- Takes note that the child has ended, and calls fn(owner) once all output
--- that is asked for is at its end. If some is not asked for yet, a turn passes
--- first: a task that waited for the exit may still ask for it.
--- @param fn fun(owner: any)
--- @param owner any
function Ends:finish(fn, owner)
  local unasked = has_unasked(self)
  self.child_ended_ = true
  if self.fds_[0] and stdio.mode(self.plan_, 0) == "w" then
    self.fds_[0]:close()
  end
  for _, one in next, self.streams_ do end_writing(one) end
  self.open_ = self.open_ + 1
  self.on_closed_, self.owner_ = fn, owner
  if unasked then
    loop.later(function() hold(self) end)
  else
    loop.soon(hold, self)
  end
end

--- Closes all of them.
function Ends:close()
  for _, fd in next, self.fds_ do fd:close() end
  for _, reader in next, self.readers_ do
    if not reader:is_closing() then
      reader:close()
      loop.soon(closed, self)
    end
  end
  for _, one in next, self.streams_ do one:destroy() end
end

-- Making them ----------------------------------------------------------------

--- @class NoEnds what a child has that inherits all, or is given nothing to
---   talk by
local NoEnds = class "orrery.NoEnds"

function NoEnds.stream() end
function NoEnds.all() return {} end
function NoEnds.collect() end
function NoEnds.drain() end
function NoEnds.failed() return false end
function NoEnds.finish(_, fn, owner) loop.soon(fn, owner) end
function NoEnds.close() end

--- The only one.
ends.none = setmetatable({}, NoEnds)

--- Makes the ends of a child that runs.
--- @param plan Plan
--- @param fds table<integer, userdata> orrery.fd, owned from now on
--- @return Ends|NoEnds
function ends.new(plan, fds)
  if next(fds) == nil then return ends.none end
  return new(plan, fds, {})
end

--- Makes the ends of a child that did not start: streams that are over.
--- @param plan Plan
--- @return Ends
function ends.ended(plan)
  return new(plan, none, stdio.ended(plan))
end

return ends
