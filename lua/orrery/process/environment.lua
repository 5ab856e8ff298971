--- process.env: the environment of this process as a table. It is live: reading
--- asks the environment, assigning changes it, nil unsets, `pairs` walks a
--- copy.

local uv = require "orrery.runtime.luv"
local number_text = require "orrery.runtime.number_text"
local options = require "orrery.runtime.options"

local Environment = {}

function Environment.__index(_, name)
  if type(name) ~= "string" then return nil end
  return os.getenv(name)
end

function Environment.__newindex(_, name, value)
  if type(name) ~= "string" or name == "" or name:find("[=\0]") then
    options.raise("env: %s is no name of a variable", options.show(name))
  end
  if value == nil then
    uv.os_unsetenv(name)
    return
  end
  local text = type(value) == "number" and number_text.of(value)
    or tostring(value)
  if text:find("\0", 1, true) then
    options.raise("env: the value of %s contains a NUL byte", name)
  end
  uv.os_setenv(name, text)
end

function Environment.__pairs() return next, uv.os_environ() end

return setmetatable({}, Environment)
