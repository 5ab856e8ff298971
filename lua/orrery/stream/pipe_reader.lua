--- The reading end of a pipe behind the interface of a luv stream handle, so
--- that streams need no second path for it. It costs a third of one: it is read
--- in the poller's callback, and it is closed at once, while a luv handle takes
--- another turn.

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"

local READS = 8 -- in a row, before others have their turn
local MOST = core.read_size -- bytes of one read

local EAGAIN = core.errnos.EAGAIN

local pipe_reader = {}

--- @class PipeReader its methods are those of luv's handles
--- @field fd_ userdata orrery.fd, owned
--- @field on_read_ function the callback; a stream that takes over replaces it
--- @field watched_ Watched? while it reads
--- @field referenced_ boolean it keeps the loop alive while it reads
--- @field blocking_ boolean the fd blocks: it has not been read, or it is lent
local PipeReader = class "orrery.PipeReader"

--- Returns what it is called among what keeps the loop alive.
--- @return string
function PipeReader:name_()
  return ("pipe (fd %d)"):format(self.fd_:fileno() or -1)
end

--- Makes the reader of a pipe's end.
--- @param fd userdata orrery.fd, owned from now on
--- @return PipeReader
function pipe_reader.open(fd)
  return setmetatable({ fd_ = fd, referenced_ = true, blocking_ = true },
    PipeReader)
end

--- Reads what is there: all of it if the writers have gone. (`on_read_` is
--- expected to stop or close the reader at the end.)
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

--- Reports an fd that cannot be polled. If it is a directory, it cannot be read
--- either, and the error of that says more.
local function fail(self, err)
  if self:is_closing() then return end
  local _, errno = self.fd_:read()
  self.on_read_(errno and errno ~= EAGAIN and errors.code_of(errno) or err.code)
end

--- Reads whenever there is something, as long as it is not stopped.
--- @param on_read fun(code: string?, chunk: string?) neither at the end
function PipeReader:read_start(on_read)
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

--- Reads what is there now, without waiting for the poller to tell of it. Does
--- nothing if the reader is stopped.
function PipeReader:drain_()
  if self.watched_ then on_ready(self, true, false, true) end
end

--- Stops, and makes the fd block: another process is going to read it, and
--- expects that.
function PipeReader:lend_()
  self:read_stop()
  self.blocking_ = true
  self.fd_:set_nonblocking(false)
end

function PipeReader:read_stop()
  if self.watched_ then self.watched_:close() end
  self.watched_ = nil
end

local function set_referenced(self, on)
  self.referenced_ = on
  if self.watched_ then self.watched_:set_ref(on) end
end

function PipeReader:ref() set_referenced(self, true) end
function PipeReader:unref() set_referenced(self, false) end

function PipeReader:fileno() return self.fd_:fileno() end

function PipeReader:is_closing() return not self.fd_:fileno() end

--- Closes the fd.
--- @param fn function? called in a later tick
function PipeReader:close(fn)
  self:read_stop()
  self.fd_:close()
  if fn then loop.soon(fn) end
end

return pipe_reader
