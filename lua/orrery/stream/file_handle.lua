--- Regular files behind the interface of a luv stream handle, so that
--- stream.lua needs no second path. Reads and writes run on luv's thread pool,
--- at the file's own position.

local uv = require "luv"
local loop = require "orrery.runtime.loop"

local file_handle = {}

local CHUNK = 65536

--- @class FileHandle
local FileHandle = {}
FileHandle.__index = FileHandle

--- @param fd integer owned from now on
--- @return FileHandle
function file_handle.open(fd)
  return setmetatable({ fd_ = fd, queue_ = {} }, FileHandle)
end

local function read_next(self)
  if self.busy_ or not self.on_read_ then return end
  self.busy_ = true
  uv.fs_read(self.fd_, CHUNK, -1, loop.guard(function(err, data)
    self.busy_ = false
    if self.closing_ then return self:finish_close_() end
    local on_read = self.on_read_
    if not on_read then
      self.kept_ = { err, data } -- stopped meanwhile; the bytes are read, though
      return
    end
    on_read(err and err:match("^[%u%d]+"), data ~= "" and data or nil)
    read_next(self)
  end))
end

function FileHandle:read_start(on_read)
  self.on_read_ = on_read
  local kept = self.kept_
  self.kept_ = nil
  if kept then
    loop.soon(function()
      if not self.on_read_ then
        self.kept_ = kept
        return
      end
      on_read(kept[1] and kept[1]:match("^[%u%d]+"),
        kept[2] ~= "" and kept[2] or nil)
      read_next(self)
    end)
  else
    read_next(self)
  end
end

function FileHandle:read_stop() self.on_read_ = nil end

function FileHandle:try_write() return nil, nil, "EAGAIN" end

local function write_next(self)
  local job = self.queue_[1]
  if self.busy_ or not job then return end
  self.busy_ = true
  uv.fs_write(self.fd_, job.data, -1, loop.guard(function(err, n)
    self.busy_ = false
    if not err and n < #job.data then
      job.data = job.data:sub(n + 1)
    else
      table.remove(self.queue_, 1)
      if job.cb then job.cb(err and err:match("^[%u%d]+")) end
    end
    if self.closing_ then return self:finish_close_() end
    write_next(self)
  end))
end

function FileHandle:write(data, cb)
  self.queue_[#self.queue_ + 1] = { data = data, cb = cb }
  write_next(self)
end

function FileHandle:is_closing() return self.closing_ ~= nil end

function FileHandle:finish_close_()
  uv.fs_close(self.fd_)
  self.fd_ = -1
  for _, job in ipairs(self.queue_) do
    if job.cb then job.cb("ECANCELED") end
  end
  self.queue_ = {}
  loop.soon(self.closing_)
end

--- The fd is closed once no call is under way any more.
function FileHandle:close(fn)
  self.closing_ = fn or function() end
  self.on_read_ = nil
  if not self.busy_ then self:finish_close_() end
end

function FileHandle:fileno() return self.fd_ end
function FileHandle:ref() end
function FileHandle:unref() end

return file_handle
