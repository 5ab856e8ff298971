--- A pipe, socket or terminal that other processes share, behind the interface
--- of a luv stream handle. luv would make it non-blocking, and that for all of
--- them: what they print would be lost. This handle changes nothing of it: it
--- waits until the poller tells of something, and asks the kernel for no more
--- than can be done at once.

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"

local EAGAIN = core.errnos.EAGAIN

local shared_handle = {}

--- @class SharedHandle its methods are those of luv's handles
--- @field fd_ userdata orrery.fd, owned
--- @field on_read_ function? the callback, while it is to read
--- @field queue_ {data: string, from: integer, cb: function?}[] writes to be
---   done, from place `first_` to `last_`
--- @field watched_ Watched? while it reads or has something to write
--- @field referenced_ boolean it keeps the loop alive while it reads
local SharedHandle = class "orrery.SharedHandle"
shared_handle.SharedHandle = SharedHandle

--- Makes the handle of an fd.
--- @param fd userdata orrery.fd, owned from now on
--- @return SharedHandle
function shared_handle.open(fd)
  return setmetatable({
    fd_ = fd,
    queue_ = {},
    first_ = 1,
    last_ = 0,
    referenced_ = true,
  }, SharedHandle)
end

--- Returns what it is called among what keeps the loop alive.
--- @return string
function SharedHandle:name_()
  return ("stream (fd %d)"):format(self.fd_:fileno() or -1)
end

local watch

local function read_some(self)
  local data, errno = self.fd_:read_now()
  if errno == EAGAIN then return end
  local at_end = not data or data == ""
  self.on_read_(errno and errors.code_of(errno), not at_end and data or nil)
end

--- Takes the first write off the queue and calls its callback.
local function written(self, code)
  local write = self.queue_[self.first_]
  self.queue_[self.first_] = nil
  self.first_ = self.first_ + 1
  if write.cb then write.cb(code) end
end

local function write_some(self)
  local write = self.queue_[self.first_]
  local n, _, code = self.fd_:try_write(write.data, write.from)
  if code == "EAGAIN" then return end
  write.from = write.from + (n or 0)
  if code or write.from > #write.data then written(self, code) end
end

local function on_ready(self, readable, writable, gone)
  if self.on_read_ and (readable or gone) then read_some(self) end
  if self.first_ <= self.last_ and (writable or gone) then write_some(self) end
  watch(self)
end

--- Reports that the fd cannot be polled. If it is a directory, it cannot be
--- read either, and the error of that says more.
local function fail(self, code)
  if self:is_closing() then return end
  local _, errno = self.fd_:read_now()
  if errno and errno ~= EAGAIN then code = errors.code_of(errno) end
  if self.on_read_ then self.on_read_(code) end
  while self.first_ <= self.last_ do written(self, code) end
end

--- Has the poller watch for what is to be done, if anything is.
function watch(self)
  local reads, writes = self.on_read_ ~= nil, self.first_ <= self.last_
  if not reads and not writes then
    if self.watched_ then self.watched_:close() end
    self.watched_ = nil
  elseif self.fd_:fileno() then
    local err
    if not self.watched_ then
      self.watched_, err = poller.watch(self.fd_:fileno(), on_ready, self)
      if err then return loop.soon(fail, self, err.code) end
    end
    self.watched_:listen(reads, writes, reads)
    self.watched_:set_ref(writes or self.referenced_)
  end
end

--- Reads whenever there is something, as long as it is not stopped.
--- @param on_read fun(code: string?, chunk: string?) neither at the end
function SharedHandle:read_start(on_read)
  self.on_read_ = on_read
  watch(self)
end

function SharedHandle:read_stop()
  self.on_read_ = nil
  watch(self)
end

--- Writes what can be written at once.
--- @param data string
--- @return integer? n bytes; nil, text, code
--- @return string? text
--- @return string? code an errno's name (EAGAIN, EPIPE)
function SharedHandle:try_write(data) return self.fd_:try_write(data) end

--- Writes behind what is queued.
--- @param data string
--- @param cb fun(code: string?)? called once all is written, or has failed
function SharedHandle:write(data, cb)
  self.last_ = self.last_ + 1
  self.queue_[self.last_] = { data = data, from = 1, cb = cb }
  watch(self)
end

--- Ends the writing side of a socket; for another file that is its close.
--- @param cb function called in a later tick
--- @return true
function SharedHandle:shutdown(cb)
  self.fd_:shut_down()
  loop.soon(cb)
  return true
end

function SharedHandle:ref()
  self.referenced_ = true
  watch(self)
end

function SharedHandle:unref()
  self.referenced_ = false
  watch(self)
end

function SharedHandle:fileno() return self.fd_:fileno() end

function SharedHandle:is_closing() return not self.fd_:fileno() end

--- Closes the fd; what is queued fails with ECANCELED.
--- @param fn function? called in a later tick
function SharedHandle:close(fn)
  if self.watched_ then self.watched_:close() end
  self.watched_, self.on_read_ = nil, nil
  self.fd_:close()
  while self.first_ <= self.last_ do written(self, "ECANCELED") end
  if fn then loop.soon(fn) end
end

return shared_handle
