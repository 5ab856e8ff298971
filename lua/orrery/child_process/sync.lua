--- The sync family: a program to its end without the loop, for code that may not
--- wait. It cannot hang: a timeout ends in SIGKILL, and after the exit whatever
--- still holds the output has `stdio_grace`.

local core = require "orrery.core"
local Child = require "orrery.child_process.child"
local clock = require "orrery.runtime.clock"
local arguments = require "orrery.child_process.arguments"
local capture = require "orrery.child_process.capture"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local signals = require "orrery.runtime.signals"
local spawn = require "orrery.child_process.spawn"

local sync = {}

local MAX_BUFFER = 1024 * 1024 -- bytes a stream, as in Node
local KILL_GRACE = 2000 -- ms from kill_signal to SIGKILL
local STDIO_GRACE = 250 -- ms for output after exit
local NO_PIDFD_STEP = 5 -- ms between two looks where no fd tells of the exit
local LAST_READS = 16 -- of 64 KiB: more than a pipe holds

local self_process = core.process()
local SIGKILL = core.signals.SIGKILL
local EAGAIN = core.errnos.EAGAIN

local schema = options.copy(capture.schema)
schema.input = options.checks.bytes

--- @class SyncJob
--- @field outputs table<integer, {fd: userdata, chunks: string[], size: integer}>

local function job_of(handle, ends, opts)
  local job = {
    handle = handle, outputs = {}, at = 1,
    limit = opts.max_buffer or MAX_BUFFER,
    signal = signals.number(opts.kill_signal or "SIGTERM"),
    grace = opts.stdio_grace or STDIO_GRACE,
    deadline = opts.timeout and opts.timeout > 0 and clock.due_in(opts.timeout),
  }
  for number, fd in pairs(ends) do
    fd:set_nonblocking(true)
    if number == 0 and opts.input then
      job.input, job.stdin = opts.input, fd
    elseif number == 0 then
      fd:close()
    else
      job.outputs[number] = { fd = fd, chunks = {}, size = 0 }
    end
  end
  return job
end

--- Signals, once; SIGKILL follows.
local function end_child(job, code)
  if job.error then return end
  job.error = errors.new(code, code == "ETIMEDOUT"
    and "the program timed out" or "the program wrote more than max_buffer")
  job.handle:kill(job.signal)
  job.kill_at = clock.due_in(KILL_GRACE)
end

local function write_input(job)
  local n, errno = job.stdin:write(job.input, job.at)
  if n then job.at = job.at + n end
  if job.at > #job.input or (errno and errno ~= EAGAIN) then
    job.stdin:close()
    job.stdin = nil
  end
end

--- Whether there was something to be read.
local function read_output(job, output)
  local data, errno = output.fd:read()
  if not data and errno == EAGAIN then return false end
  if not data or data == "" then
    output.fd:close()
    return false
  end
  local room = job.limit - output.size
  if #data > room then
    data = data:sub(1, room)
    end_child(job, "ENOBUFS")
  end
  output.size = output.size + #data
  output.chunks[#output.chunks + 1] = data
  return true
end

--- What is in the pipes when the time is over was written in time.
local function read_rest(job)
  for _, output in pairs(job.outputs) do
    for _ = 1, LAST_READS do
      if not output.fd:fileno() or not read_output(job, output) then break end
    end
  end
end

--- Whether the program has ended; the children of others are taken in too.
local function ended(job)
  if not job.ended then
    Child.reap()
    local code, signal, running = job.handle:status()
    if running then return false end
    job.ended, job.code = true, code
    job.ended_by = signal and signals.name(signal)
    if not code and not signal then
      job.error = job.error or Child.status_taken(job.handle:pid())
    end
    job.output_until = clock.due_in(job.grace)
  end
  return true
end

--- How long the next poll may take: until the earliest of our deadlines.
local function patience(job, reaper_fd)
  local due = math.huge
  for _, at in pairs { job.deadline or nil, job.kill_at, job.output_until } do
    due = math.min(due, at)
  end
  local left = due == math.huge and -1 or math.max(0, due - clock.now())
  if not reaper_fd and not job.ended then
    left = left < 0 and NO_PIDFD_STEP or math.min(left, NO_PIDFD_STEP)
  end
  return math.tointeger(left)
end

--- Does what is due.
local function keep_time(job)
  if job.ended then return end
  local time = clock.now()
  if job.deadline and time >= job.deadline then
    job.deadline = nil
    end_child(job, "ETIMEDOUT")
  end
  if job.kill_at and time >= job.kill_at then
    job.kill_at = nil
    job.handle:kill(SIGKILL)
  end
end

--- One round: waits, then reads and writes what can be. False when all is over.
local function step(job, reaper_fd)
  local readers, writers = {}, {}
  for _, output in pairs(job.outputs) do
    readers[#readers + 1] = output.fd:fileno()
  end
  if ended(job) then
    job.deadline, job.kill_at = nil, nil
    if #readers == 0 then return false end
    if clock.now() >= job.output_until then
      read_rest(job)
      return false
    end
  elseif reaper_fd then
    readers[#readers + 1] = reaper_fd
  end
  if job.stdin then writers[1] = job.stdin:fileno() end
  core.poll(readers, writers, patience(job, reaper_fd))
  keep_time(job)
  if job.stdin then write_input(job) end
  for _, output in pairs(job.outputs) do
    if output.fd:fileno() then read_output(job, output) end
  end
  return true
end

local function run(job)
  local reaper_fd = core.reaper_fd()
  while step(job, reaper_fd) do end
  if job.stdin then job.stdin:close() end
  for _, output in pairs(job.outputs) do output.fd:close() end
end

--- @class SyncResult
--- @field pid integer? nil where it could not start
--- @field status integer? the exit code; nil where a signal ended it
--- @field signal string?
--- @field stdout string?
--- @field stderr string?
--- @field output table<integer, string> by fd
--- @field error Error? why it could not start; ETIMEDOUT, ENOBUFS; ECHILD where
---   somebody else took its status

local function execute(where, argv, opts)
  local spawned = options.copy(capture.spawn_options(opts,
    { opts.input and "pipe" or "ignore", "pipe", "pipe" }))
  for _, entry in next, type(spawned.stdio) == "table" and spawned.stdio or {} do
    if entry == "ipc" then
      options.raise("%s: option 'stdio': a channel needs the loop, which stands "
        .. "still meanwhile (ERR_IPC_SYNC_FORK): use spawn or fork", where)
    end
  end
  local start, err = spawn.begin(where, argv, spawned)
  if not start then return { output = {}, error = err } end
  local handle = start.spawned
  local job = job_of(handle, start.ends, opts)
  run(job)
  local result = {
    pid = handle:pid(), status = job.code, output = {}, error = job.error,
    signal = job.ended_by,
  }
  for number, output in pairs(job.outputs) do
    result.output[number] = table.concat(output.chunks)
  end
  result.stdout, result.stderr = result.output[1], result.output[2]
  return result
end

--- Runs a program to its end, blocking everything else.
--- @param file string|string[] or a list {file, args…}
--- @param args string[]?
--- @param opts table? spawn's; input (string), timeout (ms), max_buffer (bytes a
---   stream, 1 MiB), kill_signal, stdio_grace (ms)
--- @return SyncResult
function sync.spawn_sync(file, args, opts)
  local argv
  argv, opts = arguments.split("spawn_sync", file, args, opts)
  opts = capture.check("spawn_sync", opts, schema)
  return execute("spawn_sync", argv, opts)
end

--- stdout, or nil and why not; the program's stderr is shown as ours.
local function output_or_error(result, command)
  if result.stderr and result.stderr ~= "" then
    self_process:write(2, result.stderr)
  end
  if result.error and not result.pid then return nil, result.error end
  if result.status == 0 and not result.error then return result.stdout or "" end
  local err = errors.new("", "Command failed: " .. command .. "\n"
    .. (result.stderr or ""), options.copy(result))
  err.code = result.error and result.error.code or result.status
  err.cmd = command
  return nil, err
end

--- `spawn_sync` for those who want the output.
--- @return string? stdout nil, err unless it ended with 0
--- @return Error? err with `status signal stdout stderr`
function sync.exec_file_sync(file, args, opts)
  local argv
  argv, opts = arguments.split("exec_file_sync", file, args, opts)
  opts = capture.check("exec_file_sync", opts, schema)
  local command = table.concat(argv, " ")
  return output_or_error(execute("exec_file_sync", argv, opts), command)
end

--- The same for a command line, by a shell.
--- @param command string
--- @return string? stdout, Error? err
function sync.exec_sync(command, opts)
  options.argument("exec_sync", "the command", command, options.checks.string)
  opts = options.copy(capture.check("exec_sync", opts, schema))
  if opts.shell == nil then opts.shell = true end
  return output_or_error(execute("exec_sync", { command }, opts),
    command)
end

return sync
