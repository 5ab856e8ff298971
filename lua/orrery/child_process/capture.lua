--- A child to its end, with its output collected within bounds: what run, sh,
--- exec, exec_file and pipeline share. It touches the child by its public
--- methods, and by `output_`, `when_over_` and `end_by_`.

local arguments = require "orrery.child_process.arguments"
local chunks = require "orrery.runtime.chunks"
local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local spawn_options = require "orrery.child_process.options"
local stdio = require "orrery.child_process.stdio"

local capture = {}

local STOP_GRACE = 5000 -- ms from kill_signal to SIGKILL
local CANCEL_GRACE = 2000 -- the same when the caller has been cancelled
local STDIO_GRACE = 250 -- ms for output after exit
local CR, LF = 13, 10

-- Arguments ------------------------------------------------------------------

--- The options of what collects output, for `options.check`: spawn's, and what
--- bounds the output.
capture.schema = options.copy(spawn_options.schema)
capture.schema.max_buffer = options.checks.size

--- Checks options, of which `input` needs a pipe to go through.
local function check(where, opts, schema)
  opts = options.check(where, opts, schema)
  if opts.input and opts.stdio then
    local plan = stdio.check(where, opts.stdio)
    local entry = plan.entries[0]
    if entry ~= nil and entry ~= "pipe" and entry ~= "socket"
      and not stdio.is_terminal(plan, 0) then
      options.raise("%s: option 'input' needs a pipe as stdin, but option "
        .. "'stdio' gives %s", where, options.show(entry))
    end
  end
  return opts
end

--- Reads the arguments of a function that runs a program: (file, args?,
--- options?) or ({file, args…}, options?). Raises unless they are good.
--- @param where string the function's name, for messages
--- @param schema table<string, function>
--- @return string[] argv
--- @return table opts
function capture.read_program(where, schema, file, args, opts)
  local argv
  argv, opts = arguments.split(where, file, args, opts)
  return argv, check(where, opts, schema)
end

--- Reads the arguments of a function that runs a command line by a shell.
--- Raises unless they are good.
--- @param where string the function's name, for messages
--- @param schema table<string, function>
--- @param command string
--- @param opts table?
--- @return string[] argv the command
--- @return table opts a copy, with a `shell`
function capture.read_command(where, schema, command, opts)
  options.argument(where, "the command", command, options.checks.string)
  opts = options.copy(check(where, opts, schema))
  if opts.shell == nil then opts.shell = true end
  return { command }, opts
end

--- Returns those of checked options that are spawn's; `timeout` is the
--- capture's.
--- @param opts table
--- @param default any what stdio is without the option
--- @return table opts a copy
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

-- Collecting -----------------------------------------------------------------

--- @class Capture
--- @field child Child
--- @field full "stdout"|"stderr"|nil what more than max_buffer came by
--- @field timed_out boolean
--- @field forced boolean it took SIGKILL
--- @field incomplete boolean something else still held its output open
--- @field error Error? why there is no code: ECHILD, other code took it
local Capture = class "orrery.Capture"

Capture.timed_out, Capture.forced, Capture.incomplete = false, false, false

--- Returns what calls fn(line) for each line of text that comes in pieces.
--- Called without a piece it hands out what is left.
local function line_feeder(fn, lines_end)
  local ends = chunks.ends[lines_end or "\n"]
  local pieces, after_cr = {}, false
  return function(chunk)
    local from = 1
    while chunk do
      if after_cr and from <= #chunk then
        after_cr = false
        if chunk:byte(from) == LF then from = from + 1 end
      end
      local at = chunk:find(ends, from)
      chunks.add(pieces, chunk:sub(from, at and at - 1))
      if not at then return end
      after_cr = chunk:byte(at) == CR
      local line = table.concat(pieces)
      pieces, from = {}, at + 1
      fn(line)
    end
    local rest = table.concat(pieces)
    pieces = {}
    if rest ~= "" then fn(rest) end
  end
end

--- Ends a child that has used up its time or its room, or whose lines nothing
--- takes any more. Returns false if it has ended already.
local function end_child(self)
  return self.child:end_by_(self.signal_, self.grace_)
end

--- Returns what hands lines to fn until it raises: then that is what the
--- capture comes to.
local function taker(self, fn)
  return function(line)
    if self.thrown_ then return end
    local ok, err = pcall(fn, line)
    if ok then return end
    self.thrown_ = { err }
    end_child(self)
  end
end

--- Collects one output, up to `limit` bytes.
--- @return {pieces: string[], feed: function?}
local function gather(self, n, name, limit, feed)
  local pieces, size, is_full = {}, 0, false
  self.child:output_(n, function(chunk)
    local room = limit - size
    if #chunk > room then
      chunk = chunk:sub(1, room)
      if not is_full then
        is_full, self.full = true, name
        end_child(self)
      end
    end
    size = size + #chunk
    chunks.add(pieces, chunk)
    if feed then feed(chunk) end
  end)
  return { pieces = pieces, feed = feed }
end

--- Starts collecting, and the clock.
--- @param child Child one that runs
--- @param opts table checked: timeout, kill_signal, stdio_grace, max_buffer,
---   on_stdout, on_stderr, lines_end
--- @param max_buffer integer bytes a stream without the option
--- @return Capture
function capture.start(child, opts, max_buffer)
  local self = setmetatable({
    child = child,
    signal_ = opts.kill_signal or "SIGTERM",
    grace_ = STOP_GRACE,
  }, Capture)
  local limit = opts.max_buffer or max_buffer
  local on_stdout, on_stderr = opts.on_stdout, opts.on_stderr
  self.stdout_ = gather(self, 1, "stdout", limit,
    on_stdout and line_feeder(taker(self, on_stdout), opts.lines_end))
  self.stderr_ = gather(self, 2, "stderr", limit,
    on_stderr and line_feeder(taker(self, on_stderr), opts.lines_end))
  child:when_over_(opts.stdio_grace or STDIO_GRACE, function(incomplete, forced)
    self.is_over_, self.incomplete, self.forced = true, incomplete, forced
    if self.on_over_ then self.on_over_() end
  end)
  if opts.timeout and opts.timeout > 0 then
    self.timer_ = clock.after(opts.timeout, function()
      self.timed_out = end_child(self)
    end)
  end
  return self
end

--- Leaves nothing of a capture that is over, or given up: no timer, no line.
local function finish(self)
  if self.timer_ then self.timer_:stop() end
  if self.stdout_.feed then self.stdout_.feed() end
  if self.stderr_.feed then self.stderr_.feed() end
end

--- Returns what child:wait gives, at once; keeps the error for the result.
local function status(self)
  local code, signal = self.child:wait()
  if code then return code, signal end
  self.error = signal
end

--- Calls fn(code, signal) when it is over.
--- @param fn fun(code: integer?, signal: string?) as `await` returns them
function Capture:when_over(fn)
  self.on_over_ = function()
    finish(self)
    fn(status(self))
  end
end

--- Stops the child and closes its streams.
local function give_up(self)
  local child <close> = self.child
  child:stop({ signal = self.signal_, grace = CANCEL_GRACE })
end

--- Waits for the exit, and for the output as far as `stdio_grace` allows. A
--- task that is cancelled takes the child along: stopped and reaped first.
--- Raises what on_stdout or on_stderr raised. [w]
--- @return integer? code as child:wait; nil if other code took the status, and
---   self.error says so
--- @return string? signal
function Capture:await()
  local ok, err = true, nil
  if not self.is_over_ then
    ok, err = pcall(scheduler.wait, function(wake) self.on_over_ = wake end,
      nil, "run")
  end
  if not ok then scheduler.shield(pcall, give_up, self) end
  finish(self)
  if not ok then error(err, 0) end
  if self.thrown_ then error(self.thrown_[1], 0) end
  return status(self)
end

--- Returns what has been collected.
--- @return string stdout
--- @return string stderr
function Capture:output()
  return table.concat(self.stdout_.pieces), table.concat(self.stderr_.pieces)
end

--- @class Result
--- @field ok boolean it ended by itself, with code 0
--- @field code integer? 128+n if signal n ended it
--- @field signal string?
--- @field error Error? why there is no code: ECHILD, other code took it
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

--- Returns what it came to, but for the duration, which the caller knows.
--- @param command string
--- @param code integer? and signal, as `await` returns them
--- @return Result
function Capture:result(command, code, signal)
  local child = self.child
  local stdout, stderr = self:output()
  return {
    ok = code == 0 and not self.timed_out and not self.full,
    code = code,
    signal = signal,
    error = self.error,
    stdout = stdout,
    stderr = stderr,
    timed_out = self.timed_out,
    truncated = self.full ~= nil,
    killed = child.killed,
    forced = self.forced,
    stdio_incomplete = self.incomplete,
    usage = child.usage,
    pid = child.pid,
    command = command,
  }
end

return capture
