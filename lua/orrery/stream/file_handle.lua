--- Regular files behind the interface of a luv stream handle, so that
--- stream.lua needs no second path. Reads and writes run on luv's thread pool,
--- at the file's own position.

local uv = require "luv"
local loop = require "orrery.runtime.loop"

local file = {}

local CHUNK = 65536

--- @class FileHandle
local Handle = {}
Handle.__index = Handle

--- @param fd integer owned from now on
--- @return FileHandle
function file.handle(fd)
  return setmetatable({ fd = fd, queue = {} }, Handle)
end

local function read_next(self)
  if self.busy or not self.on_read then return end
  self.busy = true
  uv.fs_read(self.fd, CHUNK, -1, loop.guard(function(err, data)
    self.busy = false
    if self.closing then return self:finish_close() end
    local on_read = self.on_read
    if not on_read then
      self.kept = { err, data } -- stopped meanwhile; the bytes are read, though
      return
    end
    on_read(err and err:match("^[%u%d]+"), data ~= "" and data or nil)
    read_next(self)
  end))
end

function Handle:read_start(on_read)
  self.on_read = on_read
  local kept = self.kept
  self.kept = nil
  if kept then
    loop.soon(function()
      if not self.on_read then
        self.kept = kept
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

function Handle:read_stop() self.on_read = nil end

function Handle:try_write() return nil, nil, "EAGAIN" end

local function write_next(self)
  local job = self.queue[1]
  if self.busy or not job then return end
  self.busy = true
  uv.fs_write(self.fd, job.data, -1, loop.guard(function(err, n)
    self.busy = false
    if not err and n < #job.data then
      job.data = job.data:sub(n + 1)
    else
      table.remove(self.queue, 1)
      if job.cb then job.cb(err and err:match("^[%u%d]+")) end
    end
    if self.closing then return self:finish_close() end
    write_next(self)
  end))
end

function Handle:write(data, cb)
  self.queue[#self.queue + 1] = { data = data, cb = cb }
  write_next(self)
end

function Handle:is_closing() return self.closing ~= nil end

function Handle:finish_close()
  uv.fs_close(self.fd)
  self.fd = -1
  for _, job in ipairs(self.queue) do
    if job.cb then job.cb("ECANCELED") end
  end
  self.queue = {}
  loop.soon(self.closing)
end

--- The fd is closed once no call is under way any more.
function Handle:close(fn)
  self.closing = fn or function() end
  self.on_read = nil
  if not self.busy then self:finish_close() end
end

function Handle:fileno() return self.fd end
function Handle:ref() end
function Handle:unref() end

return file
