--- How a process comes by the channel that it is started with: its parent names
--- the fd in environment variables, and it takes them out again.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"

local MOST_FD = 0x7fffffff

local inherit = {}

local NAMES = { "ORRERY_CHANNEL_FD", "ORRERY_MAX_MESSAGE", "NODE_CHANNEL_FD",
  "NODE_CHANNEL_SERIALIZATION_MODE" }

--- Returns the variables that tell a child of its channel: ours, or Node's if
--- the channel speaks JSON.
--- @param fd integer the child's
--- @param opts {serialization: string?, max_message: integer?} bytes
--- @param extra table<string, any>? to which they are added; else to a new
---   table
--- @return table<string, any>
function inherit.environment(fd, opts, extra)
  local env = extra or {}
  if opts.serialization == "json" then
    env.NODE_CHANNEL_FD = fd
    env.NODE_CHANNEL_SERIALIZATION_MODE = "json"
  else
    env.ORRERY_CHANNEL_FD = fd
  end
  env.ORRERY_MAX_MESSAGE = opts.max_message
  return env
end

--- Reads the variables and clears them: they are not for our own children.
local function read_variables()
  local read = {}
  for _, name in ipairs(NAMES) do
    read[name] = os.getenv(name)
    uv.os_unsetenv(name)
  end
  return read
end

local function integer(text)
  return math.tointeger(tonumber(text))
end

--- Returns the fd that a variable names, made close-on-exec; nil if there is
--- none.
local function adopt(text)
  local number = integer(text)
  if not number or number < 0 or number > MOST_FD then return nil end
  return core.adopt(number)
end

--- Takes over the channel's fd that this process was started with.
--- @return userdata? fd orrery.fd; nil if there is none
--- @return {serialization: string, max_message: integer?, inherited: true}?
---   opts for messaging.open; `serialization` is what the parent says, also if
---   it is not known here, as Node's "advanced"
function inherit.take()
  local told = read_variables()
  local ours = told.ORRERY_CHANNEL_FD
  local fd = adopt(ours or told.NODE_CHANNEL_FD)
  if not fd then return nil end
  local most = integer(told.ORRERY_MAX_MESSAGE)
  return fd, {
    serialization = ours and "msgpack"
      or told.NODE_CHANNEL_SERIALIZATION_MODE or "json",
    max_message = most and most > 0 and most or nil,
    inherited = true,
  }
end

return inherit
