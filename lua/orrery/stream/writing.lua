--- The writing half of streams, installed into the class by stream.lua: writes
--- try the system call first and queue the rest in luv, with backpressure.

local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local HIGH_WATER = 65536 -- bytes queued: write says false

--- @class Stream
local Writing = {}

--- A write that cannot be: it changes nothing.
local function refuse(self, err, cb)
  if cb then loop.soon(cb, err) end
  if self:listener_count("error") > 0 then
    loop.soon(self.emit, self, "error", err)
  end
  return false
end

--- What takes a try_write: the handle, or the fd of a socket that luv has not yet;
--- nil, err.
local function writable_handle(self)
  if self.write_error_ then return nil, self.write_error_ end
  if not self.writable or self.finishing_ then
    return nil, errors.new("ERR_STREAM_WRITE_AFTER_END", self.finishing_
      and "write after finish" or "the stream is not writable")
  end
  if self.is_socket_ and self.fd_ and not self.closed then return self.fd_ end
  return self:handle_of_()
end

--- The peer has gone. That is no `error` event unless somebody listens: the
--- callback has it, and so has the next write.
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
  if not self.readable then self.ended = true end
  self:close_if_over_()
end

--- All is with the kernel: ends the writing side. A pipe has no half to shut
--- down; its end is its close.
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

local function drained(self)
  if self.queued_ > 0 or self.closed then return end
  if self.finishing_ then return shut_down(self) end
  if self.need_drain_ then
    self.need_drain_ = false
    self:emit("drain")
  end
end

local function written(self, size, cb, code)
  local err = code and errors.luv(code, "write")
  self.queued_ = self.queued_ - size
  if err and not self.closed then
    write_failed(self, err, cb)
  elseif cb then
    cb(err)
  end
  drained(self)
end

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

--- Writes. The data is taken in any case; false says that much is queued and
--- that a patient writer waits for `drain`, or that it failed.
--- @param data string
--- @param cb fun(err: Error?)? once it is with the kernel, or never will be
--- @return boolean
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

--- Copies what this stream reads to `dest` as fast as that takes it, and ends
--- `dest` with the end.
--- @param dest Stream
--- @return Stream dest
function Writing:pipe(dest)
  self:on("data", function(chunk)
    if not dest:write(chunk) and not dest.closed then self:pause() end
  end)
  dest:on("drain", function() self:resume() end)
  dest:once("close", function() self:resume() end)
  self:once("end", function() dest:finish() end)
  return dest
end

--- Writes and waits until the kernel has it. [w]
--- @param data string
--- @param t integer? ms; what is queued stays queued
--- @return true? ok nil, err
--- @return Error? err
function Writing:write_wait(data, t)
  options.check_write("write_wait", data)
  local failure
  local done, err = scheduler.wait(function(wake)
    self:write(data, function(e)
      failure = e
      wake(true)
    end)
  end, t, "write_wait")
  if not done then return nil, err end
  if failure then return nil, failure end
  return true
end

--- No more writes: the reader gets what is queued and then the end. `finish` is
--- emitted when all is with the kernel.
--- @param data string? written first
--- @param cb fun(err: Error?)?
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

return Writing
