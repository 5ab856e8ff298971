--- `run` and `sh`: a program to its end, with its output collected.

local core = require "orrery.core"
local arguments = require "orrery.child_process.arguments"
local capture = require "orrery.child_process.capture"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local spawn = require "orrery.child_process.spawn"

local run = {}

local MAX_BUFFER = 100 * 1024 * 1024 -- bytes a stream

local self_process = core.process()

local schema = options.copy(capture.schema)
schema.check = options.checks.boolean
schema.trim = options.checks.boolean
schema.on_stdout = options.checks.callback
schema.on_stderr = options.checks.callback
schema.input = options.checks.bytes

--- A hint for run("ls -l"), which is a file name with a space in it.
local function add_hint(err, words)
  if err.code == "ENOENT" and err.stage == "exec" and #words == 1
    and words[1]:find("%s") then
    err.message = err.message
      .. ("; for a command line use sh(%q)"):format(words[1])
  end
  return err
end

local function trimmed(result)
  result.stdout = result.stdout:gsub("\n$", "")
  result.stderr = result.stderr:gsub("\n$", "")
end

--- What `check` raises: the result, which reads as what went wrong.
local function failure(result)
  local how = result.timed_out and "timed out"
    or result.truncated and "wrote more than max_buffer"
    or result.error and result.error.message
    or result.signal and "ended by " .. result.signal
    or "exit code " .. result.code
  local message = ("%s: %s"):format(result.command, how)
  if result.stderr ~= "" then message = message .. "\n" .. result.stderr end
  return errors.new("ERR_CHILD_PROCESS_FAILED", message,
    { result = result, exit_code = result.code, signal = result.signal })
end

local function run_child(where, argv, opts)
  local begun, words = self_process:hrtime(), { table.unpack(argv) }
  local stdin = opts.input and "pipe" or "ignore"
  local child = spawn.start(where, argv,
    capture.spawn_options(opts, { stdin, "pipe", "pipe" }))
  if not child.pid then
    local _, err = child:wait()
    return nil, add_hint(err, words)
  end
  local job = capture.start(child, opts, MAX_BUFFER)
  if child.stdin then child.stdin:finish(opts.input) end
  local result = capture.result(job, table.concat(words, " "),
    capture.await(job))
  result.duration = (self_process:hrtime() - begun) / 1e6
  if opts.trim then trimmed(result) end
  if opts.check and not result.ok then error(failure(result), 0) end
  return result
end

--- Runs a program to its end and collects its output. stdin is at its
--- end unless there is input. [w]
---
---     local result = assert(run("git", {"rev-parse", "HEAD"}))
---
--- @param file string|string[] or a list {file, args…}
--- @param args string[]?
--- @param opts table? spawn's; input, check (raise unless ok), trim (one final
---   newline), on_stdout, on_stderr (fn(line); their first error stops the program
---   and is raised here), max_buffer (bytes a stream, 100 MiB), stdio_grace (ms)
--- @return Result? result nil, err where it could not start
--- @return Error? err
function run.run(file, args, opts)
  local argv
  argv, opts = arguments.split("run", file, args, opts)
  opts = capture.check("run", opts, schema)
  scheduler.check_may_wait("run")
  return run_child("run", argv, opts)
end

--- Runs a command line by /bin/sh to its end. [w]
--- @param command string
--- @param opts table? as run's
--- @return Result?, Error?
function run.sh(command, opts)
  options.argument("sh", "the command", command, options.checks.string)
  opts = capture.check("sh", opts, schema)
  scheduler.check_may_wait("sh")
  opts = options.copy(opts)
  if opts.shell == nil then opts.shell = true end
  return run_child("sh", { command }, opts)
end

return run
