--- Reads the script of `orrery -`. Lua's own io.read would fail if stdin is
--- non-blocking, as a process may have made it that shares it, and the script
--- comes late.

local core = require "orrery.core"

local EAGAIN = core.errnos.EAGAIN

local stdin = {}

--- Reads stdin to its end, and waits for that.
--- @return string? text
--- @return integer? errno (EISDIR, EIO, EBADF)
local function read_all()
  local fd, chunks = core.fd(0), {}
  core.ending.own() -- or else the first Ctrl-C would do nothing
  repeat
    local data, errno = fd:read()
    if data then
      chunks[#chunks + 1] = data
    elseif errno == EAGAIN then
      core.poll({ 0 }, {}, -1)
    else
      return nil, errno
    end
  until data == ""
  return table.concat(chunks)
end

--- Loads the script, without a byte order mark and a first line that begins
--- with #, as `loadfile` does.
--- @return function? chunk
--- @return string? problem
function stdin.load()
  local text, errno = read_all()
  if not text then return nil, "cannot read stdin: " .. core.strerror(errno) end
  return load(text:gsub("^\u{FEFF}", ""):gsub("^#[^\n]*", ""), "=stdin")
end

return stdin
