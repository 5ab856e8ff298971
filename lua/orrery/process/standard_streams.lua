--- The standard streams of this process.
---
--- stdout and stderr are synchronous and are never opened in luv, which would
--- make the file non-blocking for everybody who shares it. stdin is opened when
--- it is first read, for a pipe by a new open file of its own.

local uv = require "luv"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local stream = require "orrery.stream"

local standard_streams = {}

local self_process = core.process()

--- @class Output : Emitter stdout or stderr; it cannot be closed
local Output = { __name = "orrery.Output", writable = true, readable = false }
Output.__index = Output
events.extend(Output)

function Output.__tostring(self)
  return ("stream (fd %d): open"):format(self.fd_)
end

--- Writes all of it, waiting where the reader is slow. A reader that has gone
--- is an `error` for those who listen, and nothing for the others.
--- @param data string
--- @param cb fun(err: Error?)?
--- @return boolean
function Output:write(data, cb)
  options.check_write("write", data, cb)
  local ok, errno = self_process:write(self.fd_, data)
  local err = not ok and errors.system(errno, "write") or nil
  if cb then loop.soon(cb, err) end
  if err and self:listener_count("error") > 0 then
    loop.soon(self.emit, self, "error", err)
  end
  return ok == true
end

--- Writes; there is nothing to wait for.
--- @return true? ok
--- @return Error? err
function Output:write_wait(data)
  options.check_write("write_wait", data)
  local ok, errno = self_process:write(self.fd_, data)
  if not ok then return nil, errors.system(errno, "write") end
  return true
end

--- Writes a last time. The stream stays usable, as in Node.
function Output:finish(data, cb)
  if type(data) == "function" then data, cb = nil, data end
  options.check_write("finish", data or "", cb)
  if data then self:write(data) end
  if cb then loop.soon(cb) end
  loop.soon(self.emit, self, "finish")
end

function Output:fileno() return self.fd_ end
function Output:close() end
function Output:destroy() end
function Output:ref() return self end
function Output:unref() return self end

--- Whether it is a terminal.
--- @return boolean
function Output:is_tty() return uv.guess_handle(self.fd_) == "tty" end

function standard_streams.output(fd)
  return setmetatable({ fd_ = fd }, Output)
end

local kinds = { pipe = "pipe", tcp = "tcp", tty = "tty", file = "file" }

--- The fd to read stdin from.
local function input_fd(kind)
  local fd
  if kind == "pipe" then fd = core.open("/proc/self/fd/0", "r") end
  return fd or core.dup(0)
end

--- stdin as a stream. It holds the loop only while somebody reads.
--- @return Stream
function standard_streams.input()
  local kind = kinds[uv.guess_handle(0)] or "file"
  local fd = input_fd(kind)
  if not fd then return stream.ended("r") end
  if kind == "pipe" then require "orrery.runtime.poller".open() end -- while there are fds
  return stream.new(fd, kind, "r")
end

return standard_streams
