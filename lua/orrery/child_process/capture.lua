--- A child to its end, with its output collected within bounds: what run, sh,
--- exec and exec_file share.

local clock = require "orrery.runtime.clock"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local spawn_options = require "orrery.child_process.options"
local stdio = require "orrery.child_process.stdio"

local capture = {}

local STOP_GRACE = 5000 -- ms from kill_signal to SIGKILL
local CANCEL_GRACE = 2000 -- the same where the caller has been cancelled
local STDIO_GRACE = 250 -- ms for output after exit
local GRACE_STEPS = 8 -- in which that time is counted
local POLL_TURNS = 3 -- of loop.later: between the first and the last is a poll

--- The options of spawn, and what bounds the output.
capture.schema = options.copy(spawn_options.schema)
capture.schema.max_buffer = options.checks.size

--- options.check for what may have `input`, which needs a pipe to go through.
--- @return table options
function capture.check(where, opts, schema)
  opts = options.check(where, opts, schema)
  if opts.input and opts.stdio then
    local entry = stdio.check(where, opts.stdio).entries[0]
    if entry ~= nil and entry ~= "pipe" and entry ~= "socket" then
      options.raise("%s: option 'input' needs a pipe as stdin, but "
        .. "option 'stdio' gives %s", where, options.show(entry))
    end
  end
  return opts
end

--- The options that are spawn's; timeout is ours.
--- @param default any what stdio is without the option
function capture.spawn_options(opts, default)
  local copy = {}
  for name, value in next, opts do
    if spawn_options.schema[name] then copy[name] = value end
  end
  copy.timeout = nil
  copy.stdio = copy.stdio or default
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

--- What is collected of one end, up to `limit`.
local function gather(child, n, limit, on_full, on_line)
  local self = { chunks = {}, size = 0 }
  local feed = on_line and line_feeder(on_line)
  self.feed = feed
  child.ends_:collect(n, function(chunk)
    local room = limit - self.size
    if #chunk > room then
      chunk = chunk:sub(1, room)
      if not self.full then
        self.full = true
        on_full(n)
      end
    end
    self.size = self.size + #chunk
    self.chunks[#self.chunks + 1] = chunk
    if feed then feed(chunk) end
  end)
  return self
end

--- Stops a child that has used up its time or its room, or whose lines nobody
--- can take.
local function end_child(job)
  if job.stopping or not job.child.process_ then return end
  job.stopping = scheduler.go(function()
    local result = job.child:stop({ signal = job.signal, grace = job.grace })
    job.forced = result and result.forced
  end)
end

--- Hands lines to fn until it raises; that is what the job comes to then.
local function taker(job, fn)
  return fn and function(line)
    if job.thrown then return end
    local ok, err = pcall(fn, line)
    if ok then return end
    job.thrown = { err }
    end_child(job)
  end
end

--- Lets the loop look at its fds once, without blocking. Where timers are due,
--- or in a turn of plain lua5.4, ticks may run many times before it does.
local function pass_poll()
  scheduler.wait(function(wake)
    local left = POLL_TURNS
    local function turn()
      left = left - 1
      if left == 0 then wake() else loop.later(turn) end
    end
    loop.later(turn)
  end, nil, "run")
end

--- The job is over: tells who waits for it, once its child is not being stopped
--- any more.
local function over(job)
  if job.over then return end
  local stopping = job.stopping
  if stopping and stopping.status == "running" then
    return scheduler.on_end(stopping, function() over(job) end)
  end
  job.over = true
  job.incomplete = not job.child.closed_ or job.child.ends_.failed ~= nil
  if job.on_end then job.on_end() end
end

--- Waits for the output's end, `stdio_grace` at most. It is counted in steps,
--- each of which ends with a poll: a loop that was held up has lost one step,
--- and always looks at what has come before it gives up.
local function await_output(job)
  local child, left = job.child, job.stdio_grace
  local step = math.max(1, left // GRACE_STEPS)
  while not child.closed_ do
    child:wait_for("close", math.min(step, left))
    if not child.closed_ then
      child.ends_:drain()
      pass_poll()
    end
    left = left - step
    if left <= 0 then break end
  end
  over(job)
end

--- Has the end of the child, and of its output, end the job.
local function watch(job)
  local child = job.child
  child.on_closed_ = function() over(job) end
  child:on_exit_(function()
    loop.at_turn_end(function()
      if not child.closed_ then scheduler.go(await_output, job) end
    end)
  end)
end

--- Starts collecting, and the clock.
--- @class Job
--- @field out {chunks: string[]} @field err {chunks: string[]}
--- @return Job
function capture.start(child, opts, max_buffer)
  local job = {
    child = child,
    signal = opts.kill_signal or "SIGTERM",
    stdio_grace = opts.stdio_grace or STDIO_GRACE,
    grace = STOP_GRACE,
  }
  local limit = opts.max_buffer or max_buffer
  local function full(n)
    job.full = n == 1 and "stdout" or "stderr"
    job.truncated = true
    end_child(job)
  end
  job.out = gather(child, 1, limit, full, taker(job, opts.on_stdout))
  job.err = gather(child, 2, limit, full, taker(job, opts.on_stderr))
  watch(job)
  if opts.timeout and opts.timeout > 0 then
    job.timer = clock.after(opts.timeout, function()
      job.timed_out = child.process_ and true or false
      end_child(job)
    end)
  end
  return job
end

--- Ends a job that is over, or given up: nothing of it is left open.
local function close(job)
  if job.timer then job.timer:stop() end
  job.child.ends_:close()
  if job.out.feed then job.out.feed() end
  if job.err.feed then job.err.feed() end
end

--- What the child of a job that is over has come to.
--- @return integer? code as child:wait; nil where somebody else took the
---   status, and job.error says so
--- @return string? signal
local function status(job)
  local code, signal = job.child:status_()
  if code then return code, signal end
  job.error = signal
end

--- Calls fn(code, signal) when the job is over.
--- @param fn fun(code: integer?, signal: string?)
function capture.when_over(job, fn)
  job.on_end = function()
    close(job)
    fn(status(job))
  end
end

--- Waits for the exit, and for the output as far as `stdio_grace` allows. A task
--- that is cancelled takes the child along: stopped and reaped first. Raises
--- what on_stdout or on_stderr raised. [w]
--- @return integer? code as child:wait; nil where somebody else took the
---   status, and job.error says so
--- @return string? signal
function capture.await(job)
  local ok, err = true, nil
  if not job.over then
    ok, err = pcall(scheduler.wait, function(wake) job.on_end = wake end, nil, "run")
  end
  if not ok then
    scheduler.shield(pcall, job.child.stop, job.child,
      { signal = job.signal, grace = CANCEL_GRACE })
    job.child:abandon_()
  end
  close(job)
  if not ok then error(err, 0) end
  if job.thrown then error(job.thrown[1], 0) end
  return status(job)
end

--- @return string stdout, string stderr
function capture.output(job)
  return table.concat(job.out.chunks), table.concat(job.err.chunks)
end

--- @class Result
--- @field ok boolean it ended by itself, with code 0
--- @field code integer? 128+n where signal n ended it
--- @field signal string?
--- @field error Error? why there is no code: ECHILD, somebody else took it
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
--- @param code integer? and signal, as collect.await gives them
--- @return Result
function capture.result(job, command, code, signal)
  local child = job.child
  local stdout, stderr = capture.output(job)
  return {
    ok = code == 0 and not job.timed_out and not job.truncated,
    code = code,
    signal = signal,
    error = job.error,
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

return capture
