--- `exec` and `exec_file`: Node's shape, a callback with the output. They never
--- wait; the callback runs as a task, so it may.

local arguments = require "orrery.child_process.arguments"
local capture = require "orrery.child_process.capture"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local spawn = require "orrery.child_process.spawn"

local exec = {}

local MAX_BUFFER = 1024 * 1024 -- bytes a stream, as in Node

local schema = capture.schema

--- What the callback gets when all did not go well; nil when it did.
local function failure(job, command, code, signal, stderr)
  local child = job.child
  local fields = {
    cmd = command, killed = child.killed, signal = signal,
    exit_code = child.exit_code,
  }
  if job.truncated then
    return errors.new("ERR_CHILD_PROCESS_STDIO_MAXBUFFER",
      job.full .. " maxBuffer length exceeded", fields)
  elseif code == 0 and not job.timed_out then
    return nil
  end
  local unknown = job.error -- why the status is
  local err = errors.new(unknown and unknown.code or "",
    ("Command failed: %s\n%s%s"):format(command,
      unknown and unknown.message .. "\n" or "", stderr), fields)
  if not unknown then err.code = child.exit_code end -- nil after a signal
  err.timed_out = job.timed_out or false
  return err
end

local function start(where, argv, opts, cb)
  local command = table.concat(argv, " ")
  local child = spawn.start(where, argv,
    capture.spawn_options(opts, "pipe"))
  if child.pid then
    local job = capture.start(child, opts, MAX_BUFFER)
    capture.when_over(job, function(code, signal)
      local stdout, stderr = capture.output(job)
      local err = failure(job, command, code, signal, stderr)
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

--- The callback comes last, wherever that is.
local function check_callback(where, cb, behind)
  if cb ~= nil then
    options.argument(where, "the callback", cb, options.checks.callback)
  end
  if behind ~= nil then
    options.raise("%s: nothing may follow the callback, got %s %s; "
      .. "options go before it", where, type(behind), options.show(behind))
  end
end

--- Runs a command line by a shell.
--- @param command string
--- @param opts table? spawn's, and timeout, max_buffer (1 MiB), stdio_grace
--- @param cb fun(err: Error?, stdout: string, stderr: string)? called once
--- @param behind nil nothing may follow the callback
--- @return Child
function exec.exec(command, opts, cb, behind)
  if type(opts) == "function" then opts, cb, behind = nil, opts, cb end
  options.argument("exec", "the command", command, options.checks.string)
  check_callback("exec", cb, behind)
  opts = options.copy(options.check("exec", opts, schema))
  if opts.shell == nil then opts.shell = true end
  return start("exec", { command }, opts, cb)
end

--- Runs a program.
--- @param file string|string[] or a list {file, args…}
--- @param args string[]?
--- @param opts table?
--- @param cb fun(err: Error?, stdout: string, stderr: string)? called once
--- @param behind nil nothing may follow the callback
--- @return Child
function exec.exec_file(file, args, opts, cb, behind)
  if type(args) == "function" then
    args, opts, cb, behind = nil, args, opts, cb
  end
  if type(opts) == "function" then opts, cb, behind = nil, opts, cb end
  check_callback("exec_file", cb, behind)
  local argv
  argv, opts = arguments.split("exec_file", file, args, opts)
  opts = options.check("exec_file", opts, schema)
  return start("exec_file", argv, opts, cb)
end

return exec
