--- The reading end of a pipe behind the interface of a luv stream handle, so that
--- stream.lua needs no second path. It costs a third of one: it is read where it
--- is polled, and it is closed at once, where a luv handle takes another turn.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"

local READS = 8 -- in a row, before others have their turn
local MOST = core.read_size -- bytes of one read

local EAGAIN = core.errnos.EAGAIN

local pipe_reader = {}

--- @class PipeReader
local Reader = {}
Reader.__index = Reader

--- @param fd userdata orrery.fd, owned from now on
--- @return PipeReader
function pipe_reader.open(fd)
  return setmetatable({ fd = fd, referenced = true, blocking = true }, Reader)
end

--- Reads what is there; of a pipe whose writers have all gone, up to its end, after
--- which whoever reads stops or closes it.
local function on_ready(self, _, _, gone)
  for _ = 1, READS do
    local data, errno = self.fd:read()
    if not data or data == "" then
      if errno == EAGAIN then return end
      return self.on_read(errno and errors.code_of(errno), nil)
    end
    self.on_read(nil, data)
    if not self.watched or (#data < MOST and not gone) then return end
  end
end

--- It cannot be polled: a directory cannot be read either, which says it better.
local function fail(self, err)
  if self:is_closing() then return end
  local _, errno = self.fd:read()
  self.on_read(errno and errno ~= EAGAIN and errors.code_of(errno) or err.code)
end

--- @param on_read fun(code: string?, chunk: string?) neither at the end
function Reader:read_start(on_read)
  local err
  self.on_read = on_read
  if self.blocking then
    self.blocking = false
    self.fd:set_nonblocking(true)
  end
  self.watched, err = poller.watch(self.fd:fileno(), on_ready, self)
  if not self.watched then return loop.soon(fail, self, err) end
  self.watched:set_ref(self.referenced)
end

--- Reads at once what is there, without being told that something is.
function Reader:drain()
  if self.watched then on_ready(self, true, false, true) end
end

--- Another process is going to read it, who expects that to block.
function Reader:lend()
  self:read_stop()
  self.blocking = true
  self.fd:set_nonblocking(false)
end

function Reader:read_stop()
  if self.watched then self.watched:close() end
  self.watched = nil
end

local function set_referenced(self, on)
  self.referenced = on
  if self.watched then self.watched:set_ref(on) end
end

function Reader:ref() set_referenced(self, true) end
function Reader:unref() set_referenced(self, false) end

function Reader:fileno() return self.fd:fileno() end

function Reader:is_closing() return not self.fd:fileno() end

--- @param fn function? called in a later tick
function Reader:close(fn)
  self:read_stop()
  self.fd:close()
  if fn then loop.soon(fn) end
end

return pipe_reader
