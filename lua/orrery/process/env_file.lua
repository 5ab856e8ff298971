--- Files of environment variables, `.env`, as Node's `--env-file` reads them:
--- a line is NAME=value, after `export` if one likes; `#` begins a comment; a
--- value between quotes ("", '' or ``) may have several lines, and \n in double
--- quotes is a newline.

local uv = require "orrery.runtime.luv"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"

local env_file = {}

--- Returns the value between quotes that begins at `at`, and where the rest of
--- its line is; nil if it has no closing quote.
local function quoted(text, at)
  local quote = text:match("^[\"'`]", at)
  local close = quote and text:find(quote, at + 1, true)
  if not close then return nil end
  local value = text:sub(at + 1, close - 1)
  if quote == '"' then value = value:gsub("\\n", "\n") end
  return value, text:find("\n", close, true) or #text + 1
end

--- Returns the value without quotes that begins at `at`, up to a comment or the
--- end of its line, and where that is.
local function bare(text, at)
  local line_end = text:find("\n", at, true) or #text + 1
  local value = text:sub(at, line_end - 1):gsub("#.*", "")
  return value:match("^.*%S") or "", line_end
end

--- Returns the name that the line at `at` gives a value to, and where that is;
--- nil if it is none. (One pattern for all of it would take the cube of the
--- time for a line of blanks.)
local function name_at(text, at)
  local first = text:find("[^ \t]", at) or at
  local words, value_at = text:match("^([^=#\n]+)=[ \t]*()", first)
  local name = words and words:match("^.*[^ \t]")
  return name and (name:gsub("^export[ \t]+", "")), value_at
end

--- Reads what a file says.
--- @param text string
--- @return table<string, string> values by name; of equal names the last
function env_file.parse(text)
  local values, at = {}, 1
  text = text:gsub("\r\n?", "\n")
  while at <= #text do
    local name, value_at = name_at(text, at)
    if name then
      local value, next_at = quoted(text, value_at)
      if not value then value, next_at = bare(text, value_at) end
      values[name], at = value, next_at + 1
    else
      at = (text:find("\n", at, true) or #text) + 1
    end
  end
  return values
end

--- Sets the variables that a file names, but for those that are set already.
--- @param path string? ".env" if nil
--- @return true? ok
--- @return Error? err (ENOENT, EACCES, EISDIR; EINVAL: a NUL byte)
function env_file.load_env_file(path)
  path = path == nil and ".env" or path
  options.argument("load_env_file", "the path", path, options.checks.string)
  local file, _, errno = io.open(path, "rb")
  if not file then return nil, errors.system(errno, "open", { path = path }) end
  local text, _, read_errno = file:read("a")
  file:close()
  if not text then
    return nil, errors.system(read_errno, "read", { path = path })
  end
  local values = env_file.parse(text)
  for name, value in pairs(values) do
    if name:find("\0") or value:find("\0") then
      return nil, errors.new("EINVAL", ("load_env_file '%s': the variable %s "
        .. "has a NUL byte"):format(path, options.show(name)))
    end
  end
  for name, value in pairs(values) do
    if os.getenv(name) == nil then uv.os_setenv(name, value) end
  end
  return true
end

return env_file
