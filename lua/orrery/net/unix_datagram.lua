--- Unix datagram sockets, which luv does not have, behind the interface of its
--- UDP handles, so that datagram.lua needs no second path for them. A place is
--- a path here, and there is no port.

local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local poller = require "orrery.runtime.poller"
local socket_file = require "orrery.net.socket_file"

local RECEIVES = 64 -- in a row, before others have their turn
local FULL = 10 -- ms until a receiver that has no room is tried again

local EAGAIN = core.errnos.EAGAIN

local unix_datagram = {}

--- @class UnixDatagram its methods are those of luv's UDP handles
--- @field fd_ userdata orrery.fd, owned
--- @field file_ table? that `bind` has made, and `close` removes: see
---   net/socket_file.lua
--- @field on_receive_ fun(code: string?, data: string?, path: string?)?
--- @field watched_ Watched? while it receives
--- @field waiting_ table<string, table> by path: sends that wait for room there
---   (from `first` to `last`), and the `timer` that tries them again
--- @field referenced_ boolean it keeps the loop alive while it receives
local UnixDatagram = class "orrery.UnixDatagram"

--- Makes the handle of a socket.
--- @param fd userdata? orrery.fd, owned from now on; nil: a new one
--- @return UnixDatagram? handle
--- @return string? code an errno's name (EMFILE)
function unix_datagram.open(fd)
  local errno
  if not fd then fd, errno = core.unix_datagram() end
  if not fd then return nil, errors.code_of(errno) end
  return setmetatable({ fd_ = fd, waiting_ = {}, referenced_ = true },
    UnixDatagram)
end

--- Returns what it is called among what keeps the loop alive.
--- @return string
function UnixDatagram:name_()
  if self.file_ then return "dgram " .. self.file_.path end
  return ("dgram (fd %d)"):format(self:fileno() or -1)
end

--- Binds to a path, at which there must be no file.
--- @param path string
--- @return true? ok
--- @return nil
--- @return string? code an errno's name
function UnixDatagram:bind(path)
  local ok, errno = core.bind_path(self.fd_:fileno(), path)
  if not ok then return nil, nil, errors.code_of(errno) end
  self.file_ = socket_file.at(path)
  return true
end

-- Receiving ------------------------------------------------------------------

local function on_ready(self)
  for _ = 1, RECEIVES do
    local data, path = core.receive_from(self.fd_:fileno())
    if data then
      self.on_receive_(nil, data, path or "")
    elseif path ~= EAGAIN then -- an errno
      self.on_receive_(errors.code_of(path))
    end
    if not data or not self.watched_ then return end
  end
end

--- Receives whenever there is something, until `recv_stop`.
--- @param on_receive fun(code: string?, data: string?, path: string?) the
---   sender's path is "" if it has none
function UnixDatagram:recv_start(on_receive)
  local err
  self.on_receive_ = on_receive
  self.watched_, err = poller.watch(self.fd_:fileno(), on_ready, self)
  if not self.watched_ then return loop.soon(on_receive, err.code) end
  self.watched_:set_ref(self.referenced_)
end

function UnixDatagram:recv_stop()
  if self.watched_ then self.watched_:close() end
  self.watched_ = nil
end

-- Sending --------------------------------------------------------------------

--- Sends at once, unless others wait for room at that path. Nobody has the path
--- "": for the kernel that would be an abstract name, which anybody may take.
--- @return integer? size nil: see code
--- @return nil
--- @return string? code an errno's name; EAGAIN: there is no room
function UnixDatagram:try_send(data, path)
  if path == "" then return nil, nil, "ECONNREFUSED" end
  if self.waiting_[path] then return nil, nil, "EAGAIN" end
  local size, errno = core.send_to(self.fd_:fileno(), data, path)
  return size, nil, errno and errors.code_of(errno)
end

--- Sends what waits for room at a path, in order, as far as there is any. (A
--- poll would not tell when there is: the room is the receiver's.)
local function send_waiting(self, path)
  local queue = self.waiting_[path]
  while queue.first <= queue.last do
    local send = queue[queue.first]
    local size, errno = core.send_to(self.fd_:fileno(), send.data, path)
    if errno == EAGAIN then
      queue.timer = clock.after(FULL, function() send_waiting(self, path) end)
      return
    end
    queue[queue.first], queue.first = nil, queue.first + 1
    send.cb(not size and errors.code_of(errno) or nil)
    if self.waiting_[path] ~= queue then return end -- closed meanwhile
  end
  self.waiting_[path] = nil
end

--- Sends when there is room.
--- @param cb fun(code: string?)
--- @return true
function UnixDatagram:send(data, path, _, cb)
  local queue = self.waiting_[path] or { first = 1, last = 0 }
  queue.last = queue.last + 1
  queue[queue.last] = { data = data, cb = cb }
  if not self.waiting_[path] then
    self.waiting_[path] = queue
    send_waiting(self, path)
  end
  return true
end

-- Closing --------------------------------------------------------------------

function UnixDatagram:is_closing() return not self.fd_:fileno() end

--- Closes, and removes the file that `bind` has made. What waits to be sent
--- fails with ECANCELED.
--- @param fn function? called in a later tick
function UnixDatagram:close(fn)
  local waiting = self.waiting_
  self:recv_stop()
  if self.file_ then socket_file.remove(self.file_) end
  self.fd_:close()
  self.waiting_ = {}
  for _, queue in pairs(waiting) do
    queue.timer:stop()
    for i = queue.first, queue.last do loop.soon(queue[i].cb, "ECANCELED") end
  end
  if fn then loop.soon(fn) end
end

-- The rest of the interface --------------------------------------------------

local function set_referenced(self, on)
  self.referenced_ = on
  if self.watched_ then self.watched_:set_ref(on) end
end

function UnixDatagram:ref() set_referenced(self, true) end
function UnixDatagram:unref() set_referenced(self, false) end

function UnixDatagram:fileno() return self.fd_:fileno() end

return unix_datagram
