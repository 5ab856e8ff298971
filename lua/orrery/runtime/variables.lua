--- The environment that another program gets, by the options `env` and
--- `env_extend`.

local uv = require "orrery.runtime.luv"
local number_text = require "orrery.runtime.number_text"
local options = require "orrery.runtime.options"

local variables = {}

--- Tells whether a value can be one of a variable.
local function is_value(value)
  if type(value) == "string" then return not value:find("\0", 1, true) end
  return type(value) == "number" or type(value) == "boolean"
end

--- Copies an option's variables into `merged`, numbers as text; raises unless
--- they are good. A metamethod `__pairs` counts, for process.env has one.
local function add(merged, where, option, given)
  for name, value in pairs(given) do
    if type(name) ~= "string" or name == "" or name:find("[=\0]") then
      options.raise("%s: option '%s': %s is no name of a variable", where,
        option, options.show(name))
    end
    if not is_value(value) then
      options.raise("%s: option '%s': %s must be a string without NUL bytes, "
        .. "got %s", where, option, name, options.got(value))
    end
    if type(value) == "number" then value = number_text.of(value) end
    if value == false and option == "env_extend" then value = nil end
    merged[name] = value
  end
end

--- Returns an environment as a list of NAME=value; nil if it is ours as it is.
--- `false` in env_extend takes a variable away.
--- @param where string the function's name, for the message
--- @param opts table its `env` and `env_extend`
--- @param extra table<string, any>? added in any case, by this library
--- @return string[]? list
function variables.list(where, opts, extra)
  local env, extension = opts.env, opts.env_extend
  if not env and not extension and not extra then return nil end
  local merged, list = env and {} or uv.os_environ(), {}
  if env then add(merged, where, "env", env) end
  if extension then add(merged, where, "env_extend", extension) end
  for name, value in next, extra or {} do merged[name] = value end
  for name, value in next, merged do
    list[#list + 1] = name .. "=" .. tostring(value)
  end
  return list
end

return variables
