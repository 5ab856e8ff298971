--- The reading end of a pipe behind the interface of a luv stream handle, so that
--- stream.lua needs no second path. It costs a third of one: it is read where it
--- is polled, and it is closed at once, where a luv handle takes another turn.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"

local READS = 8 -- in a row, before others have their turn
local MOST = 65536 -- bytes of one read of the core's

local EAGAIN = core.errnos.EAGAIN

local pipe_reader = {}

--- @class PipeReader
local Reader = {}
Reader.__index = Reader

--- @param fd userdata orrery.fd, owned from now on
--- @return PipeReader
function pipe_reader.open(fd)
  return setmetatable({ fd_ = fd, referenced_ = true, blocking_ = true },
    Reader)
end

--- Reads what is there; of a pipe whose writers have all gone, up to its end, after
--- which whoever reads stops or closes it.
local function on_ready(self, _, _, gone)
  for _ = 1, READS do
    local data, errno = self.fd_:read()
    if not data or data == "" then
      if errno == EAGAIN then return end
      return self.on_read_(errno and errors.code_of(errno), nil)
    end
    self.on_read_(nil, data)
    if not self.watched_ or (#data < MOST and not gone) then return end
  end
end

--- It cannot be polled: a directory cannot be read either, which says it better.
local function fail(self, err)
  if self:is_closing() then return end
  local _, errno = self.fd_:read()
  self.on_read_(errno and errno ~= EAGAIN and errors.code_of(errno) or err.code)
end

--- @param on_read fun(code: string?, chunk: string?) neither at the end
function Reader:read_start(on_read)
  local err
  self.on_read_ = on_read
  if self.blocking_ then
    self.blocking_ = false
    self.fd_:set_nonblocking(true)
  end
  self.watched_, err = poller.watch(self.fd_:fileno(), on_ready, self)
  if not self.watched_ then return loop.soon(fail, self, err) end
  self.watched_:set_ref(self.referenced_)
end

--- Reads at once what is there, without being told that something is.
function Reader:drain_()
  if self.watched_ then on_ready(self, true, false, true) end
end

--- Another process is going to read it, who expects that to block.
function Reader:lend_()
  self:read_stop()
  self.blocking_ = true
  self.fd_:set_nonblocking(false)
end

function Reader:read_stop()
  if self.watched_ then self.watched_:close() end
  self.watched_ = nil
end

local function set_referenced(self, on)
  self.referenced_ = on
  if self.watched_ then self.watched_:set_ref(on) end
end

function Reader:ref() set_referenced(self, true) end
function Reader:unref() set_referenced(self, false) end

function Reader:fileno() return self.fd_:fileno() end

function Reader:is_closing() return not self.fd_:fileno() end

--- @param fn function? called in a later tick
function Reader:close(fn)
  self:read_stop()
  self.fd_:close()
  if fn then loop.soon(fn) end
end

return pipe_reader
