-- Serves the files of a folder: files.lua [FOLDER [PORT]]. Knows a dozen types,
-- entity tags and ranges, and no way out of the folder. Prints where it
-- listens; ends by Ctrl-C, after the answers that are under way.

local orrery = require "orrery"
local uv = require "luv"
local process, stream = orrery.process, orrery.stream

local CHUNK = 65536 -- bytes that are read at a time
local root = assert(uv.fs_realpath(process.argv[1] or ".")):gsub("/$", "")

local types = {
  css = "text/css", csv = "text/csv", gif = "image/gif", html = "text/html",
  ico = "image/x-icon", jpg = "image/jpeg", js = "text/javascript",
  json = "application/json", md = "text/markdown", mp4 = "video/mp4",
  pdf = "application/pdf", png = "image/png", svg = "image/svg+xml",
  txt = "text/plain", wasm = "application/wasm", webp = "image/webp",
  woff2 = "font/woff2",
}

--- Returns the path that a URL names in the folder; nil if there can be none:
--- no file has a NUL in its name, and those that begin with a dot are hidden,
--- which includes "..".
local function path_of(url)
  local path = url:gsub("%?.*", ""):gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end)
  if path:find("^/") and not path:find("[\0]") and not path:find("/%.") then
    return path
  end
end

--- Opens a file of the folder, or a folder in it. Links may lead anywhere, so
--- the kernel is asked where the file lies that has been opened.
local function open(path)
  local file = stream.open(root .. path)
  if not file then return nil end
  local place = uv.fs_readlink("/proc/self/fd/" .. file:fileno())
  local stat = uv.fs_fstat(file:fileno())
  local inside = place and (place .. "/"):sub(1, #root + 1) == root .. "/"
  if inside and (stat.type == "file" or stat.type == "directory") then
    return file, stat
  end
  file:destroy()
end

--- Tells whether a header, a list of tags or "*", names this one.
local function has_tag(header, tag)
  return header == "*" or header ~= nil and header:find(tag, 1, true) ~= nil
end

--- Returns the range that a request is for; "" if it may have all of the file
--- only, as one that has some of another version already.
local function wanted(req, tag)
  local version = req.headers["if-range"] or tag
  if req.method == "HEAD" or version ~= tag then return "" end
  return req.headers.range or ""
end

--- Returns the first and the last byte of a range; nil if all of the file is an
--- answer, too, as to one that is none, or several; false if there are no such
--- bytes.
local function bytes_of(range, size)
  local from, to = range:match("^bytes=(%d*)%-(%d*)$")
  from, to = tonumber(from), tonumber(to)
  if not (from or to) or from and to and from > to then return nil end
  if not from then from, to = math.max(0, size - to), size end
  if from >= size then return false end
  return from, math.min(to or size, size - 1)
end

--- Sends the bytes of a file from `from` to `to`. If there are no more, it has
--- been cut meanwhile: so is the answer.
local function send(res, file, from, to)
  for at = from, to, CHUNK do
    local count = math.min(CHUNK, to + 1 - at)
    local _, data = orrery.task.wait(function(wake)
      uv.fs_read(file:fileno(), count, at, wake)
    end, nil, "read")
    if not data or #data < count then return res:destroy() end
    if not res:write_wait(data) then return end -- the client has gone
  end
  res:finish()
end

local function refuse(res, status)
  res.status_code = status
  res:finish(status .. " " .. res.status_message .. "\n")
end

--- Answers with a file, or with what the client has not got of it.
local function answer(req, res, path, file, stat)
  local tag = ('"%x-%x-%x"'):format(stat.mtime.sec, stat.mtime.nsec, stat.size)
  res:set_header("ETag", tag)
  if has_tag(req.headers["if-none-match"], tag) then
    res.status_code = 304
    return res:finish()
  end
  local from, to = bytes_of(wanted(req, tag), stat.size)
  if from == false then
    res:set_header("Content-Range", "bytes */" .. stat.size)
    return refuse(res, 416)
  elseif from then
    res.status_code = 206
    res:set_header("Content-Range",
      ("bytes %d-%d/%d"):format(from, to, stat.size))
  end
  from, to = from or 0, to or stat.size - 1
  res:set_header("Accept-Ranges", "bytes")
  res:set_header("Content-Type", types[path:match("%.(%w+)$")]
    or "application/octet-stream")
  res:set_header("X-Content-Type-Options", "nosniff")
  res:set_header("Content-Length", to + 1 - from)
  if req.method == "HEAD" then return res:finish() end
  send(res, file, from, to)
end

local server = orrery.http.create_server(function(req, res)
  if req.method ~= "GET" and req.method ~= "HEAD" then
    res:set_header("Allow", "GET, HEAD")
    return refuse(res, 405)
  end
  local path = path_of(req.url)
  if not path then return refuse(res, 404) end
  path = path:gsub("/$", "/index.html")
  local file <close>, stat = open(path)
  if not file then return refuse(res, 404) end
  if stat.type == "file" then return answer(req, res, path, file, stat) end
  res:set_header("Location", req.url:gsub("^/+", "/"):gsub("%?.*", "") .. "/")
  refuse(res, 301)
end)
assert(server:listen(process.argv[2] or 0, "127.0.0.1"))
print("http://127.0.0.1:" .. server:address().port)
process.on_shutdown(function() server:close() end)
