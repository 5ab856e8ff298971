--- Regular files behind the interface of a luv stream handle, so that streams
--- need no second path for them. Reads and writes run on luv's thread pool, one
--- at a time, at the file's own position.

local uv = require "orrery.runtime.luv"
local class = require "orrery.runtime.class"
local loop = require "orrery.runtime.loop"

local file_handle = {}

local CHUNK = 65536 -- bytes of one read

--- @class FileHandle its methods are those of luv's handles
--- @field fd_ integer owned; -1 once it is closed
--- @field on_read_ function? the callback, while it is to read
--- @field busy_ boolean? a call is under way on the thread pool
--- @field kept_ table? {err, data} of a read that ended after `read_stop`
--- @field queue_ {data: string, cb: function?}[] writes to be done
--- @field closing_ function? called once it is closed
local FileHandle = class "orrery.FileHandle"

--- Makes the handle of a file.
--- @param fd integer owned from now on
--- @return FileHandle
function file_handle.open(fd)
  return setmetatable({ fd_ = fd, queue_ = {} }, FileHandle)
end

--- Returns the name of an errno at the beginning of luv's text, or nil for nil.
local function code_of(err)
  return err and err:match("^[%u%d]+")
end

local function read_next(self)
  if self.busy_ or not self.on_read_ then return end
  self.busy_ = true
  uv.fs_read(self.fd_, CHUNK, -1, loop.guard(function(err, data)
    self.busy_ = false
    if self.closing_ then return self:finish_close_() end
    local on_read = self.on_read_
    if not on_read then
      self.kept_ = { err, data }
      return
    end
    on_read(code_of(err), data ~= "" and data or nil)
    read_next(self)
  end))
end

--- Reads on and on, as long as it is not stopped.
--- @param on_read fun(code: string?, chunk: string?) neither at the end
function FileHandle:read_start(on_read)
  self.on_read_ = on_read
  local kept = self.kept_
  self.kept_ = nil
  if not kept then return read_next(self) end
  loop.soon(function()
    if not self.on_read_ then
      self.kept_ = kept
      return
    end
    on_read(code_of(kept[1]), kept[2] ~= "" and kept[2] or nil)
    read_next(self)
  end)
end

--- Calls `on_read` no more. What a read that is under way gives is kept.
function FileHandle:read_stop() self.on_read_ = nil end

--- Always fails: a write to a file may block.
function FileHandle:try_write() return nil, nil, "EAGAIN" end

--- Does the first write of the queue, then the next one.
local function write_next(self)
  local write = self.queue_[1]
  if self.busy_ or not write then return end
  self.busy_ = true
  uv.fs_write(self.fd_, write.data, -1, loop.guard(function(err, n)
    self.busy_ = false
    if not err and n < #write.data then
      write.data = write.data:sub(n + 1)
    else
      table.remove(self.queue_, 1)
      if write.cb then write.cb(code_of(err)) end
    end
    if self.closing_ then return self:finish_close_() end
    write_next(self)
  end))
end

--- Writes behind what is queued.
--- @param data string
--- @param cb fun(code: string?)? called once all is written, or has failed
function FileHandle:write(data, cb)
  self.queue_[#self.queue_ + 1] = { data = data, cb = cb }
  write_next(self)
end

function FileHandle:is_closing() return self.closing_ ~= nil end

--- Closes the fd; what is queued fails with ECANCELED.
function FileHandle:finish_close_()
  uv.fs_close(self.fd_)
  self.fd_ = -1
  for _, write in ipairs(self.queue_) do
    if write.cb then write.cb("ECANCELED") end
  end
  self.queue_ = {}
  loop.soon(self.closing_)
end

--- Closes, once no call is under way any more.
--- @param fn function? called then
function FileHandle:close(fn)
  self.closing_ = fn or function() end
  self.on_read_ = nil
  if not self.busy_ then self:finish_close_() end
end

function FileHandle:fileno() return self.fd_ end

--- Does nothing: only what is under way keeps the loop alive.
function FileHandle:ref() end
FileHandle.unref = FileHandle.ref

return file_handle
