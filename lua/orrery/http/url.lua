--- Absolute http URLs, taken apart for a request. What there is no road for,
--- such as TLS, raises at the user's line and says what to do instead.

local options = require "orrery.runtime.options"

local url = {}

local MAX_PORT = 65535

local function refuse(where, text, why)
  options.raise("%s: the url %s %s", where, options.show(text), why)
end

--- Checks a host, as the checks of `options.checks` do: it is looked up, and
--- written into the request's head.
function url.check_host(value)
  if type(value) ~= "string" or value == ""
    or value:find("[\0-\32\127/\\?#@%[%]]") then
    return "a host name or address"
  end
  local _, colons = value:gsub(":", "")
  if colons == 1 then return "a host without its port" end
end

--- Checks a path with its query, as the checks of `options.checks` do.
function url.check_path(value)
  if type(value) ~= "string" or value:find("[\0-\32\127]") then
    return "a path without blanks and control characters (%20 is a blank)"
  elseif value:find("#", 1, true) then
    return "a path without '#' (%23 is one; a fragment is not sent)"
  end
end

--- Raises unless a scheme is "http".
local function check_scheme(where, text, scheme)
  scheme = scheme:lower()
  if scheme == "http" then return end
  if scheme == "https" or scheme == "wss" then
    refuse(where, text, "needs TLS, which Orrery has not: let nginx, HAProxy "
      .. "or stunnel speak it, and ask that one by http")
  end
  refuse(where, text, "must begin with http://")
end

--- Returns the host and the port of "host", "host:80", "[::1]" or "[::1]:80";
--- the port is nil if there is none.
local function read_authority(where, text, authority)
  local host, rest = authority:match("^%[([^%]]*)%](.*)$")
  if host then
    if not host:find(":", 1, true) then
      refuse(where, text, "has no IPv6 address in its brackets")
    end
  else
    host, rest = authority:match("^([^:]*)(.*)$")
  end
  local digits = rest:match("^:(%d*)$")
  local port = digits and digits ~= "" and tonumber(digits) or nil
  if url.check_host(host) or rest ~= "" and not digits then
    refuse(where, text, "has no good host, or a bad port")
  elseif port and port > MAX_PORT then
    refuse(where, text, "has a port beyond 65535")
  end
  return host, math.tointeger(port)
end

--- Takes an absolute http URL apart. A fragment is left out, for it is not the
--- server's. Raises if the URL is not good.
--- @param where string the public function's name, for messages
--- @param text string
--- @return {host: string, port: integer?, path: string} parts the path has the
---   query, and begins with "/"
function url.read(where, text)
  options.argument(where, "the url", text, options.checks.string)
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then
    refuse(where, text, "must be absolute: http://host:port/path")
  end
  check_scheme(where, text, scheme)
  local authority, path = rest:match("^([^/?#]*)([^#]*)")
  if authority:find("@", 1, true) then
    refuse(where, text, "names a user: give it as a header, Authorization")
  end
  options.argument(where, "the url's path", path, url.check_path)
  local host, port = read_authority(where, text, authority)
  if path:sub(1, 1) ~= "/" then path = "/" .. path end
  return { host = host, port = port, path = path }
end

return url
