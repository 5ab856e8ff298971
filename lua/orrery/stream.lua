--- Byte streams over luv handles: child pipes, sockets, terminals. Nothing is
--- read until somebody asks, and writes try the system call first.
---
--- A stream owns its fd: as an `orrery.fd` (closed when collected) until the
--- first use, as a luv handle from then on.

local uv = require "luv"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local pipe_reader = require "orrery.stream.pipe_reader"
local scheduler = require "orrery.runtime.scheduler"

local stream = {}

-- A write to a peer that has gone is EPIPE, and no end. luv leaves SIGPIPE at its
-- default; it is ours from the first use of streams on, unless it is handled.
core.process():ignore_sigpipe()

local HIGH_WATER = 65536 -- bytes: stop reading ahead
local MAX_LINE = 64 * 1024 * 1024 -- bytes of a line without its end

--- @class Stream : Emitter
local Stream = { __name = "orrery.Stream", handle_type_ = "stream" }
Stream.__index = Stream
events.extend(Stream)
stream.Stream = Stream

Stream.referenced_ = true
Stream.skip_ = 0 -- bytes of the first chunk that are gone
Stream.size_ = 0 -- bytes in chunks but those
Stream.queued_ = 0 -- bytes that luv holds
Stream.bytes_read, Stream.bytes_written = 0, 0

function Stream.__tostring(self)
  local state = self.closed and "closed" or self.ended and "ended" or "open"
  return ("stream (%s): %s"):format(self.kind_, state)
end

-- Opening and closing --------------------------------------------------------

-- Streams that read, for luv's callback alone does not hold them.
local reading = {} -- luacheck: ignore

--- How each kind of fd becomes a handle, which owns it then: handle; nil, code.
local openers = {
  pipe = function(fd, self)
    if self.readable and not self.writable then return pipe_reader.open(fd) end
    return loop.open(uv.new_pipe(false), fd)
  end,
  tcp = function(fd) return loop.open(uv.new_tcp(), fd) end,
  tty = function(fd, self)
    local handle, _, code = uv.new_tty(fd:fileno(), self.readable)
    if handle then fd:take() end
    return handle, code
  end,
  file = function(fd) return require "orrery.stream.file_handle".open(fd:take()) end,
}

--- The handle, opened on first use; nil, err.
local function handle_of(self)
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

--- Whether bytes wait to be read here.
local function buffered(self)
  return self.size_ > 0
end

--- Once woken it is nobody any more: what comes before it runs is read ahead
--- and bounded.
local function wake_reader(self)
  local wake = self.reader_
  self.reader_ = nil
  if wake then wake(true) end
end

--- It is closed, as far as the user can tell. Sockets add to it.
function Stream:emit_close_()
  self.handle_closed_ = true
  self:emit("close")
end

--- Closes what it is over; then fn(self).
local function release(self, fn)
  if self.handle_ then
    return loop.close(self.handle_, fn and function() fn(self) end)
  end
  if self.fd_ then self.fd_:close() end
  if fn then loop.soon(fn, self) end
end

--- Whoever sends the fd to another process keeps its number valid until then:
--- closed meanwhile, the stream is closed for its user, and the fd stays open.
function Stream:pin_()
  self.pins_ = (self.pins_ or 0) + 1
end

function Stream:unpin_()
  self.pins_ = self.pins_ > 1 and self.pins_ - 1 or nil
  if self.closed and not self.pins_ then release(self) end
end

local function release_pinned(self)
  if self.handle_ then
    self.handle_:read_stop()
    self.handle_:unref()
  end
  loop.soon(self.emit_close_, self)
end

--- Ends both directions at once. Writes that are still queued fail.
--- @param err Error? emitted as `error` first
function Stream:destroy(err)
  if self.closed then return end
  self.closed, self.ended = true, true
  if self.size_ > 0 then self.chunks_, self.skip_, self.size_ = {}, 0, 0 end
  reading[self] = nil
  if err then loop.soon(self.emit, self, "error", err) end
  if self.on_finish_ then
    loop.soon(self.on_finish_, err or errors.new("ECANCELED", "stream destroyed"))
    self.on_finish_ = nil
  end
  wake_reader(self)
  if self.pins_ then
    release_pinned(self)
  else
    release(self, self.emit_close_)
  end
end

--- Closes without an error.
function Stream:close() self:destroy() end

--- Not destroy: it would take the error that unwinds for the stream's own.
Stream.__close = Stream.close

--- A stream that nobody has any more, and that does not read, lets go of its fd.
--- When the Lua state closes, the handle may be no object any longer.
function Stream:__gc()
  if self.handle_ and (self.pins_ or not self.closed) then
    pcall(loop.close, self.handle_)
  end
end

--- Closes once both directions are over and nothing is left to be read.
local function close_if_over(self)
  if self.ended and not self.writable and not buffered(self) then
    self:destroy()
  end
end

--- Keeps the loop alive while it reads or writes (the default).
--- @return Stream self
function Stream:ref()
  self.referenced_ = true
  if self.handle_ then self.handle_:ref() end
  return self
end

--- @return Stream self
function Stream:unref()
  self.referenced_ = false
  if self.handle_ then self.handle_:unref() end
  return self
end

--- The fd, or nil once it is closed.
--- @return integer?
function Stream:fileno()
  if self.closed then return nil end
  if self.handle_ then return (self.handle_:fileno()) end
  return self.fd_ and self.fd_:fileno()
end

--- A stream that owns `fd`.
--- @param fd userdata orrery.fd
--- @param kind "pipe"|"tcp"|"tty"|"file"
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
--- @return Stream? stream nil, err (ENOENT, EACCES …)
--- @return Error? err
function stream.open(path, mode)
  options.argument("stream.open", "the path", path, options.checks.string)
  mode = mode or "r"
  if not file_modes[mode] then
    options.raise('stream.open: the mode must be "r", "w" or "a", got %s',
      options.show(mode))
  end
  local fd, errno = core.open(path, mode)
  if not fd then return nil, errors.system(errno, "open", { path = path }) end
  local kind = uv.guess_handle(fd:fileno()) == "file" and "file" or "pipe"
  return stream.new(fd, kind, file_modes[mode])
end

--- A stream that is over already, for what could not start.
--- @return Stream
function stream.ended(mode)
  local self = stream.new(nil, "pipe", mode)
  self.closed, self.ended, self.stillborn_ = true, true, true
  self.write_error_ = errors.new("EPIPE", "write: the process did not start")
  return self
end

-- Reading --------------------------------------------------------------------

local function stop_reading(self)
  if not self.reading_ then return end
  self.reading_ = false
  reading[self] = nil
  if not self.closed then self.handle_:read_stop() end
end

local function finish_reading(self)
  if self.end_emitted_ then return end
  if buffered(self) then return self:close_if_over_() end
  self.end_emitted_ = true
  self:emit("end")
  if self.stillborn_ then return self:emit_close_() end
  if self.after_end_ then self:after_end_() end
  self:close_if_over_()
end

local function on_end(self, err)
  stop_reading(self)
  self.ended = true
  if err then
    self.read_error_ = errors.luv(err, "read")
    if self:listener_count("error") > 0 then
      self:emit("error", self.read_error_)
    end
  end
  wake_reader(self)
  loop.soon(finish_reading, self)
end

local function on_read(self, err, chunk)
  if self.closed then return end
  if err or not chunk then return on_end(self, err) end
  self.bytes_read = self.bytes_read + #chunk
  if self.touch_ then self.touch_() end
  if self.flowing_ and not buffered(self) then
    return self:emit("data", chunk)
  end
  self.chunks_[#self.chunks_ + 1] = chunk
  self.size_ = self.size_ + #chunk
  wake_reader(self)
  if self.size_ >= HIGH_WATER then stop_reading(self) end
end

--- luv keeps the callback as long as the handle, so it must not hold the stream.
local function reader_of(self)
  local weak = setmetatable({ self }, { __mode = "v" })
  return loop.guard(function(code, chunk)
    local alive = weak[1]
    if alive then on_read(alive, code, chunk) end
  end)
end

--- A stream of what a reader reads for somebody already, who steps aside.
--- @param reader PipeReader
--- @return Stream
function stream.of_reader(reader)
  local self = stream.new(nil, "pipe", "r")
  self.handle_ = reader
  if reader:is_closing() then
    self.closed, self.ended, self.end_emitted_, self.handle_closed_ = true, true, true, true
  else
    self.on_read_ = reader_of(self)
    reader.on_read_ = self.on_read_
    self.reading_, reading[self] = true, true
  end
  return self
end

local function start_reading(self)
  if self.reading_ or self.ended or self.closed or self.pending_ then return end
  local handle, err = handle_of(self)
  if not handle then return self:destroy(err) end
  self.reading_ = true
  reading[self] = true
  self.on_read_ = self.on_read_ or reader_of(self)
  handle:read_start(self.on_read_)
end

--- Takes `n` buffered bytes, which must be there. A chunk that is taken bit by
--- bit is not copied each time: `skip` counts what is gone of the first.
local function take(self, n)
  local chunks, skip, pieces, left = self.chunks_, self.skip_, {}, n
  local used = 0 -- chunks that are used up
  while left > 0 do
    local chunk = chunks[used + 1]
    local piece = skip == 0 and #chunk <= left and chunk
      or chunk:sub(skip + 1, skip + left)
    pieces[#pieces + 1] = piece
    left, skip = left - #piece, skip + #piece
    if skip == #chunk then used, skip = used + 1, 0 end
  end
  if used > 0 then
    table.move(chunks, used + 1, #chunks + used, 1)
  end
  self.skip_, self.size_ = skip, self.size_ - n
  return #pieces == 1 and pieces[1] or table.concat(pieces)
end

--- Hands out what is buffered, then lets the data flow.
local function flow(self)
  if not self.flowing_ then return end
  while self.flowing_ and buffered(self) do
    self:emit("data", take(self, #self.chunks_[1] - self.skip_))
  end
  if not self.flowing_ then return end
  start_reading(self)
  if self.ended then finish_reading(self) end
end

--- Lets `data` flow. The first `data` listener does so too.
--- @return Stream self
function Stream:resume()
  self.asked_ = true
  if not self.readable or self.flowing_ then return self end
  self.flowing_, self.paused_ = true, false
  loop.soon(flow, self)
  return self
end

--- Stops `data`. Bytes stay in the pipe, and the writer feels it.
--- @return Stream self
function Stream:pause()
  self.flowing_, self.paused_ = false, true
  if self.handle_ then stop_reading(self) end
  return self
end

--- A child gets its fd as one of its own, and expects it to block. What luv has
--- opened cannot be made to: luv itself would then.
function Stream:lend_()
  if self.flowing_ or self.reading_ or self.reads_ahead_ then self:pause() end
  if self.is_socket_ and self.fd_ then
    self.fd_:set_nonblocking(false)
  elseif self.handle_ and self.handle_.lend_ then
    self.handle_:lend_()
  end
end

--- Called by the emitter.
function Stream:listeners_changed_(event, count)
  if event == "data" and count > 0 and not self.paused_ then
    self:resume()
  elseif event == "data" and count == 0 and self.flowing_ then
    self.flowing_ = false
    stop_reading(self)
  end
end

--- Nothing: strings are bytes here.
--- @return Stream self
function Stream:set_encoding() return self end

--- take for readers: the end may be due.
local function hand_out(self, n)
  local data = take(self, n)
  if self.ended and not buffered(self) then loop.soon(finish_reading, self) end
  return data
end

--- Waits for more bytes or the end. True; nil, err.
local function await_bytes(self, deadline, what)
  if self.occupied_ then
    options.raise("%s: another task is reading this stream", what)
  end
  start_reading(self)
  if self.ended then return true end
  local left = deadline and math.max(0, math.ceil(deadline - uv.hrtime() / 1e6))
  local ok, err = scheduler.wait(function(wake)
    self.reader_, self.occupied_ = wake, true
    return function() self.reader_, self.occupied_ = nil, nil end
  end, left, what)
  self.occupied_ = nil
  return ok, err
end

--- Between two reads. A socket goes on, to notice that its peer has gone.
local function pause_reading(self)
  if not self.flowing_ and not self.reads_ahead_ then stop_reading(self) end
end

--- Reads until `enough(self)`, and no further ahead. True; false where the end
--- came first; nil, err.
local function fill(self, enough, deadline, what)
  self.asked_ = true
  while not enough(self) do
    if self.ended then return false, self.read_error_ end
    local ok, err = await_bytes(self, deadline, what)
    if not ok then
      pause_reading(self)
      return nil, err
    end
  end
  pause_reading(self)
  return true
end

local function deadline_of(t, what)
  if t == nil then return end
  options.argument(what, "the time", t, options.checks.ms)
  return uv.hrtime() / 1e6 + t
end

local function check_size(what, n)
  if math.type(n) ~= "integer" or n < 0 then
    options.raise("%s: the number of bytes must be an integer, 0 or "
      .. "more, got %s", what, options.show(n))
  end
end

--- Reads what is there, waiting for the first byte. [w]
--- @param n integer? at most so many bytes
--- @param t integer? ms
--- @return string? data nil at the end; nil, err (ETIMEDOUT, ECONNRESET …)
--- @return Error? err
function Stream:read(n, t)
  if n ~= nil then check_size("read", n) end
  local ok, err = fill(self, buffered, deadline_of(t, "read"), "read")
  if not ok then return nil, err end
  return hand_out(self, math.min(n or self.size_, self.size_))
end

--- Reads exactly `n` bytes. [w]
--- @param n integer
--- @param t integer? ms
--- @return string? data nil, err (ETIMEDOUT; ERR_STREAM_PREMATURE_CLOSE when the
---   stream ends first: `read` still gives what there is)
--- @return Error? err
function Stream:read_exactly(n, t)
  check_size("read_exactly", n)
  local function enough() return self.size_ >= n end
  local ok, err = fill(self, enough, deadline_of(t, "read_exactly"),
    "read_exactly")
  if ok then return hand_out(self, n) end
  return nil, err or errors.new("ERR_STREAM_PREMATURE_CLOSE",
    ("the stream ended after %d of %d bytes"):format(self.size_, n))
end

--- Reads until the end. [w]
--- @param t integer? ms
--- @return string? data "" if there is nothing; nil, err (ETIMEDOUT)
--- @return Error? err
function Stream:read_all(t)
  local function never() return false end
  local _, err = fill(self, never, deadline_of(t, "read_all"), "read_all")
  if err then return nil, err end
  return hand_out(self, self.size_)
end

--- The length of the first buffered line with its newline; else nil and how many
--- chunks need not be looked at again.
local function line_length(self, scanned)
  local length = -self.skip_
  for i, chunk in ipairs(self.chunks_) do
    local at = i > scanned
      and chunk:find("\n", i == 1 and self.skip_ + 1 or 1, true)
    if at then return length + at end
    length = length + #chunk
  end
  return nil, #self.chunks_
end

--- Iterates over the lines, without their newlines. A last line needs none. [w]
--- @return fun(): string?
function Stream:lines()
  return function()
    local scanned, length = 0, nil
    local function has_line()
      length, scanned = line_length(self, scanned)
      if not length and self.size_ > MAX_LINE then
        error(("lines: a line is longer than %d bytes"):format(MAX_LINE), 0)
      end
      return length
    end
    local ok, err = fill(self, has_line, nil, "lines")
    if ok then return hand_out(self, length):sub(1, -2) end
    if err then error(err, 0) end
    return buffered(self) and hand_out(self, self.size_) or nil
  end
end

Stream.handle_of_, Stream.close_if_over_ = handle_of, close_if_over
Stream.start_reading_ = start_reading
for name, method in pairs(require "orrery.stream.writing") do
  Stream[name] = method
end

return stream
