--- The standard streams of this process.
---
--- stdout and stderr are synchronous and are never opened in luv, which would
--- make the file non-blocking for all processes that share it. Nor is stdin: a
--- pipe is read by an open file of its own, a socket or a terminal as a file
--- that is shared. It is opened when it is first asked for.

local uv = require "orrery.runtime.luv"
local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local signals = require "orrery.process.signals"
local stream = require "orrery.stream"

local standard_streams = {}

local self_process = core.process()
local EBADF, EPIPE = core.errnos.EBADF, core.errnos.EPIPE
local SIGWINCH = core.signals.SIGWINCH

local function is_terminal(fd) return uv.guess_handle(fd) == "tty" end

--- @class Output : Emitter stdout or stderr; it cannot be closed. Events:
---   finish, error(err); of a terminal, resize
--- @field is_tty boolean it is a terminal
--- @field columns integer? of a terminal, as it is now
--- @field rows integer? of a terminal
--- @field readable boolean false
--- @field writable boolean true
--- @field fd_ integer
local Output = class("orrery.Output", events.Emitter)

Output.readable, Output.writable = false, true

function Output.__tostring(self)
  return ("stream (fd %d): open"):format(self.fd_)
end

--- Writes to the fd. If its reader has gone and nothing listens for `error`, an
--- `orrery` script ends as by SIGPIPE.
--- @return true? ok
--- @return Error? err
local function write(self, data)
  local ok, errno = self_process:write(self.fd_, data)
  if ok then return true end
  if errno == EPIPE and self:listener_count("error") == 0 then
    core.lost_reader()
  end
  return nil, errors.system(errno, "write")
end

--- Writes all of it, and blocks while the reader is slow. If the reader has
--- gone, that is an `error` event for those who listen; without a listener it
--- ends an `orrery` script as SIGPIPE does, and is nothing in another program.
--- @param data string
--- @param cb fun(err: Error?)? called in the next tick (EPIPE, EIO, ENOSPC)
--- @return boolean ok false: it failed; there is nothing to wait for
function Output:write(data, cb)
  options.check_write("write", data, cb)
  local ok, err = write(self, data)
  if cb then loop.soon(cb, err) end
  if err and self:listener_count("error") > 0 then
    loop.soon(self.emit, self, "error", err)
  end
  return ok == true
end

--- Writes all of it, and blocks while the reader is slow.
--- @param data string
--- @return true? ok
--- @return Error? err (EPIPE, EIO, ENOSPC)
function Output:write_wait(data)
  options.check_write("write_wait", data)
  return write(self, data)
end

--- Writes a last time, and emits `finish`. The stream stays usable, as in Node.
--- @param data string?
--- @param cb function? called in the next tick
function Output:finish(data, cb)
  if type(data) == "function" then data, cb = nil, data end
  options.check_write("finish", data or "", cb)
  if data then self:write(data) end
  if cb then loop.soon(cb) end
  loop.soon(self.emit, self, "finish")
end

--- Returns the number of the fd.
--- @return integer fd 1 or 2
function Output:fileno() return self.fd_ end

--- Does nothing, for the process needs its output to its end.
function Output:close() end
Output.destroy = Output.close

--- Does nothing: a synchronous stream never keeps the loop alive.
--- @return Output self
function Output:ref() return self end
Output.unref = Output.ref

Output.is_tty = false

-- Terminals ------------------------------------------------------------------

--- The class of an output that is a terminal. It has a size, which is asked for
--- each time.
local TerminalOutput = class("orrery.Output", Output)

TerminalOutput.is_tty = true

--- Returns the rows and columns; nil if it is no terminal any more.
local function size_of(self)
  local rows, columns = core.terminal().size(self.fd_)
  if rows then return rows, columns end
end

function TerminalOutput.__index(self, name)
  if name == "rows" then return (size_of(self)) end
  if name == "columns" then return (select(2, size_of(self))) end
  return TerminalOutput[name]
end

--- Emits `resize` if the size is another one than it was.
local function on_resize(self)
  local rows, columns = size_of(self)
  local known = self.size_
  if rows == known[1] and columns == known[2] then return end
  self.size_ = { rows, columns }
  self:emit("resize")
end

--- Catches SIGWINCH while `resize` has a listener, by a handle of its own. It
--- keeps the loop alive only for tasks that wait for it. Called by the emitter.
function TerminalOutput:listeners_changed_(event, count)
  if event ~= "resize" then return end
  local handle = self.on_resize_
  if count == 0 then
    if handle then loop.close(handle) end
    self.on_resize_ = nil
    return
  elseif not handle then
    handle = uv.new_signal()
    self.on_resize_, self.size_ = handle, { size_of(self) }
    handle:start(SIGWINCH, loop.guard(function() on_resize(self) end))
  end
  if signals.is_awaited(self, event) then handle:ref() else handle:unref() end
end

-- Making them ----------------------------------------------------------------

--- Makes the stream of stdout or stderr.
--- @param fd 1|2
--- @return Output
function standard_streams.output(fd)
  local its_class = is_terminal(fd) and TerminalOutput or Output
  return setmetatable({ fd_ = fd }, its_class)
end

--- Opens stdin; see `input`.
local function open_input()
  local kind = uv.guess_handle(0)
  if kind ~= "file" then
    require "orrery.runtime.poller".open() -- while there are fds for it
  end
  -- A pipe that is opened once more can be made non-blocking without harm to
  -- others. Not so a socket, which cannot be opened, and the controlling end of
  -- a terminal, of which that makes another one.
  local own = kind == "pipe" and core.open("/proc/self/fd/0", "r")
  if own then return stream.new(own, "pipe", "r") end
  local fd, errno = core.dup(0)
  if not fd then
    local none = stream.ended("r")
    if errno ~= EBADF then none.read_error_ = errors.system(errno, "dup") end
    return none
  end
  return stream.new(fd, kind == "file" and "file" or "shared", "r")
end

--- Makes the stream of stdin. It keeps the loop alive only while it is read.
--- @return Stream stream with `is_tty`; at its end if there is no stdin; reads
---   give the error if there is no fd left for it
function standard_streams.input()
  local stdin = open_input()
  stdin.is_tty = is_terminal(0)
  return stdin
end

return standard_streams
