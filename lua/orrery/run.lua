--- `run` and `sh`: a program to its end, with its output collected.

local core = require "orrery.core"
local clock = require "orrery.clock"
local options = require "orrery.options"
local spawn = require "orrery.spawn"
local scheduler = require "orrery.scheduler"

local run = {}

local MAX_BUFFER = 100 * 1024 * 1024 -- bytes a stream
local STDIO_GRACE = 250 -- ms for output after exit
local STOP_GRACE = 5000 -- ms from kill_signal to SIGKILL

local process = core.process()

local schema = { max_buffer = options.checks.size }
for name, check in pairs(spawn.schema) do schema[name] = check end

--- What is collected of one stream, up to `limit`.
local function collect(stream, limit, on_full)
  local self = { chunks = {}, size = 0, closed = stream == nil }
  if not stream then return self end
  stream:on("data", function(chunk)
    local room = limit - self.size
    if #chunk > room then
      chunk = chunk:sub(1, room)
      if not self.full then
        self.full = true
        on_full()
      end
    end
    self.size = self.size + #chunk
    self.chunks[#self.chunks + 1] = chunk
  end)
  return self
end

--- Stops a child that has used up its time, or its room.
local function end_child(job, reason)
  if job.stopping or not job.child.process_ then return end
  job[reason] = true
  job.stopping = scheduler.go(function()
    local result = job.child:stop({ signal = job.signal, grace = STOP_GRACE })
    job.forced = result and result.forced
  end)
end

--- Waits for the exit and then, `stdio_grace` at most, for the output's end.
local function await(job)
  local child = job.child
  local code, signal = child:wait()
  if job.stopping then job.stopping:join() end
  if not child.closed_ then
    local done = child:wait_for("close", job.stdio_grace)
    job.incomplete = done == nil and not child.closed_
  end
  return code, signal
end

--- A task that is cancelled takes its child along: stopped and reaped first.
local function await_or_stop(job)
  local ok, code, signal = pcall(await, job)
  if ok then return code, signal end
  scheduler.shield(pcall, job.child.stop, job.child,
    { signal = job.signal, grace = STOP_GRACE })
  job.child:abandon_()
  error(code, 0)
end

local function close_streams(child)
  for _, stream in pairs(child.stdio) do stream:destroy() end
end

--- @class Result
--- @field ok boolean it ended by itself, with code 0
--- @field code integer 128+n where signal n ended it
--- @field signal string?
--- @field stdout string
--- @field stderr string
--- @field timed_out boolean
--- @field truncated boolean more than max_buffer came
--- @field killed boolean we sent a signal
--- @field forced boolean it took SIGKILL
--- @field stdio_incomplete boolean something else still held its output open
--- @field duration number ms
--- @field usage table as child.usage
--- @field pid integer
--- @field command string

local function result_of(job, code, signal)
  local child = job.child
  return {
    ok = code == 0 and not job.timed_out and not job.truncated,
    code = code,
    signal = signal,
    stdout = table.concat(job.out.chunks),
    stderr = table.concat(job.err.chunks),
    timed_out = job.timed_out or false,
    truncated = job.truncated or false,
    killed = child.killed,
    forced = job.forced or false,
    stdio_incomplete = job.incomplete or false,
    duration = (process:hrtime() - job.begun) / 1e6,
    usage = child.usage,
    pid = child.pid,
    command = job.command,
  }
end

--- A hint for run("ls -l"), which is a file name with a space in it.
local function add_hint(err, words)
  if err.code == "ENOENT" and err.stage == "exec" and #words == 1
    and words[1]:find("%s") then
    err.message = err.message
      .. ("; for a command line use sh(%q)"):format(words[1])
  end
  return err
end

--- Splits the options into spawn's and ours.
local function job_of(child, opts, command, begun)
  local job = {
    child = child,
    begun = begun,
    command = command,
    signal = opts.kill_signal or "SIGTERM",
    stdio_grace = opts.stdio_grace or STDIO_GRACE,
  }
  local limit = opts.max_buffer or MAX_BUFFER
  local function full() end_child(job, "truncated") end
  job.out = collect(child.stdout, limit, full)
  job.err = collect(child.stderr, limit, full)
  return job
end

local function spawn_options(opts)
  local copy = {}
  for name, value in pairs(opts) do
    if spawn.schema[name] then copy[name] = value end
  end
  copy.timeout = nil
  copy.stdio = copy.stdio or { "ignore", "pipe", "pipe" }
  if copy.die_with_parent == nil then copy.die_with_parent = true end
  return copy
end

local function run_child(where, argv, opts)
  local begun, words = process:hrtime(), { table.unpack(argv) }
  local child = spawn.start(where, argv, spawn_options(opts), 3)
  if not child.pid then
    local _, err = child:wait()
    return nil, add_hint(err, words)
  end
  local job = job_of(child, opts, table.concat(words, " "), begun)
  local timer = opts.timeout and opts.timeout > 0
    and clock.after(opts.timeout, function() end_child(job, "timed_out") end)
  local _ <close> = setmetatable({}, {
    __close = function()
      if timer then timer:stop() end
      close_streams(child)
    end,
  })
  return result_of(job, await_or_stop(job))
end

--- Runs a program to its end and collects its output. stdin is at its end. [w]
---
---     local result = assert(run("git", {"rev-parse", "HEAD"}))
---
--- @param file string|string[] or a list {file, args…}
--- @param args string[]?
--- @param opts table? spawn's, and max_buffer (bytes a stream, 100 MiB)
--- @return Result? result nil, err where it could not start
--- @return Error? err
function run.run(file, args, opts)
  local argv
  argv, opts = spawn.arguments("run", file, args, opts, 2)
  opts = options.check("run", opts, schema, 2)
  local why = scheduler.forbidden("run")
  if why then error(why, 2) end
  local result, err = run_child("run", argv, opts)
  return result, err
end

--- Runs a command line by /bin/sh to its end. [w]
--- @param command string
--- @param opts table? as run's
--- @return Result?, Error?
function run.sh(command, opts)
  options.argument("sh", "the command", command, options.checks.string, 2)
  opts = options.check("sh", opts, schema, 2)
  local why = scheduler.forbidden("sh")
  if why then error(why, 2) end
  opts = options.copy(opts)
  if opts.shell == nil then opts.shell = true end
  local result, err = run_child("sh", { command }, opts)
  return result, err
end

return run
