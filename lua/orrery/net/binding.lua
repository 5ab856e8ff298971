--- The place of a server: turns the arguments of `listen` into a target, and a
--- target into a bound socket. It knows no server and keeps nothing.

local address = require "orrery.net.address"
local core = require "orrery.core"
local elsewhere = require "orrery.net.elsewhere"
local errors = require "orrery.runtime.errors"
local fds = require "orrery.runtime.fds"
local options = require "orrery.runtime.options"
local socket_file = require "orrery.net.socket_file"

local binding = {}

local checks = options.checks

-- Targets --------------------------------------------------------------------

local listen_options = {
  port = address.checks.port,
  host = address.checks.host,
  path = address.checks.path,
  fd = address.checks.fd,
  backlog = options.integer(1, 0x7fffffff),
  ipv6_only = checks.boolean,
  reuse_port = checks.boolean,
  exclusive = checks.boolean,
}

--- Returns listen(port, host, backlog) or listen(path, backlog) as options.
local function from_list(args)
  local first = args[1]
  if type(first) == "string" and not address.port(first) then
    return { path = first, backlog = args[2] }
  end
  return { port = first, host = args[2], backlog = args[3] }
end

--- Returns a target that is a socket whose fd stays its owner's.
local function from_number(number, target)
  local fd, errno = core.dup(number)
  if not fd then return nil, errors.system(errno, "dup") end
  target.from = fd
  return target
end

--- Returns what to listen on: the options of `listen`, with a port, and `from`,
--- an orrery.fd, if a socket was given. Raises unless the arguments are good.
--- @param args table those of `listen`, without the callback
--- @return table? target
--- @return Error? err (EMFILE, EBADF)
function binding.target(args)
  local first = args[1]
  if fds.has(first) then
    local number = fds.number(first)
    if number then return from_number(number, {}) end
    options.raise("listen: the handle is closed or has no fd")
  end
  local given = type(first) == "table" and first or from_list(args)
  local target = options.copy(options.check("listen", given, listen_options))
  target.port = address.port(target.port or 0)
  if target.fd and not elsewhere.wants(target) then
    return from_number(target.fd, target)
  end
  return target
end

-- Bound sockets ---------------------------------------------------------------

--- @class Bound
--- @field fd userdata orrery.fd, owned
--- @field kind "tcp"|"pipe" as luv calls it
--- @field place {address: string?, port: integer?, path: string?} for messages
--- @field file table? that the socket has made: see net/socket_file.lua

--- Returns what core.bind gave, as a Bound; or nil, err.
local function bound(fd, errno, kind, place)
  if fd then return { fd = fd, kind = kind, place = place } end
  return nil, address.failure(errors.code_of(errno), "listen", place)
end

local function bind_tcp(ip, target)
  local fd, errno = core.bind("tcp", ip, target.port, target)
  return bound(fd, errno, "tcp", { address = ip, port = target.port })
end

local no_ipv6 = { EAFNOSUPPORT = true, EADDRNOTAVAIL = true, EINVAL = true }

--- Binds to all addresses of both families, or of IPv4 if there is no IPv6.
local function bind_any(target)
  local result, err = bind_tcp("::", target)
  if result or not no_ipv6[err.code] then return result, err end
  return bind_tcp("0.0.0.0", target)
end

local function bind_path(target)
  local path = target.path
  local fd, errno = core.bind("unix", path)
  local result, err = bound(fd, errno, "pipe", { path = path })
  if result then result.file = socket_file.at(path) end
  return result, err
end

--- Takes in a socket that was bound elsewhere. It may block so far: whoever
--- else accepts from it must be able to leave us without a connection.
local function take_in(fd)
  local number = fd:fileno()
  if not number then return nil, errors.luv("EBADF", "open") end
  local kind, errno = core.socket_kind(number)
  if not kind then return nil, errors.system(errno, "open") end
  fd:set_nonblocking(true)
  return { fd = fd, kind = kind, place = {} }
end

--- Makes the bound socket of a target.
--- @param target table as binding.target's; its `from` becomes the socket's fd,
---   or is still the caller's if this fails
--- @param ip string? what the target's host stands for; nil: all addresses
--- @return Bound? bound
--- @return Error? err (EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOENT, ENAMETOOLONG,
---   ENOTSOCK)
function binding.bind(target, ip)
  if target.from then return take_in(target.from) end
  if target.path then return bind_path(target) end
  if ip then return bind_tcp(ip, target) end
  return bind_any(target)
end

return binding
