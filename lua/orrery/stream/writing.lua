--- The writing half of class Stream: tries the system call first, and leaves
--- the rest to luv's queue. It knows nothing of reading.
---
--- Its state. Other files read it at most, but for net/connecting.lua, which
--- holds writes back until a socket is connected, and replays them then:
---   queued_              bytes that luv holds
---   need_drain_          whether `write` has said false, and `drain` is due
---   finishing_           whether `finish` was called
---   on_finish_           its callback, until it is called
---   writable             whether there may be writes; false once finished
---   write_error_         the error after which there can be none
---
--- What the class calls: abandon_finish_. A child that has ended calls
--- end_writing_.

local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local HIGH_WATER = 65536 -- bytes queued: write says false

--- @class Stream
local Writing = { queued_ = 0, bytes_written = 0 }

--- Refuses a write: tells the callback and the `error` listeners, if any, and
--- leaves the stream as it is.
local function refuse(self, err, cb)
  err.of_ = self
  if cb then loop.soon(cb, err) end
  if self:listener_count("error") > 0 then
    loop.soon(self.emit, self, "error", err)
  end
  return false
end

--- Returns what takes a try_write: the handle, or the fd of a socket that luv
--- has not opened; or nil, err.
local function writable_handle(self)
  if self.write_error_ then return nil, self.write_error_ end
  if not self.writable or self.finishing_ then
    return nil, errors.new("ERR_STREAM_WRITE_AFTER_END", self.finishing_
      and "write after finish" or "the stream is not writable")
  end
  if self.is_socket_ and self.fd_ and not self.closed then return self.fd_ end
  return self:handle_of_()
end

--- Notes that there can be no more writes: mostly, the peer has gone. That is
--- an `error` event for listeners only: the callback has the error, and the
--- next write has it, too.
local function write_failed(self, err, cb)
  self.write_error_ = err
  if not self.readable then loop.soon(self.destroy, self) end
  return refuse(self, err, cb)
end

local function finished(self, err)
  if self.closed then return end
  local cb = self.on_finish_
  self.writable, self.on_finish_ = false, nil
  if cb then cb(err) end
  if not err then self:emit("finish") end
  self:close_if_over_()
end

--- Ends the writing side, once all is with the kernel. A pipe has no half to
--- shut down; its end is its close.
local function shut_down(self)
  if self.closed then return end
  local handle = self.readable and self:handle_of_()
  if handle then
    local ok, _, code = handle:shutdown(loop.guard(function(err)
      finished(self, err and errors.luv(err, "shutdown"))
    end))
    if not ok then finished(self, errors.luv(code, "shutdown")) end
  else
    finished(self, self.write_error_)
  end
end

--- Goes on once luv holds no more bytes: with the end, or with `drain`.
local function drained(self)
  if self.queued_ > 0 or self.closed then return end
  if self.finishing_ then return shut_down(self) end
  if self.need_drain_ then
    self.need_drain_ = false
    self:emit("drain")
  end
end

--- Called when luv has written `size` bytes, or has failed to.
local function written(self, size, cb, code)
  local err = code and errors.luv(code, "write", { of_ = self })
  self.queued_ = self.queued_ - size
  if err and not self.closed then
    write_failed(self, err, cb)
  elseif cb then
    cb(err)
  end
  drained(self)
end

--- Leaves bytes to luv. Returns what `write` does.
local function queue(self, data, cb)
  local handle, failure = self:handle_of_()
  if not handle then return write_failed(self, failure, cb) end
  self.queued_ = self.queued_ + #data
  handle:write(data, loop.guard(function(err)
    written(self, #data, cb, err)
  end))
  if self.queued_ < HIGH_WATER then return true end
  self.need_drain_ = true
  return false
end

--- Writes, without waiting. The data is taken in any case.
--- @param data string
--- @param cb fun(err: Error?)? called once all of it is with the kernel, or
---   never will be (EPIPE, ECONNRESET, ECANCELED, ERR_STREAM_DESTROYED,
---   ERR_STREAM_WRITE_AFTER_END)
--- @return boolean go_on false: 64 KiB or more are queued, and a patient writer
---   waits for `drain`; or the write failed
function Writing:write(data, cb)
  options.check_write("write", data, cb)
  local handle, err = writable_handle(self)
  if not handle then return refuse(self, err, cb) end
  local sent = 0
  if self.queued_ == 0 and data ~= "" then
    local n, _, code = handle:try_write(data)
    if not n and code ~= "EAGAIN" then
      return write_failed(self, errors.luv(code, "write"), cb)
    end
    sent = n or 0
  end
  self.bytes_written = self.bytes_written + #data
  if sent == #data and self.queued_ == 0 then
    if cb then loop.soon(cb) end
    return true
  end
  return queue(self, sent > 0 and data:sub(sent + 1) or data, cb)
end

--- Writes and waits until the kernel has all of it. [w]
--- @param data string
--- @param t integer? ms; what is queued then stays queued
--- @return true? ok
--- @return Error? err (ETIMEDOUT, or as the callback of `write` gets)
function Writing:write_wait(data, t)
  options.check_write("write_wait", data)
  local failure
  local done, err = scheduler.wait(function(wake)
    self:write(data, function(e)
      failure = e
      wake(true)
    end)
  end, t, "write_wait")
  if done and not failure then return true end
  if err then err.of_ = self end
  return nil, err or failure
end

--- Lets no more writes come: the peer gets what is queued, and then the end.
--- `finish` is emitted when all is with the kernel.
--- @param data string? written first
--- @param cb fun(err: Error?)? called then, or if it fails (as that of `write`)
function Writing:finish(data, cb)
  if type(data) == "function" then data, cb = nil, data end
  options.check_write("finish", data or "", cb)
  if self.closed or not self.writable then
    if cb then loop.soon(cb, self.write_error_) end
    return
  elseif self.finishing_ then
    if cb then self:once("close", function() cb(self.write_error_) end) end
    return
  end
  if data and data ~= "" then self:write(data) end
  self.finishing_, self.on_finish_ = true, cb
  if self.queued_ == 0 then loop.soon(shut_down, self) end
end

--- Takes no more writes, for nothing reads them any more; what has been read
--- stays. Tells `pipe` by an event of its own.
function Writing:end_writing_()
  self.writable = false
  self:emit("unwritable_")
end

--- Tells the callback of `finish` that the stream is being destroyed before all
--- was written.
--- @param err Error? ECANCELED
function Writing:abandon_finish_(err)
  loop.soon(self.on_finish_,
    err or errors.new("ECANCELED", "stream destroyed"))
  self.on_finish_ = nil
end

return Writing
