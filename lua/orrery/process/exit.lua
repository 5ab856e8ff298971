--- How this process ends: its exit code, its `exit` listeners, and its uncaught
--- errors, which end it under the CLI and `orrery.main` only.
---
--- Owns the exit code. Takes the loop's two hooks: for uncaught errors, and for
--- a loop that has nothing left to do.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local FAILED, HANDLER_FAILED = 1, 7 -- exit codes of uncaught errors

local exit = {}

local self_process = core.process()
local emitter -- the process module's
local exit_code -- process.exit_code; nil is 0
local exiting = false -- `exit` is being emitted, or has been

local function check(where, code)
  local number = math.tointeger(tonumber(code))
  if code ~= nil and not number then
    options.raise("%s: the exit code must be an integer, got %s", where,
      options.got(code))
  end
  return number
end

--- Emits an event; the traceback of what a listener raises is left to
--- `loop.last_trace`.
--- @return boolean ok
--- @return any err what a listener raised
local function emit(...)
  return xpcall(emitter.emit, loop.remember, emitter, ...)
end

--- Returns process.exit_code.
--- @return integer?
function exit.code() return exit_code end

--- Sets process.exit_code. Raises if it is no integer.
--- @param code integer|string|nil
function exit.set_code(code) exit_code = check("exit_code", code) end

--- Emits `exit`. If a listener raises, that is reported, and the code is 1.
local function emit_exit()
  if emit("exit", exit_code or 0) then return end
  loop.report(loop.last_trace())
  exit_code = FAILED
end

--- Ends the process: calls the listeners of `exit`, once, and flushes stdout.
--- Does not return.
--- @param code integer? process.exit_code if nil, else 0; the system keeps 8
--- bits
function exit.exit(code)
  exit_code = check("exit", code) or exit_code
  if not exiting then
    exiting = true
    emit_exit()
  end
  loop.exit((exit_code or 0) & 0xff)
end

--- Ends the process by SIGABRT. Does not return.
function exit.abort() self_process:abort() end

--- Takes an uncaught error: to the listeners, or else it ends the process if
--- that is ours, and is left to the host if not. What a listener raises goes
--- the same way.
local function on_uncaught(err, trace, origin)
  local handled = emitter:listener_count("uncaught_exception") > 0
  local ok, raised = emit("uncaught_exception_monitor", err, origin)
  if ok and handled then
    ok, raised = emit("uncaught_exception", err, origin)
  end
  if ok and handled then return end
  if not ok then err, trace = raised, loop.last_trace() end
  if not loop.owns_process then return loop.leave_to_host(err, trace) end
  loop.report(trace)
  exit.exit(ok and FAILED or HANDLER_FAILED)
end

--- Emits `before_exit`, and if that has brought nothing more to do, has the
--- hooks of `on_shutdown` run.
local function before_exit()
  emitter:emit("before_exit", exit_code or 0)
  local shutdown = core.shared.shutdown
  if shutdown and not uv.loop_alive() then shutdown.on_end() end
end

--- Takes the loop's hooks, and emits from then on.
--- @param of Emitter the process module's
function exit.attach(of)
  emitter = of
  loop.on_uncaught, loop.before_exit = on_uncaught, before_exit
end

return exit
