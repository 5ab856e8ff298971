--- `spawn`: checks what the caller wants, describes it to the core, and makes a
--- Child of what became of it. All that can raise comes before the first fd.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local arguments = require "orrery.child_process.arguments"
local child = require "orrery.child_process.child"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local reaper = require "orrery.child_process.reaper"
local spawn_options = require "orrery.child_process.options"
local stdio = require "orrery.child_process.stdio"
local variables = require "orrery.runtime.variables"

local spawn = {}

-- A channel of ours must not be our children's: it is taken over first.
if os.getenv("ORRERY_CHANNEL_FD") or os.getenv("NODE_CHANNEL_FD") then
  require "orrery.process"
end

local self_process = core.process()
local ENOENT = core.errnos.ENOENT

--- @class Start what a start is made of, and what it came to
--- @field file string
--- @field argv string[]
--- @field plan Plan
--- @field env string[]? NAME=value; nil is this process's environment
--- @field attributes table? see options.lua
--- @field spawned userdata|false orrery.spawn, once it runs
--- @field ends table<integer|"pty", userdata>|false orrery.fd of ours, by the
---   child's fd
--- @field contain boolean|string|nil the option
--- @field cgroup string|table|nil the option
--- @field family Keeper|Group|nil what keeps a contained family
--- @field cgroup_path string? of the group that the child is to enter
--- @field cgroup_fd integer? of a group's cgroup.procs, until it has started
--- @field channel userdata|false|nil orrery.fd of our end of the channel

-- The programs that find a channel by themselves if it speaks Node's JSON.
local JAVASCRIPT = { node = true, nodejs = true, bun = true, deno = true }

--- Returns the options of a child with a channel, to which `serialization` is
--- added if it is left out and the child is a JavaScript engine: `command`, as
--- given, has the file name of one, or is a line for a shell that begins so.
local function with_serialization(command, opts)
  if opts.serialization then return opts end
  local file = opts.shell and command:match("^%s*(%S*)") or command
  if not JAVASCRIPT[file:match("[^/]*$")] then return opts end
  opts = options.copy(opts)
  opts.serialization = "json"
  return opts
end

--- Describes a start whose arguments and options are checked. Raises for what
--- is left to check: stdio, environment, the scope.
--- @param where string the function's name, for messages
--- @param argv string[] as arguments.split makes it; the child's from now on
--- @param opts table
--- @param extra_env table<string, any>? added to the child's environment
--- @return Start start
--- @return table opts with what the child's channel speaks, if it has one
local function describe(where, argv, opts, extra_env)
  local command = argv[1]
  local file
  file, argv = arguments.command_line(where, argv, opts)
  local plan = stdio.check(where, opts.stdio)
  if plan.channel then
    opts = with_serialization(command, opts)
    extra_env = require "orrery.channel.messaging".environment(plan.channel,
      opts, extra_env)
  end
  local attributes = spawn_options.attributes(opts)
  if plan.terminal then
    attributes = attributes or {}
    attributes.setsid, attributes.terminal = true, plan.terminal.fd
  end
  local env = variables.list(where, opts, extra_env)
  if opts.scope and opts.scope.is_closed_ then
    options.raise("%s: option 'scope': the scope is closed", where)
  end
  return {
    file = file,
    argv = argv,
    plan = plan,
    env = env,
    attributes = attributes,
    spawned = false,
    ends = false,
    channel = false,
    contain = opts.contain,
    cgroup = opts.cgroup,
  }, opts
end

-- Failure --------------------------------------------------------------------

--- Returns the interpreter that the script which could not be started names in
--- its first line; nil if it is no script that can be read. A FIFO is not
--- opened: that would let its writer go on, and take what that writes.
local function interpreter_of(start)
  local path, attributes = start.file, start.attributes
  if not path:find("/", 1, true) then return nil end
  if attributes and attributes.cwd and path:sub(1, 1) ~= "/" then
    path = attributes.cwd .. "/" .. path
  end
  local stat = uv.fs_stat(path)
  local script = stat and stat.type == "file" and core.open(path, "r")
  if not script then return nil end
  local text = script:read() or ""
  script:close()
  return text:match("^#!%s*([^%s]+)")
end

--- Returns what a stage failed on. A script may be there, and its interpreter
--- not.
local function failed_on(start, fds, errno, stage, index)
  if stage == "exec" then
    return errno == ENOENT and interpreter_of(start) or start.file
  elseif stage == "dup" then
    return ("fd %d"):format(fds[index + 1] or -1)
  elseif stage == "cgroup" then
    return start.cgroup_path or require "orrery.child_process.keeper".path
  end
  return spawn_options.failed_on(stage, index, start.attributes)
end

-- Launching ------------------------------------------------------------------

--- Takes back what was prepared for a child that has not started.
local function abandon(start)
  if start.cgroup_fd then uv.fs_close(start.cgroup_fd) end
  if start.family then start.family:abandon() end
end

--- Opens what the child is to have: what keeps its family, and its fds.
--- @return Wiring? wiring
--- @return Error? err with `stage`
local function open(start)
  if start.contain or start.cgroup then
    local containment = require "orrery.child_process.containment"
    local ok, err = containment.prepare(start)
    if not ok then return nil, err end
  end
  return stdio.open(start.plan)
end

--- Starts what is described.
--- @param start Start gets `spawned`, `ends` and `channel`
--- @return true? ok
--- @return Error? err with `stage` and `path`; nothing is left open
local function launch(start)
  local attributes = start.attributes
  if attributes and attributes.user then
    local found, err = spawn_options.look_up_user(attributes)
    if not found then return nil, err end
  end
  local listening, number, at = reaper.open()
  if not listening then
    return nil, errors.system(number, "spawn", { stage = at })
  end
  local wiring, err = open(start)
  if not wiring then
    abandon(start)
    return nil, err
  end
  local fds = wiring.fds
  if fds[1] == 1 or fds[2] == 1 or fds[3] == 1 then self_process:flush() end
  local spawned, errno, stage, index = core.spawn(start.file, start.argv, fds,
    start.env, start.attributes)
  if not spawned then
    stdio.close(wiring)
    abandon(start)
    return nil, errors.system(errno, "spawn", {
      stage = stage,
      path = failed_on(start, fds, errno, stage, index),
      spawn_args = start.argv,
    })
  end
  stdio.release(wiring)
  if start.cgroup_fd then uv.fs_close(start.cgroup_fd) end
  start.spawned = spawned
  start.ends, start.channel = wiring.ends, wiring.channel
  return true
end

--- Starts a program without making a Child of it, for sync.lua.
--- @param where string the function's name, for messages
--- @param argv string[] as arguments.split makes it; the child's from now on
--- @param opts table checked
--- @return Start? start
--- @return Error? err
function spawn.begin(where, argv, opts)
  local start = describe(where, argv, opts)
  local ok, err = launch(start)
  if ok then return start end
  return nil, err
end

--- Starts a program and makes a Child of what came of it; for fork, run, exec
--- and pipeline as well.
--- @param where string the function's name, for messages
--- @param argv string[] as arguments.split makes it; the child's from now on
--- @param opts table checked
--- @param extra_env table<string, any>? added to the child's environment
--- @return Child child without a pid if it could not start
function spawn.start(where, argv, opts, extra_env)
  local start
  start, opts = describe(where, argv, opts, extra_env)
  local ok, err = launch(start)
  if ok then return child.running(start, opts) end
  return child.failed(start, err)
end

--- Starts a program.
---
---     spawn("sort", {"-n"}, {stdio={nil, "inherit", "inherit"}})
---     spawn{"make", "-j2"}
---
--- Bad arguments raise. A start that fails is a child without a pid, which
--- emits `error(err)` and then `close(nil, nil)`; its `wait` gives nil, err.
--- @param command string|string[] a path, or a name to be found in the child's
---   PATH; or a list {command, args…}
--- @param args string[]?
--- @param opts table? see the guide; times in ms, sizes in bytes
--- @return Child child
function spawn.spawn(command, args, opts)
  local argv
  argv, opts = arguments.split("spawn", command, args, opts)
  return spawn.start("spawn", argv,
    options.check("spawn", opts, spawn_options.schema))
end

return spawn
