--- Byte streams over luv handles: child pipes, sockets, terminals, files.
--- Nothing is read until it is asked for, and writes try the system call first.
---
--- The class Stream is in three files. This one opens and closes: it owns the
--- fd, as an `orrery.fd` (closed when it is collected) until the first use, and
--- as a luv handle from then on. stream/reading.lua and stream/writing.lua have
--- the two directions, each with a state of its own; neither knows the other,
--- and this file joins them (`destroy`, `close_if_over_`, `pipe`).

local uv = require "orrery.runtime.luv"
local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local owning = require "orrery.runtime.owning"
local pipe_reader = require "orrery.stream.pipe_reader"
local reading = require "orrery.stream.reading"
local writing = require "orrery.stream.writing"

-- Needed by a wait in the main chunk of a host, when there may be no fd left to
-- load it by.
require "orrery.runtime.main_chunk"

local stream = {}

-- A write to a peer that has gone gives EPIPE and must not end the process, but
-- luv leaves SIGPIPE at its default. From the first use of streams on we ignore
-- it, unless it is handled already.
core.process():ignore_sigpipe()

--- @class Stream : Emitter events: data(chunk), end, drain, finish, error(err),
---   close
--- @field readable boolean
--- @field writable boolean false also once it is finished
--- @field ended boolean? nothing more will come from the peer
--- @field closed boolean? it is destroyed; `close` may still be due
--- @field bytes_read integer
--- @field bytes_written integer
--- @field handle_closed_ boolean? `close` has been emitted
--- @field stillborn_ boolean? see stream.ended
--- @field pending_ boolean? it has no fd so far: a socket that is not connected
--- @field is_socket_ boolean? its orrery.fd can be written
--- @field reads_ahead_ boolean? it reads without being asked, up to a limit
local Stream = class("orrery.Stream", events.Emitter, owning, reading, writing)
stream.Stream = Stream

Stream.handle_type_ = "stream" -- as messages call it that carry one

function Stream.__tostring(self)
  local state = self.closed and "closed" or self.ended and "ended" or "open"
  return ("stream (%s): %s"):format(self.kind_, state)
end

-- Opening --------------------------------------------------------------------

--- Makes the handle of each kind of fd, which owns the fd from then on. Returns
--- nil, code if it cannot.
local openers = {
  pipe = function(fd, self)
    if self.readable and not self.writable then return pipe_reader.open(fd) end
    return loop.open(uv.new_pipe(false), fd)
  end,
  tcp = function(fd) return loop.open(uv.new_tcp(), fd) end,
  shared = function(fd)
    return require "orrery.stream.shared_handle".open(fd)
  end,
  pty = function(fd) return require "orrery.stream.pty".open(fd) end,
  file = function(fd)
    return require "orrery.stream.file_handle".open(fd:take())
  end,
}

--- Returns the handle, which is opened on first use.
--- @return userdata|PipeReader|SharedHandle|FileHandle|nil handle
--- @return Error? err (ERR_STREAM_DESTROYED, ENOTCONN, or what open gave)
function Stream:handle_of_()
  if self.closed then
    return nil, errors.new("ERR_STREAM_DESTROYED", "the stream is closed")
  end
  if self.handle_ then return self.handle_ end
  if not self.fd_ then return nil, errors.luv("ENOTCONN", "write") end
  local handle, code = openers[self.kind_](self.fd_, self)
  if not handle then return nil, errors.luv(code or "EBADF", "open") end
  self.fd_, self.handle_ = nil, handle
  if not self.referenced_ then handle:unref() end
  return handle
end

--- Returns the number of the fd.
--- @return integer? fd nil if the stream is closed
function Stream:fileno()
  if self.closed then return nil end
  if self.handle_ then return (self.handle_:fileno()) end
  return self.fd_ and self.fd_:fileno()
end

-- Closing --------------------------------------------------------------------

--- Tells the user that the stream is closed. Sockets add to it.
function Stream:emit_close_()
  self.handle_closed_ = true
  self:emit("close")
end

--- Ends both directions at once: writes that are still queued fail with
--- ECANCELED, and a task that reads gets `err` or the end. `close` is emitted
--- later.
--- Does nothing if the stream is closed.
--- @param err Error? emitted as `error` first
function Stream:destroy(err)
  if self.closed then return end
  self.closed = true
  if err then loop.soon(self.emit, self, "error", err) end
  if self.on_finish_ then self:abandon_finish_(err) end
  self:abandon_reading_(err)
  if self.pins_ and self.handle_ then self.handle_:read_stop() end
  self:release_(self.emit_close_)
end

--- Closes without an error; see `destroy`.
function Stream:close() self:destroy() end

--- Closes at the end of a block. (`destroy` would take the error that unwinds
--- for the stream's own.)
Stream.__close = Stream.close

--- Closes what a stream held that was collected before it was closed.
local function let_go(self)
  if self.handle_ then loop.close(self.handle_) end
  if self.pinned_ then
    self.pins_ = 1
    self:unpin_()
  end
end

--- Lets go of the fd of a stream that is collected before it was closed: in a
--- turn of the loop, for when the Lua state closes, which cannot be told here,
--- there is none, and luv closes the handle itself. (Then the loop's own handle
--- may be no object any longer.)
function Stream:__gc()
  if self.handle_ or self.pinned_ then pcall(loop.soon, let_go, self) end
end

--- Closes once both directions are over and nothing is left to be read.
function Stream:close_if_over_()
  if (self.ended or not self.readable) and not self.writable
    and self.size_ == 0 then
    self:destroy()
  end
end

--- Tells whether a stream takes no more writes.
local function is_over(dest)
  return dest.closed or dest.finishing_ or not dest.writable
    or dest.write_error_ ~= nil
end

--- Stops a pipe whose source is at its end.
local function stop_at_end(dest, stop)
  stop()
  dest:finish()
end

--- Stops a pipe whose source is closed, which comes without an end if it was
--- cut off.
local function stop_at_close(self, dest, stop)
  stop()
  if self.ends_whole_ and self.read_error_ then dest:destroy() end
end

local function check_destination(value)
  local kind = type(value)
  if kind ~= "table" and kind ~= "userdata"
    or not (value.write and value.finish) then
    return "a stream to write to"
  end
end

--- Copies what this stream reads to another, as fast as that takes it, and ends
--- the other with the end; or destroys it, if this is a body that is cut off:
--- nobody must take the part for the whole. Stops when the other is closed or
--- finished, or cannot be written to: then no more is read here, and what the
--- other has not taken can be read or piped again.
--- @param dest Stream
--- @return Stream dest
function Stream:pipe(dest)
  options.argument("pipe", "the destination", dest, check_destination)
  local undos, holding = {}, false
  local function go_on()
    if holding then self:unpause_() end
    holding = false
  end
  local function stop()
    for _, undo in ipairs(undos) do undo() end
    undos = {}
    go_on()
  end
  local function stop_if(err)
    if err or is_over(dest) then stop() end
  end
  local function copy(chunk)
    if not is_over(dest) and dest:write(chunk, stop_if) then return end
    if is_over(dest) then
      stop()
      if self:listener_count("data") == 0 then self:give_back_(chunk) end
    else
      holding = true
      self:pause()
    end
  end
  if is_over(dest) then return dest end
  undos = {
    self:on("data", copy),
    dest:on("drain", go_on),
    dest:on("finish", stop_if),
    dest:on("unwritable_", stop),
    dest:on("close", stop),
    self:on("close", function() stop_at_close(self, dest, stop) end),
    self:on("end", function() stop_at_end(dest, stop) end),
  }
  return dest
end

-- Making them ----------------------------------------------------------------

--- Makes a stream that owns an fd.
--- @param fd userdata? orrery.fd; nil: it gets a handle later, or never
--- @param kind "pipe"|"tcp"|"file"|"shared" the last for any but a file
---   whose flags must stay as they are, for other processes have it, too
--- @param mode "r"|"w"|"rw"
--- @return Stream
function stream.new(fd, kind, mode)
  return setmetatable({
    fd_ = fd,
    kind_ = kind,
    readable = mode ~= "w",
    writable = mode ~= "r",
    chunks_ = {},
  }, Stream)
end

local file_modes = { r = "r", w = "w", a = "w" }

--- Opens a file as a stream.
---
---     stream.open("input.txt"):pipe(stream.open("copy.txt", "w"))
---
--- @param path string
--- @param mode "r"|"w"|"a"|nil "r"; "w" empties the file, "a" writes at its end
--- @return Stream? stream
--- @return Error? err (ENOENT, EACCES, EISDIR, EMFILE, or what else open gave)
function stream.open(path, mode)
  options.argument("stream.open", "the path", path, options.checks.string)
  mode = mode or "r"
  if not file_modes[mode] then
    options.raise('stream.open: the mode must be "r", "w" or "a", got %s',
      options.got(mode))
  end
  local fd, errno = core.open(path, mode)
  if not fd then return nil, errors.system(errno, "open", { path = path }) end
  local kind = uv.guess_handle(fd:fileno()) == "file" and "file" or "pipe"
  return stream.new(fd, kind, file_modes[mode])
end

local MAX_FD = (1 << 31) - 1 -- of C's int

local function is_fd(value)
  return core.is_fd(value)
    or math.type(value) == "integer" and value >= 0 and value <= MAX_FD
end

--- Makes a stream of a pipe, socket, terminal or file that is open already, as
--- one that this process was started with:
---
---     local report = assert(stream.from_fd(3))
---
--- The stream owns the fd from then on, and closes it. It is readable, writable
--- or both, as the fd is. The file is not made non-blocking, for other
--- processes may have it, too.
--- @param fd integer|userdata its number, or an orrery.fd, which is closed then
--- @return Stream? stream
--- @return Error? err (EBADF)
function stream.from_fd(fd)
  if not is_fd(fd) then
    options.raise("stream.from_fd: the fd must be an integer, 0 or more, or an "
      .. "orrery.fd, got %s", options.show(fd))
  end
  local number = core.is_fd(fd) and fd:take() or fd
  if core.is_fd(number) then return nil, errors.luv("EBADF", "from_fd") end
  local own, mode = core.own(number)
  if not own then return nil, errors.system(mode, "from_fd") end
  local kind = uv.guess_handle(number) == "file" and "file" or "shared"
  return stream.new(own, kind, mode)
end

--- Makes the stream of a process that did not start: it is at its end, and a
--- write to it is EPIPE. Its `close` comes after the `end` of a reader.
--- @param mode "r"|"w"|"rw"
--- @return Stream
function stream.ended(mode)
  local self = stream.new(nil, "pipe", mode)
  self.closed, self.ended, self.stillborn_ = true, true, true
  self.write_error_ = errors.new("EPIPE", "write: the process did not start")
  return self
end

--- Makes the stream of a reader that reads already. The callback that it has
--- so far is not called any more.
--- @param reader PipeReader
--- @return Stream stream closed if the reader is
function stream.of_reader(reader)
  local self = stream.new(nil, "pipe", "r")
  self.handle_ = reader
  if reader:is_closing() then
    self.closed, self.ended, self.end_emitted_ = true, true, true
    self.handle_closed_ = true
  else
    self:take_over_(reader)
  end
  return self
end

return stream
