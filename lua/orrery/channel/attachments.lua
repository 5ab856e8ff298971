--- Attachments: the handles that travel with messages, and what becomes of them
--- here and there.
---
--- A handle goes as its fd and a description, a table that is sent along:
--- {type="net.Socket", …}, with the bytes in `unread` that were read here
--- already. docs/channel.md lists them.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local class = require "orrery.runtime.class"
local errors = require "orrery.runtime.errors"
local fds = require "orrery.runtime.fds"
local given_away = require "orrery.channel.given_away"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local attachments = {}

--- @class Attachment a handle on its way
--- @field fd integer open until `done_`
--- @field description table
--- @field object table? of ours, pinned until `done_`
--- @field channel Channel? over which a socket is given away
--- @field copy userdata? an orrery.fd, if the fd is the attachment's own
local Attachment = class "orrery.Attachment"

-- Sending --------------------------------------------------------------------

--- Returns the error that keeps an object from being sent (closed, already on
--- its way) or given away (bytes still to write), or nil.
--- @return Error?
local function obstacle(object, fd, for_good)
  if object.given_ or not fd then
    return errors.new("EBADF", ("send: the handle is %s (%s)"):format(
      object.given_ and "on its way already" or "closed", tostring(object)))
  elseif for_good and object.queued_ > 0 then
    return errors.new("EBUSY", ("send: the socket has %d bytes to write "
      .. "still, which would be cut off: wait for their callbacks")
      :format(object.queued_))
  end
end

--- Returns the description of an object. A socket that is given away takes
--- along what was read of it, and cannot be sent again meanwhile.
local function describe(object, for_good)
  if not for_good then
    return { type = object.handle_type_, udp = object.type }
  end
  local unread = object:unread_()
  object.given_ = true
  return {
    type = "net.Socket",
    unread = unread ~= "" and unread or nil,
    server = given_away.id_of(object),
  }
end

--- Prepares one of our objects: it is pinned, so that its fd stays open.
--- @return Attachment? attachment nil, err
--- @return Error? err (EBADF, EBUSY)
local function prepare_object(object, opts, channel)
  local fd = object:fileno()
  local for_good = object.handle_type_ == "net.Socket" and not opts.keep_open
  local err = obstacle(object, fd, for_good)
  if err then return nil, err end
  object:pin_()
  return setmetatable({
    fd = fd,
    description = describe(object, for_good),
    object = object,
    channel = for_good and channel or nil,
  }, Attachment)
end

--- Prepares an fd that its owner may close at any time: a copy of it goes.
--- @return Attachment? attachment nil, err
--- @return Error? err (EBADF, EMFILE)
local function prepare_fd(number, description)
  local copy, errno = core.dup(number)
  if not copy then return nil, errors.system(errno, "send") end
  return setmetatable({
    fd = copy:fileno(),
    description = description,
    copy = copy,
  }, Attachment)
end

--- Prepares a handle for sending. Raises if it is of no kind that can be sent.
--- @param value any the user's handle
--- @param opts {keep_open: boolean?}
--- @param channel Channel
--- @return Attachment? attachment `done_` is owed from now on
--- @return Error? err (EBADF, EBUSY, EMFILE)
function attachments.prepare(value, opts, channel)
  if type(value) == "table" and value.handle_type_ then
    return prepare_object(value, opts, channel)
  end
  local kind = fds.kind(value)
  if not kind then
    options.raise("send: a %s cannot be sent along "
      .. "(ERR_INVALID_HANDLE_TYPE): give a socket, server, stream, luv handle "
      .. "or orrery.core.fd", type(value))
  end
  local number = value:fileno()
  if not number then
    return nil, errors.new("EBADF", "send: the handle is closed")
  end
  if kind == "fd" then return prepare_fd(number, { type = "fd" }) end
  return prepare_fd(number, { type = "luv", kind = kind })
end

--- Gives a socket up that was sent: it is the other process's now. If it could
--- not be sent it stays ours, with what was read of it.
local function settle_socket(socket, channel, description, err)
  socket.given_ = nil
  if err then return socket:put_back_(description.unread or "") end
  if description.server then given_away.sent(channel, description.server) end
  socket:sent_()
end

--- Lets go of what was held for sending: to be called when the message is sent,
--- or never will be. Does nothing the second time.
--- @param err Error? nil if it is sent
function Attachment:done_(err)
  local object, copy = self.object, self.copy
  self.object, self.copy = nil, nil
  if copy then copy:close() end
  if not object then return end
  object:unpin_()
  if self.channel then
    settle_socket(object, self.channel, self.description, err)
  end
end

-- Receiving ------------------------------------------------------------------

--- Opens a luv handle over an fd. What the peer says of its kind is not
--- believed: libuv aborts over a file that it is told is a pipe.
--- @return userdata? handle nil, code
--- @return string? code errno name
local function open_luv(kind, fd)
  if kind ~= uv.guess_handle(fd:fileno()) then return nil, "EINVAL" end
  local handle
  if kind == "tty" then
    local tty, _, code = uv.new_tty(fd:fileno(), true)
    if not tty then return nil, code end
    -- luv opens a terminal once more, and owns that fd; or else it owns ours.
    if tty:fileno() == fd:fileno() then fd:take() else fd:close() end
    return tty
  end
  if kind == "tcp" then handle = uv.new_tcp() end
  if kind == "pipe" then handle = uv.new_pipe(false) end
  if kind == "udp" then handle = uv.new_udp() end
  if not handle then return nil, "EINVAL" end
  return loop.open(handle, fd)
end

local stream_kinds = { pipe = true, tty = true, tcp = true, file = true }

--- Makes a handle of an orrery.fd, by the type of its description. Each takes
--- the fd over, or gives nil and an Error or the name of an errno.
local builders = {
  ["net.Socket"] = function(fd, description)
    local unread = description.unread
    return require "orrery.net".adopt_socket(fd,
      type(unread) == "string" and unread or "")
  end,
  ["net.Server"] = function(fd)
    return require "orrery.net".adopt_server(fd)
  end,
  ["dgram.Socket"] = function(fd, description)
    return require "orrery.net.datagram".adopt(fd,
      description.udp or "udp4")
  end,
  stream = function(fd)
    local kind = uv.guess_handle(fd:fileno())
    if not stream_kinds[kind] then return nil, "EINVAL" end
    return require "orrery.stream".new(fd,
      kind == "file" and "file" or "shared", "rw")
  end,
  luv = function(fd, description) return open_luv(description.kind, fd) end,
  fd = function(fd) return fd end,
}

--- Makes a handle of an fd that has come. A hostile description is an error,
--- and no more.
--- @param description any as the peer sent it
--- @param fd userdata|false orrery.fd, owned; false: it was lost on the way
--- @return any handle nil, err
--- @return Error? err (EMFILE: it was lost for want of free fds; EINVAL,
---   ERR_INVALID_HANDLE_TYPE)
local function receive(description, fd)
  if not fd then
    return nil,
      errors.system(core.errnos.EMFILE, "receive", { path = "handle" })
  end
  local build = type(description) == "table" and builders[description.type]
  if not build then
    fd:close()
    return nil, errors.new("ERR_INVALID_HANDLE_TYPE",
      "receive: a handle of a kind that is not known here")
  end
  local ok, object, err = pcall(build, fd, description)
  if ok and object then return object end
  fd:close()
  if not ok then
    return nil, errors.new("EINVAL", "receive: " .. tostring(object))
  end
  return nil, type(err) == "table" and err
    or errors.luv(err or "EINVAL", "receive")
end

--- Returns what makes the handle of a message when that is delivered, or closes
--- its fd: open(drop) gives the handle; nil, err. It is called once.
--- @param description table as the peer sent it
--- @param fd userdata|false orrery.fd, owned; false: it was lost on the way
--- @param on_closed function? called when the connection that this is has ended
---   here, or when no handle could be made of it
--- @return fun(drop: boolean?): any, Error?
function attachments.opener(description, fd, on_closed)
  return function(drop)
    if drop and fd then
      fd:close()
      fd = false
    end
    local object, err = receive(description, fd)
    if on_closed and not object then
      on_closed()
    elseif on_closed and description.type == "net.Socket" then
      object.count_off_ = on_closed
    end
    return object, err
  end
end

return attachments
