--- Places of sockets: the checks of ports, hosts and paths, how messages write
--- them, and looking up names.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local address = {}

local KEPT = 256 -- literal addresses whose form is remembered
local MAX_PATH = 107 -- bytes; libuv would cut what is longer

local families = { inet = 4, inet6 = 6, [4] = "inet", [6] = "inet6" }

--- Returns an address as luv's getsockname has it in our words.
--- @param name table|string|nil a string is a Unix socket's path
--- @return {address: string, port: integer, family: 4|6}|{path: string}|nil
function address.of(name)
  if type(name) == "string" then return { path = name } end
  if not name then return nil end
  return { address = name.ip, port = name.port, family = families[name.family] }
end

--- Returns an address as core.addresses has it in our words.
--- @param own string? an IP address, or a path
--- @param port integer? nil of a path
--- @return {address: string, port: integer, family: 4|6}|{path: string} at
---   the path is "" if there is none
function address.place(own, port)
  if not port then return { path = own or "" } end
  local family = own:find(":", 1, true) and 6 or 4
  return { address = own, port = port, family = family }
end

--- Returns the own address of a socket.
--- @param number integer? of its fd
--- @return table? at as `address.place` has it; nil if there is no fd
function address.own(number)
  return number and address.place(core.addresses(number))
end

--- Returns an address as messages write it: "127.0.0.1:80", "[::1]:80", a path.
--- @param at {address: string?, port: integer?, path: string?}?
--- @return string text "-" if there is none
function address.show(at)
  if not at or not (at.address or at.path) then return "-" end
  if at.path then return at.path end
  local ip = at.address:find(":", 1, true) and "[%s]" or "%s"
  return (ip .. ":%d"):format(at.address, at.port)
end

--- Makes the error of a system call at a place, which its message names.
--- @param code string errno name
--- @param syscall string
--- @param place {address: string?, port: integer?, path: string?}
--- @return Error
function address.failure(code, syscall, place)
  local err = errors.luv(code, syscall,
    { address = place.address, port = place.port, path = place.path })
  if place.address then
    err.message = ("%s %s%s"):format(syscall, address.show(place),
      err.message:sub(#syscall + 1))
  end
  return err
end

--- Checks the path of a Unix socket, which must fit into an address.
--- @param path string
--- @param syscall "bind"|"connect"|"send"
--- @return Error? err (ENAMETOOLONG) nil if it is good
function address.path_failure(path, syscall)
  if #path <= MAX_PATH then return nil end
  return address.failure("ENAMETOOLONG", syscall, { path = path })
end

local unknown = { EAI_NONAME = true, EAI_NODATA = true, EAI_ADDRFAMILY = true }

--- Makes the error of a lookup: all ways in which a name is unknown are one.
local function lookup_failure(code, host)
  if unknown[code] then
    return errors.new("ENOTFOUND",
      ("getaddrinfo: no address of host '%s' (ENOTFOUND)"):format(host),
      { syscall = "getaddrinfo", hostname = host })
  end
  return errors.luv(code, "getaddrinfo", { hostname = host })
end

local literals, kept = {}, 0 -- host → false, or its addresses

--- Returns the addresses that a literal address stands for, or false if the
--- host is a name.
local function literal(host)
  local known = literals[host]
  if known ~= nil then return known end
  local found = uv.getaddrinfo(host, nil,
    { numerichost = true, socktype = "stream" })
  known = found and { {
    address = host:find("%", 1, true) and host or found[1].addr,
    family = families[found[1].family],
  } } or false
  if kept == KEPT then literals, kept = {}, 0 end
  literals[host], kept = known, kept + 1
  return known
end

--- Returns an IP address as luv reads it.
--- @param text string
--- @return string? ip nil if the text is none
function address.ip(text)
  local known = literal(text)
  return known and known[1].address or nil
end

local function addresses(found)
  local list = {}
  for i, one in ipairs(found) do
    list[i] = { address = one.addr, family = families[one.family] }
  end
  return list
end

--- Finds the addresses of a host, and calls done(err, list): at once if the
--- host is an address itself, else later.
--- @param host string
--- @param family 4|6|nil either
--- @param done fun(err: Error?, list: {address: string, family: 4|6}[]?) err
---   (ENOTFOUND, or an EAI_ code of getaddrinfo's); the list is not empty
function address.resolve(host, family, done)
  local known = literal(host)
  if known and (not family or known[1].family == family) then
    return done(nil, known)
  end
  local hints = {
    socktype = "stream",
    family = families[family],
    addrconfig = not family or nil,
  }
  local ok, _, code = uv.getaddrinfo(host, nil, hints,
    loop.guard(function(failed, found)
      if failed then return done(lookup_failure(failed, host)) end
      done(nil, addresses(found))
    end))
  if not ok then loop.soon(done, lookup_failure(code, host)) end
end

-- Arguments ------------------------------------------------------------------

--- Checks of arguments and options: each returns nil if the value is good, else
--- what was expected (see runtime/options.lua).
local checks = {}
address.checks = checks

--- Returns a port as a number. Digits, which is what the environment has, are
--- good as well.
--- @param value any
--- @return integer? port nil if it is no integer
function address.port(value)
  if type(value) == "string" and value:find("^%d+$") then
    value = math.tointeger(tonumber(value))
  end
  return math.type(value) == "integer" and value or nil
end

function checks.port(value)
  local port = address.port(value)
  if not port or port < 0 or port > 65535 then
    return "an integer from 0 to 65535"
  end
end

function checks.fd(value)
  if math.type(value) ~= "integer" or value < 0 or value > 0x7fffffff then
    return "the number of an fd"
  end
end

function checks.host(value)
  if type(value) ~= "string" or value == "" or value:find("\0", 1, true) then
    return "a host name or address"
  end
end

function checks.ip(value)
  if checks.host(value) or not address.ip(value) then return "an IP address" end
end

function checks.family(value)
  if value ~= 4 and value ~= 6 then return "4 or 6" end
end

function checks.path(value)
  if value == "" then return "a path that is not empty" end
  return options.checks.string(value)
end

--- Splits the callback off a call's arguments, of which it is the last.
--- @param ... any
--- @return table args the others, with their number `n`
--- @return function? cb
function address.callback(...)
  local args = table.pack(...)
  while args.n > 0 and args[args.n] == nil do args.n = args.n - 1 end
  local cb
  if type(args[args.n]) == "function" then
    cb = args[args.n]
    args[args.n], args.n = nil, args.n - 1
  end
  return args, cb
end

return address
