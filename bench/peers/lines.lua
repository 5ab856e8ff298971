--- Sends and reads JSON lines over a pipe of luv's: the channel of luv's peers.

local uv = require "luv"
local json = require "cjson"

local HIGH_WATER = 128 * 1024 -- bytes queued: send says false

local lines = {}

--- Makes a peer that writes lines into a pipe.
--- @param pipe userdata
--- @return Peer peer see messages.lua
function lines.peer(pipe)
  local waiting
  local function drained()
    local fn = waiting
    waiting = nil
    if fn then fn() end
  end
  return {
    send = function(value)
      local line = json.encode(value) .. "\n"
      if pipe:get_write_queue_size() + #line < HIGH_WATER then
        pipe:write(line)
        return true
      end
      pipe:write(line, drained)
      return false
    end,
    on_drain = function(fn) waiting = fn end,
  }
end

--- Calls fn(value) for each line that comes out of a pipe, and closes the pipe
--- at its end. Pieces of a long line are joined once its end is there.
function lines.read(pipe, fn)
  local pieces, n = {}, 0
  pipe:read_start(function(err, chunk)
    assert(not err, err)
    if not chunk then return pipe:close() end
    local from, to = 1, chunk:find("\n", 1, true)
    while to do
      local line = chunk:sub(from, to - 1)
      if n > 0 then
        line = table.concat(pieces) .. line
        pieces, n = {}, 0
      end
      fn(json.decode(line))
      from, to = to + 1, chunk:find("\n", to + 1, true)
    end
    if from <= #chunk then
      n = n + 1
      pieces[n] = chunk:sub(from)
    end
  end)
end

--- Starts this script again with a pipe as its fd 3.
--- @param ipc boolean? handles can be sent
--- @return userdata pipe
--- @return integer pid
--- @return userdata process
function lines.fork(ipc)
  local pipe = uv.new_pipe(ipc or false)
  local args = { arg[0], table.unpack(arg) }
  local process, pid
  process, pid = assert(uv.spawn(arg[-1], {
    args = args,
    env = { "CHILD=1", "PATH=" .. os.getenv("PATH") },
    stdio = { 0, 1, 2, pipe },
  }, function() process:close() end))
  return pipe, pid, process
end

--- Opens a child's pipe to its parent.
--- @param ipc boolean? handles can be received
--- @return userdata? pipe nil in a process that `fork` has not started
function lines.parent(ipc)
  if not os.getenv("CHILD") then return nil end
  local pipe = uv.new_pipe(ipc or false)
  assert(pipe:open(3))
  return pipe
end

return lines
