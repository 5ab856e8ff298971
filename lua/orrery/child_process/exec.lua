--- `exec` and `exec_file`: Node's shape, a callback with the output. They never
--- wait; the callback runs as a task, and may.

local capture = require "orrery.child_process.capture"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local spawn = require "orrery.child_process.spawn"

local exec = {}

local MAX_BUFFER = 1024 * 1024 -- bytes a stream, as in Node

local schema = capture.schema

--- Returns the error that the callback gets; nil if all went well.
local function failure(captured, command, code, signal, stderr)
  local child = captured.child
  local fields = {
    cmd = command, killed = child.killed, signal = signal,
    exit_code = child.exit_code,
  }
  if captured.full then
    return errors.new("ERR_CHILD_PROCESS_STDIO_MAXBUFFER",
      captured.full .. " maxBuffer length exceeded", fields)
  elseif code == 0 and not captured.timed_out then
    return nil
  end
  local unknown = captured.error -- why the status is
  local err = errors.new(unknown and unknown.code or "",
    ("Command failed: %s\n%s%s"):format(command,
      unknown and unknown.message .. "\n" or "", stderr), fields)
  if not unknown then err.code = child.exit_code end -- nil after a signal
  err.timed_out = captured.timed_out
  return err
end

--- Starts what the callback hears of.
local function start(where, argv, opts, cb)
  local command = table.concat(argv, " ")
  local child = spawn.start(where, argv, capture.spawn_options(opts, "pipe"))
  if child.pid then
    local captured = capture.start(child, opts, MAX_BUFFER)
    captured:when_over(function(code, signal)
      local stdout, stderr = captured:output()
      local err = failure(captured, command, code, signal, stderr)
      if err then err.stdout, err.stderr = stdout, stderr end
      if cb then scheduler.go(cb, err, stdout, stderr) end
    end)
  elseif cb then
    local _, err = child:wait() -- at once; and so it is no uncaught error
    err.cmd, err.killed, err.stdout, err.stderr = command, false, "", ""
    scheduler.go(cb, err, "", "")
  end
  return child
end

--- Raises unless the callback is good and comes last.
local function check_callback(where, cb, behind)
  if cb ~= nil then
    options.argument(where, "the callback", cb, options.checks.callback)
  end
  if behind ~= nil then
    options.raise("%s: nothing may follow the callback, got %s; options go "
      .. "before it", where, options.got(behind))
  end
end

--- Runs a command line by a shell. Without callback its failure is an `error`
--- event if it cannot start, and nothing else.
--- @param command string
--- @param opts table? spawn's; timeout (ms), max_buffer (bytes a stream, 1
---   MiB), stdio_grace (ms, 250)
--- @param cb fun(err: Error?, stdout: string, stderr: string)? called once;
---   err.code is the exit code, ERR_CHILD_PROCESS_STDIO_MAXBUFFER, ECHILD, or
---   why it could not start
--- @param behind nil nothing may follow the callback
--- @return Child child without a pid if it could not start
function exec.exec(command, opts, cb, behind)
  if type(opts) == "function" then opts, cb, behind = nil, opts, cb end
  check_callback("exec", cb, behind)
  local argv
  argv, opts = capture.read_command("exec", schema, command, opts)
  return start("exec", argv, opts, cb)
end

--- Runs a program. Without callback its failure is an `error` event if it
--- cannot start, and nothing else.
--- @param file string|string[] or a list {file, args…}
--- @param args string[]?
--- @param opts table? as exec's
--- @param cb fun(err: Error?, stdout: string, stderr: string)? as exec's
--- @param behind nil nothing may follow the callback
--- @return Child child without a pid if it could not start
function exec.exec_file(file, args, opts, cb, behind)
  if type(args) == "function" then
    args, opts, cb, behind = nil, args, opts, cb
  end
  if type(opts) == "function" then opts, cb, behind = nil, opts, cb end
  check_callback("exec_file", cb, behind)
  local argv
  argv, opts = capture.read_program("exec_file", schema, file, args, opts)
  return start("exec_file", argv, opts, cb)
end

return exec
