--- `run` and `sh`: a program to its end, with its output collected.

local core = require "orrery.core"
local capture = require "orrery.child_process.capture"
local chunks = require "orrery.runtime.chunks"
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
schema.lines_end = chunks.check_ends
schema.input = options.checks.bytes

--- Adds a hint for run("ls -l"), which is a file name with a space in it.
local function add_hint(err, words)
  if err.code == "ENOENT" and err.stage == "exec" and #words == 1
    and words[1]:find("%s") then
    err.message = err.message
      .. ("; for a command line use sh(%q)"):format(words[1])
  end
end

local function trim(result)
  result.stdout = result.stdout:gsub("\n$", "")
  result.stderr = result.stderr:gsub("\n$", "")
end

--- Returns what `check` raises of a result that is not ok: it has the result,
--- and reads as what went wrong.
--- @param result Result
--- @return Error err (ERR_CHILD_PROCESS_FAILED)
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

run.failure = failure

--- Runs a program whose arguments and options are checked. Returns what `run`
--- does.
local function run_child(where, argv, opts)
  local begun, words = self_process:hrtime(), { table.unpack(argv) }
  local stdin = opts.input and "pipe" or "ignore"
  local child = spawn.start(where, argv,
    capture.spawn_options(opts, { stdin, "pipe", "pipe" }))
  if not child.pid then
    local _, err = child:wait()
    add_hint(err, words)
    if opts.check then error(err, 0) end
    return nil, err
  end
  local captured = capture.start(child, opts, MAX_BUFFER)
  if child.stdin then child.stdin:finish(opts.input) end
  local result = captured:result(table.concat(words, " "), captured:await())
  result.duration = (self_process:hrtime() - begun) / 1e6
  if opts.trim then trim(result) end
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
--- @param opts table? spawn's; input, check (raise unless ok, also if it cannot
---   start), trim (one final newline), on_stdout, on_stderr (fn(line); their
---   first error stops the program and is raised here), lines_end ("any": "\r"
---   and "\r\n" end their lines, too), max_buffer (bytes a stream, 100 MiB),
---   timeout, stdio_grace (ms)
--- @return Result? result
--- @return Error? err it could not start (ENOENT, EACCES, EMFILE …)
function run.run(file, args, opts)
  local argv
  argv, opts = capture.read_program("run", schema, file, args, opts)
  scheduler.checkpoint("run")
  return run_child("run", argv, opts)
end

--- Runs a command line by /bin/sh, or `shell`, to its end. [w]
--- @param command string
--- @param opts table? as run's
--- @return Result? result
--- @return Error? err the shell could not start (EACCES, EMFILE …)
function run.sh(command, opts)
  local argv
  argv, opts = capture.read_command("sh", schema, command, opts)
  scheduler.checkpoint("sh")
  return run_child("sh", argv, opts)
end

return run
