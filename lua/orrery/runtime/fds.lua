--- Tells which fd a value stands for. Asked about what users hand in: by
--- `server:listen`, by the option `stdio` and by `send`. It opens, closes and
--- changes nothing, and raises for no value.

local core = require "orrery.core"

local fds = {}

--- What luv's handles with an fd say of themselves (`get_type`).
local LUV_KINDS = { tcp = true, pipe = true, udp = true, tty = true }

local function index(value, name) return value[name] end

--- Returns a method of a table or userdata, or nil: other values have none, and
--- a metatable may refuse to be asked.
local function method_of(value, name)
  if type(value) ~= "table" and type(value) ~= "userdata" then return nil end
  local ok, method = pcall(index, value, name)
  return ok and type(method) == "function" and method or nil
end

--- Tells whether a value is an object with an fd: a stream, socket, server,
--- luv handle or orrery.fd, open or closed.
--- @param value any
--- @return boolean
function fds.has(value)
  return method_of(value, "fileno") ~= nil
end

--- Returns the fd that a value stands for: an integer itself, or what the
--- value's `fileno` gives. Nil if it is no such value, or one that is closed.
--- @param value any
--- @return integer? fd
function fds.number(value)
  if math.type(value) == "integer" then return value >= 0 and value or nil end
  local fileno = method_of(value, "fileno")
  if fileno then return (fileno(value)) end
end

--- Checks an argument that is to be an open orrery.fd, for `options.argument`.
--- @param value any
--- @return string? expected nil if the value is good
function fds.check(value)
  if not core.is_fd(value) or not value:fileno() then
    return "an open orrery.fd, as orrery.core.fd(number) makes"
  end
end

--- Tells orrery.fd and luv's handles apart.
--- @param value any
--- @return "fd"|"tcp"|"pipe"|"udp"|"tty"|nil kind nil for all other values,
---   also for luv's handles that cannot be sent
function fds.kind(value)
  if type(value) ~= "userdata" then return nil end
  if core.is_fd(value) then return "fd" end
  local get_type = method_of(value, "get_type")
  local ok, kind = pcall(get_type, value)
  return ok and LUV_KINDS[kind] and kind or nil
end

return fds
