--- The error table that functions return as `nil, err` and objects emit as
--- `error`: `{code="ENOENT", errno=2, syscall="spawn", message=…}`, which reads
--- as its message. Codes that are no errno are Node's (`ERR_…`).

local class = require "orrery.runtime.class"
local core = require "orrery.core"
local options = require "orrery.runtime.options"

local errors = {}

--- @class Error
--- @field code string an errno's name or `ERR_…`
--- @field errno integer? positive
--- @field syscall string? what was being done
--- @field stage string? of a failed start, see `spawn`
--- @field path string? the thing it failed on
--- @field message string
--- @field of_ Stream? on which it came about
local Error = class "orrery.Error"

function Error.__tostring(err)
  return err.message
end

--- Makes an error with a code of its own.
--- @param code string
--- @param message string
--- @param fields table? further fields; the table becomes the error
--- @return Error
function errors.new(code, message, fields)
  local err = fields or {}
  err.code = code
  err.errno = err.errno or core.errnos[code]
  err.message = message
  return setmetatable(err, Error)
end

--- Returns the name of an errno, or "errno 512" if it has none here.
--- @param errno integer
--- @return string code
function errors.code_of(errno)
  return core.errnos[errno] or ("errno " .. errno)
end

--- Makes the error of a system call.
--- @param errno integer
--- @param syscall string
--- @param fields table? as of `errors.new`; `path` and `stage` are in the
--- message
--- @return Error
function errors.system(errno, syscall, fields)
  local code = errors.code_of(errno)
  local path = fields and fields.path and " '" .. fields.path .. "'" or ""
  local stage = fields and fields.stage
    and " at stage '" .. fields.stage .. "'" or ""
  local message = ("%s%s: %s (%s%s)"):format(
    syscall, path, core.strerror(errno), code, stage)
  local err = errors.new(code, message, fields)
  err.errno, err.syscall = errno, syscall
  return err
end

--- Makes the error of a call that luv reports by name.
--- @param code string as luv's callbacks and third results have it
--- @param syscall string
--- @param fields table?
--- @return Error
function errors.luv(code, syscall, fields)
  local errno = core.errnos[code]
  if errno then return errors.system(errno, syscall, fields) end
  local err = errors.new(code, syscall .. ": " .. code, fields)
  err.syscall = syscall
  return err
end

--- Makes the error of a wait that took longer than it was given.
--- @param ms integer
--- @return Error err (ETIMEDOUT)
function errors.timeout(ms)
  return errors.new("ETIMEDOUT", ("timed out after %d ms"):format(ms))
end

--- Raises an error that is no misuse, of a function that has no other way to
--- tell of it. What is raised is a copy, whose message begins with the user's
--- line.
--- @param err Error
function errors.raise(err)
  local copy = options.copy(err)
  -- options.raise alone knows which line that is.
  copy.message = select(2, pcall(options.raise, "%s", err.message))
  error(setmetatable(copy, Error), 0)
end

--- Tells whether a value is such an error.
--- @param value any
--- @return boolean
function errors.is(value)
  return getmetatable(value) == Error
end

return errors
