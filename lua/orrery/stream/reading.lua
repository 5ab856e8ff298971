--- The reading half of class Stream: asks the handle for bytes, keeps what was
--- read ahead, and gives it to `data` listeners or to the one task that reads.
--- It knows nothing of writing.
---
--- Its state. What makes a stream sets some of it, and sockets keeps_unread_;
--- otherwise other files read it at most:
---   chunks_ skip_ size_  what was read ahead: strings, how many bytes of the
---                        first one are gone, how many bytes are left
---   reading_ on_read_    whether the handle reads, and its callback
---   flowing_ paused_     whether bytes go to `data`; whether `pause` ended it
---   asked_               whether bytes have been asked for in any way
---   reader_ enough_      what wakes the task that waits for bytes, and tells
---                        how many it can have
---   ended read_error_    whether the end has come, and the error that was it
---   end_emitted_         whether `end` has been emitted
---   after_cr_            whether a "\n" that comes next ends no line, for a
---                        "\r" has done so
---   keeps_unread_        whether what was read ahead outlives `destroy`
---   quiet_               whether an error is none for `error` listeners
---   ends_whole_          whether `end` says that all has come: after an error
---                        there is none
---   was_flowing_ was_paused_  what `unread_` found, for `put_back_`
---
--- What the class calls: start_reading_, abandon_reading_, take_over_; for
--- `pipe` give_back_, unpause_; and for streams on their way to another process
--- lend_, unread_, put_back_. A class may have a method `after_end_`, which is
--- called once `end` has been emitted, and `touch_`, called with each chunk.

local chunks = require "orrery.runtime.chunks"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local HIGH_WATER = 65536 -- bytes: stop reading ahead
local CR, LF = 13, 10
local MAX_LINE = 64 * 1024 * 1024 -- bytes of a line

--- @class Stream
local Reading = { skip_ = 0, size_ = 0, bytes_read = 0 }

-- Streams that read; luv's callback alone does not hold them.
local reading = {} -- luacheck: ignore

local function buffered(self)
  return self.size_ > 0
end

-- From the handle ------------------------------------------------------------

local function stop_reading(self)
  if not self.reading_ then return end
  self.reading_ = false
  reading[self] = nil
  if not self.closed then self.handle_:read_stop() end
end

--- Emits `end`, unless bytes are left to be read, and closes the stream if its
--- other direction is over, too.
local function finish_reading(self)
  if self.end_emitted_ then return end
  if buffered(self) then return self:close_if_over_() end
  self.end_emitted_ = true
  if not (self.ends_whole_ and self.read_error_) then self:emit("end") end
  if self.stillborn_ then return self:emit_close_() end
  if self.after_end_ then self:after_end_() end
  self:close_if_over_()
end

--- Takes `n` bytes of those that were read ahead, which must be there. A chunk
--- that is taken bit by bit is not copied each time: `skip_` counts what is
--- gone of it.
local function take(self, n)
  local list, skip, pieces, left = self.chunks_, self.skip_, {}, n
  local used = 0 -- chunks that are used up
  while left > 0 do
    local chunk = list[used + 1]
    local piece = skip == 0 and #chunk <= left and chunk
      or chunk:sub(skip + 1, skip + left)
    pieces[#pieces + 1] = piece
    left, skip = left - #piece, skip + #piece
    if skip == #chunk then used, skip = used + 1, 0 end
  end
  if used > 0 then
    table.move(list, used + 1, #list + used, 1)
  end
  self.skip_, self.size_ = skip, self.size_ - n
  return #pieces == 1 and pieces[1] or table.concat(pieces)
end

--- Takes `n` bytes as `take`; with the last of them the end may be due.
local function hand_out(self, n)
  local data = take(self, n)
  if self.ended and not buffered(self) then
    loop.soon(finish_reading, self)
  end
  return data
end

--- Stops reading between two calls of a reader. Sockets go on, to notice that
--- the peer has gone.
local function pause_reading(self)
  if not self.flowing_ and not self.reads_ahead_ then stop_reading(self) end
end

--- Ends the wait of the task that reads, if one does, with what it gets.
local function answer_reader(self, data, err)
  local wake = self.reader_
  self.reader_, self.enough_ = nil, nil
  if wake then wake(data, err) end
end

--- Notes the end, or the error that is the end: luv's code for it, or what a
--- handle that is none of luv's has made of it.
local function on_end(self, err)
  stop_reading(self)
  self.ended = true
  if err then
    if not errors.is(err) then err = errors.luv(err, "read") end
    self.read_error_, err.of_ = err, self
    if not self.quiet_ and self:listener_count("error") > 0 then
      self:emit("error", self.read_error_)
    end
  end
  answer_reader(self, nil, self.read_error_)
  loop.soon(finish_reading, self)
end

--- Gives what has come to the task that reads, if there is enough for it, or
--- keeps it.
local function keep(self, chunk)
  chunks.add(self.chunks_, chunk)
  self.size_ = self.size_ + #chunk
  local enough = self.reader_ and self.enough_(chunk)
  if enough then
    pause_reading(self)
    answer_reader(self, hand_out(self, enough))
  end
  if self.size_ >= HIGH_WATER and not self.reader_ then stop_reading(self) end
end

local function on_read(self, err, chunk)
  if self.closed then return end
  if err or not chunk then return on_end(self, err) end
  self.bytes_read = self.bytes_read + #chunk
  if self.touch_ then self.touch_() end
  if self.after_cr_ then
    self.after_cr_ = nil
    chunk = chunk:gsub("^\n", "")
    if chunk == "" then return end
  end
  if self.flowing_ and not buffered(self) then
    return self:emit("data", chunk)
  end
  keep(self, chunk)
end

--- Makes the callback for the handle. luv keeps it as long as the handle, so it
--- must not hold the stream.
local function reader_of(self)
  local weak = setmetatable({ self }, { __mode = "v" })
  return loop.guard(function(code, chunk)
    local alive = weak[1]
    if alive then on_read(alive, code, chunk) end
  end)
end

--- Lets the handle read, if it does not and there is anything to come. Destroys
--- the stream with the error if it cannot be opened.
local function start_reading(self)
  if self.reading_ or self.ended or self.closed or self.pending_ then return end
  local handle, err = self:handle_of_()
  if not handle then return self:destroy(err) end
  self.reading_ = true
  reading[self] = true
  self.on_read_ = self.on_read_ or reader_of(self)
  handle:read_start(self.on_read_)
end
Reading.start_reading_ = start_reading

--- Becomes the one to whom a reader that reads already gives what it reads.
--- @param reader PipeReader
function Reading:take_over_(reader)
  self.on_read_ = reader_of(self)
  reader.on_read_ = self.on_read_
  self.reading_, reading[self] = true, true
end

--- Ends reading because the stream is being destroyed: what was read ahead is
--- dropped unless `keeps_unread_`, and a task that waits gets the error or the
--- end.
--- @param err Error?
function Reading:abandon_reading_(err)
  if errors.is(err) and not self.ended then
    self.read_error_, err.of_ = err, self
  end
  self.ended = true
  if self.size_ > 0 and not self.keeps_unread_ then
    self.chunks_, self.skip_, self.size_ = {}, 0, 0
  end
  reading[self] = nil
  answer_reader(self, nil, self.read_error_)
end

-- To `data` listeners --------------------------------------------------------

--- Puts a chunk that `data` had emitted, and that no listener took, in front of
--- what is still to be read.
--- @param chunk string
function Reading:give_back_(chunk)
  table.insert(self.chunks_, 1, chunk)
  self.size_ = self.size_ + #chunk
end

--- Emits what was read ahead, then lets the handle read.
local function flow(self)
  if not self.flowing_ then return end
  while self.flowing_ and buffered(self) do
    self:emit("data", take(self, #self.chunks_[1] - self.skip_))
  end
  if not self.flowing_ then return end
  start_reading(self)
  if self.ended then finish_reading(self) end
end

--- Lets bytes go to `data` listeners; without one, they are dropped. The
--- first `data` listener does this by itself unless the stream is paused.
--- @return Stream self
function Reading:resume()
  self.asked_ = true
  if not self.readable or self.flowing_ then return self end
  self.flowing_, self.paused_ = true, false
  loop.soon(flow, self)
  return self
end

--- Undoes `pause`: bytes go to `data` again, if anybody listens.
function Reading:unpause_()
  self.paused_ = false
  if self:listener_count("data") > 0 then self:resume() end
end

--- Stops `data`, and reading: bytes stay with the kernel, which holds up their
--- writer in the end.
--- @return Stream self
function Reading:pause()
  self.flowing_, self.paused_ = false, true
  if self.handle_ then stop_reading(self) end
  return self
end

--- Resumes with the first `data` listener, and stops with the last one gone.
--- Called by the emitter.
function Reading:listeners_changed_(event, count)
  if event == "data" and count > 0 and not self.paused_ then
    self:resume()
  elseif event == "data" and count == 0 and self.flowing_ then
    self.flowing_ = false
    stop_reading(self)
  end
end

--- Does nothing, for strings are bytes here. (Node's streams have it.)
--- @return Stream self
function Reading:set_encoding() return self end

-- To a task ------------------------------------------------------------------

--- Waits until there is enough. A wait that ends without reads no further.
--- @return string? data nil at the end, and on error
--- @return Error? err (ETIMEDOUT, or what ended the stream)
local function await_bytes(self, enough, t, what)
  return scheduler.wait(function(wake)
    self.reader_, self.enough_ = wake, enough
    start_reading(self)
    return function()
      self.reader_, self.enough_ = nil, nil
      pause_reading(self)
    end
  end, t, what)
end

--- Reads until there is enough, and no further ahead. enough() tells how many
--- bytes of those that were read ahead are to be taken, or nil if more must
--- come; enough(chunk) the same after each chunk that comes, which is the last
--- of them. [w]
--- @return string? data nil at the end, and on error
--- @return Error? err (ETIMEDOUT, or what ended the stream)
local function fill(self, enough, t, what)
  if t ~= nil then options.argument(what, "the time", t, options.checks.ms) end
  self.asked_ = true
  local n = enough()
  if n then
    pause_reading(self)
    return hand_out(self, n)
  elseif self.ended then
    return nil, self.read_error_
  elseif self.reader_ then
    options.raise("%s: another task is reading this stream", what)
  end
  local before = self.bytes_read
  local data, err = await_bytes(self, enough, t, what)
  if not (data or self.ended or self.bytes_read == before) then
    -- The end may have come with the last bytes: only another poll tells.
    data = await_bytes(self, enough, 0, what)
  end
  if data then return data end
  if self.ended then return nil, self.read_error_ end
  err.of_ = self
  return nil, err
end

local function check_size(what, n)
  if math.type(n) ~= "integer" or n < 0 then
    options.raise("%s: the number of bytes must be an integer, 0 or "
      .. "more, got %s", what, options.got(n))
  end
end

--- Reads what is there, and waits for the first byte if there is none. [w]
--- @param n integer? at most so many bytes
--- @param t integer? ms
--- @return string? data nil at the end of the stream, and on error
--- @return Error? err (ETIMEDOUT, ECONNRESET, EISDIR, or what else read gave)
function Reading:read(n, t)
  if n ~= nil then check_size("read", n) end
  return fill(self, function()
    return buffered(self) and math.min(n or self.size_, self.size_)
  end, t, "read")
end

--- Reads exactly `n` bytes. [w]
--- @param n integer
--- @param t integer? ms
--- @return string? data
--- @return Error? err (ETIMEDOUT; ERR_STREAM_PREMATURE_CLOSE if the stream ends
---   first: `read` still gives what there is; else as `read`)
function Reading:read_exactly(n, t)
  check_size("read_exactly", n)
  local data, err = fill(self, function()
    return self.size_ >= n and n
  end, t, "read_exactly")
  if data or err then return data, err end
  return nil, errors.new("ERR_STREAM_PREMATURE_CLOSE",
    ("the stream ended after %d of %d bytes"):format(self.size_, n),
    { of_ = self })
end

--- Reads until the end. [w]
--- @param t integer? ms
--- @return string? data "" if nothing comes before the end
--- @return Error? err (ETIMEDOUT; else as `read`: `read` gives what there is)
function Reading:read_all(t)
  local _, err = fill(self, function() end, t, "read_all")
  if err then return nil, err end
  return hand_out(self, self.size_)
end

--- Returns the length of the first line that was read ahead, with its end; nil
--- if there is none.
local function line_length(self, ends)
  local length = -self.skip_
  for i, chunk in ipairs(self.chunks_) do
    local at = chunk:find(ends, i == 1 and self.skip_ + 1 or 1)
    if at then return length + at end
    length = length + #chunk
  end
end

--- Returns a line without its end. If that is a "\r", the "\n" behind it is
--- dropped, now or when it comes: a line does not wait for it.
local function without_end(self, line)
  if line:byte(-1) == CR then
    if not buffered(self) then
      self.after_cr_ = true
    elseif self.chunks_[1]:byte(self.skip_ + 1) == LF then
      hand_out(self, 1)
    end
  end
  return line:sub(1, -2)
end

local line_options = { ends = chunks.check_ends }

--- Iterates over the lines, without their ends; the last one needs none. In a
--- task. Raises the error that ends the stream, as `read` gives it, or
--- EMSGSIZE for a line of more than 64 MiB; its message begins with the user's
--- line, as that of io.lines does. [w]
--- @param opts {ends: "\n"|"any"}? "any": "\r" and "\r\n" end a line, too; left
---   out, "\n" alone does
--- @return fun(): string? next_line
function Reading:lines(opts)
  opts = options.check("lines", opts, line_options)
  local ends = chunks.ends[opts.ends or "\n"]
  local function has_line(chunk)
    local at = chunk and chunk:find(ends)
    local length = at and self.size_ - #chunk + at
      or not chunk and line_length(self, ends)
    if (length or self.size_) <= MAX_LINE then return length end
    return 0 -- which no line has
  end
  return function()
    local line, err = fill(self, has_line, nil, "lines")
    if line == "" then
      err = errors.new("EMSGSIZE", ("lines: a line is longer than %d bytes")
        :format(MAX_LINE), { of_ = self })
    end
    if err then errors.raise(err) end
    if line then return without_end(self, line) end
    return buffered(self) and hand_out(self, self.size_) or nil
  end
end

-- To another process ---------------------------------------------------------

--- Prepares the fd for a child that gets it as one of its own and expects it to
--- block. A handle that luv has opened cannot be made to: luv would block, too.
function Reading:lend_()
  if self.flowing_ or self.reading_ or self.reads_ahead_ then self:pause() end
  if self.is_socket_ and self.fd_ then
    self.fd_:set_nonblocking(false)
  elseif self.handle_ and self.handle_.lend_ then
    self.handle_:lend_()
  end
end

--- Takes back what was read ahead, and reads no further: the stream is on its
--- way to another process.
--- @return string data "" if nothing was
function Reading:unread_()
  local data = ""
  if self.size_ > 0 then
    data = table.concat(self.chunks_):sub(self.skip_ + 1)
    self.chunks_, self.skip_, self.size_ = {}, 0, 0
  end
  self.was_flowing_, self.was_paused_ = self.flowing_, self.paused_
  if self.handle_ or self.flowing_ then self:pause() end
  return data
end

--- Reverses `unread_` for a stream that stays here after all; also puts bytes
--- that came along with a stream in front of what is still to be read.
--- @param data string
--- @return Stream self
function Reading:put_back_(data)
  if data ~= "" then self.chunks_, self.size_ = { data }, #data end
  self.paused_ = self.was_paused_
  if self.was_flowing_ then return self:resume() end
  if not self.paused_ then self:start_reading_() end
  return self
end

return Reading
