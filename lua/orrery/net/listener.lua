--- A socket that listens, behind the interface of a luv handle: what a server
--- gets its connections from. It accepts in the core, so that a connection is
--- an fd until it is used, and an error of accept is ours to handle.

local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local address = require "orrery.net.address"
local loop = require "orrery.runtime.loop"
local socket_file = require "orrery.net.socket_file"
local Watcher = require "orrery.runtime.watcher"

local ACCEPTS = 64 -- in a row, before others have their turn
local REST = 100 -- ms, after a connection could not be accepted

local errnos = core.errnos
local accept = core.accept
local EAGAIN, EMFILE, ENFILE = errnos.EAGAIN, errnos.EMFILE, errnos.ENFILE

-- An fd that is kept back as long as any socket listens, and how many do: see
-- `turn_away`.
local spare, listening = nil, 0

--- @class Listener
--- @field fd_ userdata orrery.fd, owned
--- @field file_ table? that the socket has made: see net/socket_file.lua
--- @field watcher_ Watcher? while it accepts
--- @field owner_ table the server
--- @field on_error_ fun(owner: table, errno: integer)
--- @field on_closed_ function? called when it is closed
--- @field referenced_ boolean
--- @field resting_ Timer? of `rest`
local Listener = class "orrery.Listener"

-- Fds ------------------------------------------------------------------------

--- Counts a socket that is to listen, and opens the spare fd if it is the
--- first.
--- @return true? ok
--- @return integer? errno (EMFILE, ENFILE)
local function keep_spare()
  local errno
  if not spare then spare, errno = core.open("/", "r") end
  if not spare then return nil, errno end
  listening = listening + 1
  return true
end

--- Counts off a socket, and closes the spare fd after the last one.
local function drop_spare()
  listening = listening - 1
  if listening > 0 or not spare then return end
  spare:close()
  spare = nil
end

--- Accepts and closes the connections that wait when there are no fds left,
--- with the spare fd. (Left waiting, they would keep the fd ready, and us
--- spinning.)
--- @return boolean turned_away false: there were none, or no fd even for this
local function turn_away(number)
  if spare then spare:close() end
  local turned_away = false
  for _ = 1, ACCEPTS do
    local fd = accept(number)
    if not fd then break end
    fd:close()
    turned_away = true
  end
  spare = core.open("/", "r")
  return turned_away
end

-- Accepting ------------------------------------------------------------------

--- Stops polling for a while, since the poll would tell again and again of
--- connections that cannot be accepted, or of a socket that another process has
--- shut down.
local function rest(self)
  local watcher = self.watcher_
  watcher:stop()
  self.resting_ = clock.after(REST, function()
    self.resting_ = nil
    watcher:start()
  end)
  self.resting_:set_ref(self.referenced_)
end

--- Handles what accept gave in place of a connection. EAGAIN says that none
--- waits any more.
local function accept_failed(self, errno)
  if errno == EAGAIN then return end
  if errno == EMFILE or errno == ENFILE then
    return turn_away(self.fd_:fileno()) or rest(self)
  end
  rest(self)
  self.on_error_(self.owner_, errno)
end

local anywhere = { ["::"] = true, ["0.0.0.0"] = true }

--- Makes a function that accepts connections and calls on_connection for each.
--- Unless the socket is bound to all addresses, each connection has its
--- address.
--- @param on_connection fun(owner: table, fd: userdata, own_address: string?,
---   own_port: integer?, address: string?, port: integer?, family: any)
--- @return fun(number: integer, most: integer): integer? accept_some
function Listener:for_each(on_connection)
  local owner = self.owner_
  local own, own_port = core.addresses(self.fd_:fileno())
  if anywhere[own] then own = nil end
  return function(number, most)
    for _ = 1, most do
      local fd, peer, port, family = accept(number)
      if not fd then return peer end
      if own then
        on_connection(owner, fd, own, own_port, peer, port, family)
      else
        on_connection(owner, fd, core.addresses(fd:fileno()))
      end
      if not self.watcher_ then return end
    end
  end
end

--- Closes the socket, and removes the file that it has made.
local function remove(self)
  if self.file_ then socket_file.remove(self.file_) end
  self.fd_:close()
end

--- Has a bound socket listen, and polls it.
--- @return Watcher? watcher nil, code
local function listen(self, backlog)
  local number = self.fd_:fileno()
  local ok, errno = core.listen(number, backlog)
  if not ok then return nil, errors.code_of(errno) end
  local accept_some = self.owner_:acceptor_(self)
  return Watcher.new(number, "r", function()
    local failed = accept_some(number, ACCEPTS)
    if failed then accept_failed(self, failed) end
  end, function()
    return { "server " .. address.show(address.own(number)) }
  end)
end

--- Lets a bound socket listen, and calls, until `stop`, what the owner's
--- acceptor_(listener) has given, when connections wait: accept_some(number,
--- most) accepts at most so many, and returns the errno that says why it could
--- not. on_error is called for what any peer may bring about there.
--- @param bound table as binding.bind gives it; closed if this fails
--- @param backlog integer connections the kernel keeps until they are accepted
--- @param owner table
--- @param on_error fun(owner: table, errno: integer)
--- @return Listener? listener
--- @return Error? err (EADDRINUSE, EINVAL, EMFILE; EEXIST: that very fd listens
---   already)
function Listener.open(bound, backlog, owner, on_error)
  local self = setmetatable({
    fd_ = bound.fd,
    file_ = bound.file,
    owner_ = owner,
    on_error_ = on_error,
    referenced_ = true,
  }, Listener)
  local code
  local kept, errno = keep_spare()
  if kept then
    self.watcher_, code = listen(self, backlog)
  else
    code = errors.code_of(errno)
  end
  if not self.watcher_ then
    if kept then drop_spare() end
    remove(self)
    return nil, address.failure(code, "listen", bound.place)
  end
  return self
end

--- Accepts nothing until `go_on`.
function Listener:pause()
  if self.resting_ then self.resting_:stop() end
  self.resting_ = nil
  if self.watcher_ then self.watcher_:stop() end
end

--- Accepts again. Does nothing if it is accepting.
function Listener:go_on()
  if self.watcher_ and not self.resting_ then self.watcher_:start() end
end

--- Accepts no more. Does nothing the second time.
function Listener:stop()
  if self.watcher_ then self.watcher_:close() end
  if self.resting_ then self.resting_:stop() end
  self.watcher_, self.resting_ = nil, nil
end

-- The interface of a luv handle ----------------------------------------------

function Listener:ref()
  self.referenced_ = true
  if self.watcher_ then self.watcher_:ref() end
  if self.resting_ then self.resting_:set_ref(true) end
end

function Listener:unref()
  self.referenced_ = false
  if self.watcher_ then self.watcher_:unref() end
  if self.resting_ then self.resting_:set_ref(false) end
end

function Listener:fileno() return self.fd_:fileno() end

function Listener:is_closing() return not self.fd_:fileno() end

--- Closes the socket, and removes the file that it has made.
--- @param fn function? called in a later tick
function Listener:close(fn)
  self:stop()
  drop_spare()
  remove(self)
  if self.on_closed_ then self.on_closed_() end
  if fn then loop.soon(fn) end
end

return Listener
