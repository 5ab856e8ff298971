--- The error table that functions return as `nil, err` and objects emit as
--- `error`: `{code="ENOENT", errno=2, syscall="spawn", message=…}`, which reads
--- as its message. Codes that are no errno are Node's (`ERR_…`).

local core = require "orrery.core"

local errors = {}

--- @class Error
--- @field code string an errno name or `ERR_…`
--- @field errno integer? positive errno
--- @field syscall string? what was being done
--- @field stage string? of a failed start, see `spawn`
--- @field path string? the thing it failed on
--- @field message string
local Error = { __name = "orrery.Error" }
Error.__index = Error

function Error.__tostring(err)
  return err.message
end

--- An error with a code of its own.
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

--- The name of an errno, or its number where it has none here.
--- @param errno integer
--- @return string code
function errors.code_of(errno)
  return core.errnos[errno] or ("errno " .. errno)
end

--- An error of a system call.
--- @param errno integer
--- @param syscall string
--- @param fields table?
--- @return Error
function errors.system(errno, syscall, fields)
  local code = errors.code_of(errno)
  local where = fields and fields.path and " '" .. fields.path .. "'" or ""
  local stage = fields and fields.stage and " at stage '" .. fields.stage .. "'"
  local message = ("%s%s: %s (%s%s)"):format(
    syscall, where, core.strerror(errno), code, stage or "")
  local err = errors.new(code, message, fields)
  err.errno, err.syscall = errno, syscall
  return err
end

--- An error that luv reports by name.
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

--- A wait that took longer than it was given.
--- @param ms integer
--- @return Error
function errors.timeout(ms)
  return errors.new("ETIMEDOUT", ("timed out after %d ms"):format(ms))
end

--- @param value any
--- @return boolean
function errors.is(value)
  return getmetatable(value) == Error
end

return errors
