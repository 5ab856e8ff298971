--- The sync family: a program to its end without the loop, for code that may
--- not wait. It cannot hang: a timeout ends in SIGKILL, and after the exit
--- whatever still holds the output has `stdio_grace`.

local core = require "orrery.core"
local capture = require "orrery.child_process.capture"
local chunks = require "orrery.runtime.chunks"
local clock = require "orrery.runtime.clock"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local reaper = require "orrery.child_process.reaper"
local signals = require "orrery.runtime.signals"
local spawn = require "orrery.child_process.spawn"
local stdio = require "orrery.child_process.stdio"

local sync = {}

local MAX_BUFFER = 1024 * 1024 -- bytes a stream, as in Node
local KILL_GRACE = 2000 -- ms from kill_signal to SIGKILL
local STDIO_GRACE = 250 -- ms for output after exit
local NO_PIDFD_STEP = 5 -- ms between two looks if no fd tells of the exit
local NEVER = math.huge
local LAST_READS = 16 -- of 64 KiB: more than a pipe holds

local function ignore() end

--- Takes what a keeper tells the owner of a family: here, nothing.
local NOBODY = { on_reaped_ = ignore, on_empty_ = ignore, on_gone_ = ignore }

local self_process = core.process()
local SIGKILL = core.signals.SIGKILL
local EAGAIN = core.errnos.EAGAIN

local schema = options.copy(capture.schema)
schema.input = options.checks.bytes

--- @class SyncRun a program that runs, or has ended
--- @field spawned userdata orrery.spawn; orrery.keeper if it has one
--- @field family Keeper|Group|nil of a contained one, which may go on
--- @field process userdata orrery.spawn, which may be the keeper's
--- @field outputs table<integer, SyncOutput> by the child's fd
--- @field input string? what is written to `stdin`, from byte `at` on
--- @field stdin userdata? orrery.fd, until all is written
--- @field deadline number|false|nil when it is ended, on clock.now's scale
--- @field kill_at number? when SIGKILL follows
--- @field passed_on boolean? it has the signal that ends this process
--- @field output_until number? after its end: when its output is given up
--- @field limit integer bytes of an output
--- @field signal integer that ends it
--- @field grace integer ms for output after its end
--- @field ended boolean? then `code`, or `ended_by`, the signal's name
--- @field error Error? why it was ended, or its status is not known

--- @class SyncOutput
--- @field fd userdata orrery.fd
--- @field chunks string[]
--- @field size integer bytes

--- Listens to what keeps the family.
local function watch_family(self)
  local family = self.family
  self.spawned = family.handle or self.process
  local ok = family:watch(self.process, NOBODY)
  if not ok then family:on_reaped_() end -- its end would not be told
end

--- @return SyncRun
local function new(start, opts)
  local self = {
    spawned = start.spawned, process = start.spawned, family = start.family,
    outputs = {}, at = 1,
    limit = opts.max_buffer or MAX_BUFFER,
    signal = signals.number(opts.kill_signal or "SIGTERM"),
    grace = opts.stdio_grace or STDIO_GRACE,
    deadline = opts.timeout and opts.timeout > 0
      and clock.due_in(opts.timeout),
  }
  if self.family then watch_family(self) end
  for number, fd in pairs(start.ends) do
    fd:set_nonblocking(true)
    if number == 0 and opts.input then
      self.input, self.stdin = opts.input, fd
    elseif number == 0 then
      fd:close()
    else
      self.outputs[number] = { fd = fd, chunks = {}, size = 0 }
    end
  end
  return self
end

--- Sends a signal to the program, or to its family if that is contained.
local function send(self, signal)
  if not self.family then return self.spawned:kill(signal) end
  local mark, born = self.process:family()
  local function root() return not self.ended and self.spawned:pid() or nil end
  require "orrery.child_process.keeper".request(self.family, "signal",
    { signal = signal, root = root, born = born, mark = mark }, ignore)
end

--- Signals, once; SIGKILL follows.
local function end_child(self, code)
  if self.error then return end
  self.error = errors.new(code, code == "ETIMEDOUT"
    and "the program timed out" or "the program wrote more than max_buffer")
  send(self, self.signal)
  self.kill_at = clock.due_in(KILL_GRACE)
end

local function write_input(self)
  local n, errno = self.stdin:write(self.input, self.at)
  if n then self.at = self.at + n end
  if self.at > #self.input or (errno and errno ~= EAGAIN) then
    self.stdin:close()
    self.stdin = nil
  end
end

--- Reads once. Returns whether there was something to be read.
local function read_output(self, output)
  local data, errno = output.fd:read()
  if not data and errno == EAGAIN then return false end
  if not data or data == "" then
    output.fd:close()
    return false
  end
  local room = self.limit - output.size
  if #data > room then
    data = data:sub(1, room)
    end_child(self, "ENOBUFS")
  end
  output.size = output.size + #data
  chunks.add(output.chunks, data)
  return true
end

--- Reads what is in the pipes: when the time is over, it was written in time.
local function read_rest(self)
  for _, output in pairs(self.outputs) do
    for _ = 1, LAST_READS do
      if not output.fd:fileno() or not read_output(self, output) then break end
    end
  end
end

--- Tells whether the program has ended. Takes in other children that have, too.
local function ended(self)
  if not self.ended then
    reaper.reap()
    if self.spawned ~= self.process then self.family:take() end
    local code, signal, running = self.spawned:status()
    if running then return false end
    self.ended, self.code = true, code
    self.ended_by = signal and signals.name(signal)
    if not code and not signal then
      self.error = self.error or reaper.status_taken(self.spawned:pid())
    end
    self.output_until = clock.due_in(self.grace)
  end
  return true
end

--- Returns how many ms the next poll may take, until the earliest deadline; -1:
--- any number.
local function patience(self, reaper_fd)
  local due = math.min(self.deadline or NEVER, self.kill_at or NEVER,
    self.output_until or NEVER)
  local left = due == NEVER and -1 or math.max(0, due - clock.now())
  if not reaper_fd and not self.ended then
    left = left < 0 and NO_PIDFD_STEP or math.min(left, NO_PIDFD_STEP)
  end
  return math.tointeger(left)
end

--- Gives the program the signal that is to end this process, if one has come;
--- the core ends us when the program has ended.
local function pass_signal_on(self)
  if self.passed_on or not core.ending.noted() then return end
  self.passed_on = true
  core.ending.pass_on()
  self.kill_at = clock.due_in(KILL_GRACE)
end

--- Does what is due: ends the program, or kills it, unless it has ended by
--- itself, which nothing may have told yet.
local function keep_time(self)
  pass_signal_on(self)
  local time = clock.now()
  if time < math.min(self.deadline or NEVER, self.kill_at or NEVER)
    or ended(self) then
    return
  end
  if self.deadline and time >= self.deadline then
    self.deadline = nil
    end_child(self, "ETIMEDOUT")
  end
  if self.kill_at and time >= self.kill_at then
    self.kill_at = nil
    send(self, SIGKILL)
  end
end

--- Waits, then reads and writes what can be. Returns false when all is over.
local function step(self, reaper_fd)
  local readers, writers = {}, {}
  for _, output in pairs(self.outputs) do
    readers[#readers + 1] = output.fd:fileno()
  end
  if ended(self) then
    self.deadline, self.kill_at = nil, nil
    if #readers == 0 then return false end
    if clock.now() >= self.output_until then
      read_rest(self)
      return false
    end
  elseif reaper_fd then
    readers[#readers + 1] = reaper_fd
    if self.spawned ~= self.process then
      readers[#readers + 1] = self.spawned:fileno()
    end
  end
  if self.stdin then writers[1] = self.stdin:fileno() end
  core.poll(readers, writers, patience(self, reaper_fd))
  keep_time(self)
  if self.stdin then write_input(self) end
  for _, output in pairs(self.outputs) do
    if output.fd:fileno() then read_output(self, output) end
  end
  return true
end

--- Runs it to its end; nothing is left open.
local function run(self)
  local reaper_fd = core.reaper_fd()
  while step(self, reaper_fd) do end
  if self.stdin then self.stdin:close() end
  for _, output in pairs(self.outputs) do output.fd:close() end
end

--- @class SyncResult
--- @field pid integer? nil if it could not start
--- @field status integer? the exit code; nil if a signal ended it
--- @field signal string?
--- @field stdout string?
--- @field stderr string?
--- @field output table<integer, string> by fd
--- @field error Error? why it could not start; ETIMEDOUT, ENOBUFS; ECHILD if
---   other code took its status

--- Raises if `stdio` has a channel or a terminal, which need the loop.
local function check_stdio(where, value)
  local plan = stdio.check(where, value)
  if plan.channel then
    options.raise("%s: option 'stdio': a channel needs the loop, which stands "
      .. "still meanwhile (ERR_IPC_SYNC_FORK): use spawn or fork", where)
  elseif plan.terminal then
    options.raise("%s: option 'stdio': a terminal needs the loop, which stands "
      .. "still meanwhile: use run or spawn", where)
  end
end

--- Runs a program whose arguments and options are checked.
--- @return SyncResult
local function execute(where, argv, opts)
  local own = capture.spawn_options(opts,
    { opts.input and "pipe" or "ignore", "pipe", "pipe" })
  check_stdio(where, own.stdio)
  local start, err = spawn.begin(where, argv, own)
  if not start then return { output = {}, error = err } end
  local self = new(start, opts)
  run(self)
  local output = {}
  for number, one in pairs(self.outputs) do
    output[number] = table.concat(one.chunks)
  end
  return {
    pid = self.spawned:pid(),
    status = self.code,
    signal = self.ended_by,
    error = self.error,
    output = output,
    stdout = output[1],
    stderr = output[2],
  }
end

--- Runs a program to its end, blocking everything else.
--- @param file string|string[] or a list {file, args…}
--- @param args string[]?
--- @param opts table? spawn's; input (string), timeout (ms), max_buffer (bytes
---   a stream, 1 MiB), kill_signal, stdio_grace (ms, 250)
--- @return SyncResult result
function sync.spawn_sync(file, args, opts)
  local argv
  argv, opts = capture.read_program("spawn_sync", schema, file, args, opts)
  return execute("spawn_sync", argv, opts)
end

--- Returns stdout, or nil and why not; shows the program's stderr as ours.
local function output_or_error(result, command)
  if result.stderr and result.stderr ~= "" then
    self_process:write(2, result.stderr)
  end
  if result.error and not result.pid then return nil, result.error end
  if result.status == 0 and not result.error then
    return result.stdout or ""
  end
  local err = errors.new("", "Command failed: " .. command .. "\n"
    .. (result.stderr or ""), options.copy(result))
  err.code = result.error and result.error.code or result.status
  err.cmd = command
  return nil, err
end

--- Runs a program to its end as spawn_sync does, for its output; shows its
--- stderr as ours.
--- @param file string|string[] or a list {file, args…}
--- @param args string[]?
--- @param opts table? as spawn_sync's
--- @return string? stdout nil unless it ended with 0
--- @return Error? err with `status signal stdout stderr`; its `code` is the
---   exit code, ETIMEDOUT, ENOBUFS, ECHILD, or why it could not start
function sync.exec_file_sync(file, args, opts)
  local argv
  argv, opts = capture.read_program("exec_file_sync", schema, file, args, opts)
  local command = table.concat(argv, " ")
  return output_or_error(execute("exec_file_sync", argv, opts), command)
end

--- Runs a command line by /bin/sh, or `shell`, to its end, for its output.
--- @param command string
--- @param opts table? as spawn_sync's
--- @return string? stdout nil unless it ended with 0
--- @return Error? err as exec_file_sync's
function sync.exec_sync(command, opts)
  local argv
  argv, opts = capture.read_command("exec_sync", schema, command, opts)
  return output_or_error(execute("exec_sync", argv, opts), command)
end

return sync
