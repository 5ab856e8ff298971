--- Our end of a pseudo-terminal: what is written to it is typed, and what a
--- program shows there is read. One stream for both, and with it the size of
--- the terminal.

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local shared_handle = require "orrery.stream.shared_handle"
local stream = require "orrery.stream"

local END_OF_FILE = "\4" -- Ctrl-D

local SharedHandle = shared_handle.SharedHandle

local pty = {}

--- @class PtyHandle : SharedHandle
--- @field amid_line_ boolean? the last byte that was typed ends no line
local PtyHandle = class("orrery.PtyHandle", SharedHandle)

function PtyHandle:name_()
  return ("terminal (fd %d)"):format(self.fd_:fileno() or -1)
end

--- Reads as a SharedHandle. That all who had the terminal have closed it, is
--- EIO, and here the end.
--- @param on_read fun(code: string?, chunk: string?) neither at the end
function PtyHandle:read_start(on_read)
  SharedHandle.read_start(self, function(code, chunk)
    if code == "EIO" then code = nil end
    on_read(code, chunk)
  end)
end

--- Notes whether what is being typed, up to the byte `n`, ends amid a line.
local function note(self, data, n)
  if n > 0 then self.amid_line_ = not data:find("^[\r\n]", n) end
end

function PtyHandle:try_write(data)
  local n, text, code = SharedHandle.try_write(self, data)
  note(self, data, n or 0)
  return n, text, code
end

function PtyHandle:write(data, cb)
  note(self, data, #data)
  SharedHandle.write(self, data, cb)
end

--- Types the end of file, for a terminal has no half to shut down. Amid a line
--- it takes two: the first only hands that over.
--- @param cb fun(code: string?) called once it is typed, or cannot be
--- @return true
function PtyHandle:shutdown(cb)
  self:write(END_OF_FILE:rep(self.amid_line_ and 2 or 1), cb)
  return true
end

--- @class Pty : Stream `finish` types the end of file
local Pty = class("orrery.Pty", stream.Stream)

local is_size = options.integer(1, 0xffff)

--- Changes the size. If it is another one, the kernel sends SIGWINCH to the
--- programs in the foreground.
--- @param rows integer 1 to 65535
--- @param cols integer 1 to 65535
--- @return true? ok
--- @return Error? err (ERR_STREAM_DESTROYED)
function Pty:resize(rows, cols)
  options.argument("resize", "the number of rows", rows, is_size)
  options.argument("resize", "the number of columns", cols, is_size)
  local fd = self:fileno()
  if not fd then
    return nil, errors.new("ERR_STREAM_DESTROYED", "the terminal is closed")
  end
  local ok, errno = core.terminal().resize(fd, rows, cols)
  if not ok then return nil, errors.system(errno, "resize") end
  return true
end

--- Makes the handle of the controlling end of a terminal. It is not to block,
--- for a write would not come back before the program has taken all of it; and
--- no other process has it.
--- @param fd userdata orrery.fd, owned from now on
--- @return PtyHandle
function pty.open(fd)
  fd:set_nonblocking(true)
  return setmetatable(shared_handle.open(fd), PtyHandle)
end

--- Makes the stream of the controlling end of a terminal.
--- @param fd userdata orrery.fd, owned from then on
--- @return Pty
function pty.new(fd)
  return setmetatable(stream.new(fd, "pty", "rw"), Pty)
end

--- Makes the stream of a process that did not start.
--- @return Pty
function pty.ended()
  return setmetatable(stream.ended("rw"), Pty)
end

return pty
