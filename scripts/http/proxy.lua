-- A reverse proxy: proxy.lua ORIGIN [PORT] hands requests on to a server, such
-- as http://127.0.0.1:3000, and pipes bodies both ways, however long they are.
-- Prints where it listens; ends by Ctrl-C, after the answers under way.

local orrery = require "orrery"
local http, process = orrery.http, orrery.process

local PATIENCE = 60000 -- ms in which an origin that works says something
local origin = assert(process.argv[1], "which origin?")

-- What concerns one connection only (RFC 9110, 7.6.1), and Expect, which our
-- server has answered.
local ours = {}
for name in ([[connection keep-alive proxy-connection te trailer
  transfer-encoding upgrade expect]]):gmatch("%S+") do
  ours[name] = true
end

--- Returns the headers of a message, as a list, that are for the other side:
--- Connection names some that are not.
local function headers_of(message)
  local named, list = {}, {}
  for name in (message.headers.connection or ""):gmatch("[^%s,]+") do
    named[name:lower()] = true
  end
  local raw = message.raw_headers
  for i = 1, #raw, 2 do
    local name = raw[i]:lower()
    if not (ours[name] or named[name] or name == "x-forwarded-for") then
      table.move(raw, i, i + 1, #list + 1, list)
    end
  end
  return list
end

--- Returns the headers of a request to the origin: it learns from whom it is.
local function forwarded(req)
  local list, before = headers_of(req), req.headers["x-forwarded-for"]
  local from = req.socket.remote_address or "unknown" -- it may be gone
  table.move({ "X-Forwarded-For", before and before .. ", " .. from or from,
    "Via", "1.1 orrery" }, 1, 4, #list + 1, list)
  return list
end

--- Tells the client that the origin has failed.
local function fail(res, status)
  if res.headers_sent then return res:destroy() end
  res.status_code = status
  res:finish(status .. " " .. res.status_message .. "\n")
end

local server = http.create_server(function(req, res)
  if req.method == "TRACE" then return fail(res, 405) end -- shows too much
  local request = http.request(origin, {
    method = req.method,
    path = req.url,
    headers = forwarded(req),
    timeout = PATIENCE,
  }, function(response)
    response:on("aborted", function() res:destroy() end)
    res:write_head(response.status_code, response.status_message,
      headers_of(response))
    res:write("") -- the head need not wait for the body
    response:pipe(res)
  end)
  request:on("timeout", function()
    request:destroy()
    fail(res, 504)
  end)
  request:on("error", function() fail(res, 502) end)
  req:on("aborted", function() request:destroy() end)
  req:pipe(request)
end)
assert(server:listen(process.argv[2] or 0, "127.0.0.1"))
print("http://127.0.0.1:" .. server:address().port)
process.on_shutdown(function() server:close() end)
