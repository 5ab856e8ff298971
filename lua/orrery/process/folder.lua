--- What names of files mean to this process: its current folder, and the mask
--- of the files that it makes.

local uv = require "orrery.runtime.luv"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"

local MASK = tonumber("777", 8)

local folder = {}

local core = require "orrery.core".image()

--- Returns the current folder.
--- @return string? path absolute
--- @return Error? err (ENOENT)
function folder.cwd()
  local path, _, code = uv.cwd()
  if path then return path end
  return nil, errors.luv(code, "getcwd")
end

--- Changes the current folder.
--- @param dir string
--- @return true? ok
--- @return Error? err (ENOENT, ENOTDIR, EACCES)
function folder.chdir(dir)
  options.argument("chdir", "the directory", dir, options.checks.string)
  local ok, _, code = uv.chdir(dir)
  if ok then return true end
  return nil, errors.luv(code, "chdir", { path = dir })
end

--- Returns the mask as a number; nil if it is none.
local function mask_of(value)
  if type(value) == "string" then
    return value:find("^[0-7]+$") and tonumber(value, 8)
  end
  return math.type(value) == "integer" and value or nil
end

--- Returns the permissions that files of this process are made without
--- (umask(2)), and sets them if a mask is given.
--- @param mask integer|string|nil bits 0 to 0o777; a string is octal, "022"
--- @return integer previous
function folder.umask(mask)
  local number = mask_of(mask)
  if mask ~= nil and not (number and number >= 0 and number <= MASK) then
    options.raise("umask: the mask must be an integer from 0 to 511, or an "
      .. 'octal string such as "022", got %s', options.got(mask))
  end
  return core.umask(number)
end

return folder
