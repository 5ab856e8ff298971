--- What holds the loop, and with it the process.

local uv = require "orrery.runtime.luv"
local loop = require "orrery.runtime.loop"

local resources = {}

--- Returns "127.0.0.1:80" or "[::1]:80" of an address as luv has it.
local function show(at)
  return (at.ip:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(at.ip,
    at.port)
end

-- By luv's name for a kind of handle: returns what to call one.
local describe = {}

function describe.tcp(handle)
  local peer = handle:getpeername()
  if peer then return "socket " .. show(peer) end
  local own = handle:getsockname()
  return own and "server " .. show(own) or "socket"
end

function describe.pipe(handle)
  local path = handle:getpeername() or ""
  if path == "" then path = handle:getsockname() or "" end
  return path == "" and "pipe" or "socket " .. path
end

function describe.udp(handle)
  local own = handle:getsockname()
  return own and "dgram " .. show(own) or "dgram"
end

function describe.process(handle)
  return ("process %d"):format(handle:get_pid())
end

--- Adds the names of a luv handle that keeps the loop alive.
local function add(list, handle)
  local names = loop.naming[handle]
  if names then
    for _, name in ipairs(names()) do list[#list + 1] = name end
    return
  end
  local kind = uv.handle_get_type(handle)
  list[#list + 1] = describe[kind] and describe[kind](handle) or kind
end

--- Returns what keeps this process from ending: children, servers, sockets,
--- pipes, timers (also those of tasks that sleep), and what a script has opened
--- in luv by itself, under luv's name for it. "request" stands for any number
--- of operations under way, such as of files or names.
--- @return string[] names sorted: "child 4242 (sleep)",
---   "server 127.0.0.1:8080", "timer"
function resources.active_resources()
  local list = {}
  uv.walk(function(handle)
    if handle:is_active() and handle:has_ref() and not handle:is_closing() then
      add(list, handle)
    end
  end)
  if #list == 0 and uv.loop_alive() then list[1] = "request" end
  table.sort(list)
  return list
end

return resources
