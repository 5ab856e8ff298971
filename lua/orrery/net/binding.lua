--- The place of a server: turns the arguments of `listen` into a target, and a
--- target into a bound luv handle. It knows no server and keeps nothing.

local uv = require "orrery.runtime.luv"
local address = require "orrery.net.address"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local fds = require "orrery.runtime.fds"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local binding = {}

local checks = options.checks

-- Targets --------------------------------------------------------------------

local function check_fd(value)
  if math.type(value) ~= "integer" or value < 0 or value > 0x7fffffff then
    return "the number of an fd"
  end
end

local listen_options = {
  port = address.checks.port,
  host = address.checks.host,
  path = address.checks.path,
  fd = check_fd,
  backlog = options.integer(1, 0x7fffffff),
  ipv6_only = checks.boolean,
  reuse_port = address.checks.reuse_port,
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

--- Returns a target that is the socket of a handle, which keeps it.
local function from_handle(handle)
  local number = fds.number(handle)
  if not number then
    options.raise("listen: the handle is closed or has no fd")
  end
  local fd, errno = core.dup(number)
  if not fd then return nil, errors.system(errno, "dup") end
  return { from = fd }
end

--- Returns what to listen on: the options of `listen`, with a port, and `from`,
--- an orrery.fd, if a socket was given. Raises unless the arguments are good.
--- @param args table those of `listen`, without the callback
--- @return table? target
--- @return Error? err (EMFILE)
function binding.target(args)
  local first = args[1]
  if fds.has(first) then return from_handle(first) end
  local given = type(first) == "table" and first or from_list(args)
  local target = options.copy(options.check("listen", given, listen_options))
  target.port = address.port(target.port or 0)
  target.from = target.fd and core.fd(target.fd)
  return target
end

-- Handles: each function returns one, its kind, and the place for messages; or
-- nil, err

local function bind_tcp(ip, target)
  local place = { address = ip, port = target.port }
  local handle = uv.new_tcp()
  local ok, _, code = handle:bind(ip, target.port,
    { ipv6only = target.ipv6_only })
  if ok then return handle, "tcp", place end
  loop.close(handle)
  return nil, address.failure(code, "bind", place)
end

local no_ipv6 = { EAFNOSUPPORT = true, EADDRNOTAVAIL = true, EINVAL = true }

--- Binds to all addresses of both families, or of IPv4 if there is no IPv6.
local function bind_any(target)
  local handle, result, place = bind_tcp("::", target)
  if handle or not no_ipv6[result.code] then return handle, result, place end
  return bind_tcp("0.0.0.0", target)
end

local function bind_path(target)
  local path = target.path
  local err = address.path_failure(path, "bind")
  if err then return nil, err end
  local handle = uv.new_pipe(false)
  local ok, _, code = handle:bind(path)
  if ok then return handle, "pipe", target end
  loop.close(handle)
  -- libuv says EACCES for ENOENT, as Windows would.
  if code == "EACCES" and not uv.fs_stat(path:match("^(.*/)[^/]*$") or ".") then
    code = "ENOENT"
  end
  return nil, address.failure(code, "bind", target)
end

--- Makes a handle of a socket's fd, which the handle owns from then on.
local function open_fd(fd)
  local number = fd:fileno()
  if not number then return nil, errors.luv("EBADF", "open") end
  local kind, errno = core.socket_kind(number)
  if not kind then return nil, errors.luv(core.errnos[errno], "open") end
  local new = kind == "tcp" and uv.new_tcp() or uv.new_pipe(false)
  local handle, code = loop.open(new, fd)
  if not handle then return nil, errors.luv(code, "open") end
  return handle, kind, {}
end

--- Makes the bound handle of a target.
--- @param target table as binding.target's; the handle owns its `from` from
---   then on, or the caller still does if this fails
--- @param ip string? what the target's host stands for; nil: all addresses
--- @return userdata? handle
--- @return "tcp"|"pipe"|Error kind the error if it fails (EADDRINUSE,
---   EADDRNOTAVAIL, EACCES, ENOENT, ENAMETOOLONG, ENOTSOCK)
--- @return {address: string?, port: integer?, path: string?}? place
function binding.bind(target, ip)
  if target.from then return open_fd(target.from) end
  if target.path then return bind_path(target) end
  if ip then return bind_tcp(ip, target) end
  return bind_any(target)
end

return binding
