--- A child to its end, with its output collected within bounds: what run, sh,
--- exec and exec_file share.

local clock = require "orrery.clock"
local options = require "orrery.options"
local scheduler = require "orrery.scheduler"
local spawn = require "orrery.spawn"

local collect = {}

local STOP_GRACE = 5000 -- ms from kill_signal to SIGKILL
local STDIO_GRACE = 250 -- ms for output after exit

--- The options of spawn, and what bounds the output.
collect.schema = options.copy(spawn.schema)
collect.schema.max_buffer = options.checks.size

--- The options that are spawn's; timeout is ours.
--- @param stdio any what stdio is by default
function collect.spawn_options(opts, stdio)
  local copy = {}
  for name, value in next, opts do
    if spawn.schema[name] then copy[name] = value end
  end
  copy.timeout = nil
  copy.stdio = copy.stdio or stdio
  if copy.die_with_parent == nil then copy.die_with_parent = true end
  return copy
end

--- Calls fn(line) for each line of what comes in pieces. Called without a piece
--- it hands out what is left.
local function line_feeder(fn)
  local pieces = {}
  return function(chunk)
    local from = 1
    while chunk do
      local at = chunk:find("\n", from, true)
      pieces[#pieces + 1] = chunk:sub(from, at and at - 1)
      if not at then return end
      local line = table.concat(pieces)
      pieces, from = {}, at + 1
      fn(line)
    end
    local rest = table.concat(pieces)
    pieces = {}
    if rest ~= "" then fn(rest) end
  end
end

--- What is collected of one stream, up to `limit`.
local function gather(stream, limit, on_full, on_line)
  local self = { chunks = {}, size = 0 }
  if not stream then return self end
  local feed = on_line and line_feeder(on_line)
  self.feed = feed
  stream:on("data", function(chunk)
    local room = limit - self.size
    if #chunk > room then
      chunk = chunk:sub(1, room)
      if not self.full then
        self.full = true
        on_full(stream)
      end
    end
    self.size = self.size + #chunk
    self.chunks[#self.chunks + 1] = chunk
    if feed then feed(chunk) end
  end)
  return self
end

--- Stops a child that has used up its time, or its room.
local function end_child(job)
  if job.stopping or not job.child.process_ then return end
  job.stopping = scheduler.go(function()
    local result = job.child:stop({ signal = job.signal, grace = job.grace })
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

--- Starts collecting, and the clock.
--- @class Job
--- @field out {chunks: string[]} @field err {chunks: string[]}
--- @return Job
function collect.start(child, opts, max_buffer)
  local job = {
    child = child,
    signal = opts.kill_signal or "SIGTERM",
    stdio_grace = opts.stdio_grace or STDIO_GRACE,
    grace = opts.stop_grace or STOP_GRACE,
  }
  local limit = opts.max_buffer or max_buffer
  local function full(stream)
    job.full = stream == child.stdout and "stdout" or "stderr"
    job.truncated = true
    end_child(job)
  end
  job.out = gather(child.stdout, limit, full, opts.on_stdout)
  job.err = gather(child.stderr, limit, full, opts.on_stderr)
  if opts.timeout and opts.timeout > 0 then
    job.timer = clock.after(opts.timeout, function()
      job.timed_out = child.process_ ~= nil
      end_child(job)
    end)
  end
  return job
end

local function close(job)
  if job.timer then job.timer:stop() end
  for _, stream in pairs(job.child.stdio) do stream:destroy() end
  if job.out.feed then job.out.feed() end
  if job.err.feed then job.err.feed() end
end

--- Waits for the exit, and for the output as far as `stdio_grace` allows. A task
--- that is cancelled takes the child along: stopped and reaped first. [w]
--- @return integer code as child:wait
--- @return string? signal
function collect.await(job)
  local _ <close> = setmetatable({}, { __close = function() close(job) end })
  local ok, code, signal = pcall(await, job)
  if ok then return code, signal end
  scheduler.shield(pcall, job.child.stop, job.child,
    { signal = job.signal, grace = job.grace })
  job.child:abandon_()
  error(code, 0)
end

--- @return string stdout, string stderr
function collect.output(job)
  return table.concat(job.out.chunks), table.concat(job.err.chunks)
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

--- What a job came to; the duration is the caller's to tell.
--- @param command string
--- @param code integer and signal, as collect.await gives them
--- @return Result
function collect.result(job, command, code, signal)
  local child = job.child
  local stdout, stderr = collect.output(job)
  return {
    ok = code == 0 and not job.timed_out and not job.truncated,
    code = code,
    signal = signal,
    stdout = stdout,
    stderr = stderr,
    timed_out = job.timed_out or false,
    truncated = job.truncated or false,
    killed = child.killed,
    forced = job.forced or false,
    stdio_incomplete = job.incomplete or false,
    usage = child.usage,
    pid = child.pid,
    command = command,
  }
end

return collect
