--- `spawn`: checks what the caller wants, describes it to the core, and makes a
--- Child of what became of it. All that can raise comes first.

local uv = require "luv"
local core = require "orrery.core"
local ends = require "orrery.child_process.ends"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local stdio = require "orrery.child_process.stdio"
local scheduler = require "orrery.runtime.scheduler"
local signals = require "orrery.runtime.signals"
local loop = require "orrery.runtime.loop"
local Child = require "orrery.child_process.child"

local spawn = {}

-- A channel of ours must not be our children's: it is taken over first.
if os.getenv("ORRERY_CHANNEL_FD") or os.getenv("NODE_CHANNEL_FD") then
  require "orrery.process"
end

local self_process = core.process()
local checks, integer, list = options.checks, options.integer, options.list

-- Options --------------------------------------------------------------------

local function not_yet(value)
  if value ~= nil and value ~= false then
    return "left out: it is not available yet"
  end
end

local function is_shell(value)
  if type(value) ~= "boolean" and (checks.string(value) or value == "") then
    return "a boolean or the path of a shell"
  end
end

local function is_env(value)
  if type(value) ~= "table" then return "a table of names and values" end
end

local function is_pgroup(value)
  if type(value) == "boolean" then return end
  return integer(0, 0x7fffffff, "true or the number of a process group")(value)
end

local function is_limit(value)
  if value == math.huge then return end
  if math.type(value) ~= "integer" or value < 0 then return "bad" end
end

local RLIMIT = "a table such as {nofile=256, cpu={soft=1, hard=2}}, with integers "
  .. "or math.huge"

local function is_rlimit(value)
  if type(value) ~= "table" then return RLIMIT end
  for name, limit in next, value do
    if not core.rlimits[name] then
      return ("%s; there is no limit %s, did you mean '%s'?"):format(RLIMIT,
        options.show(name), options.nearest(tostring(name), core.rlimits))
    end
    if type(limit) == "table" then
      if is_limit(limit.soft) or is_limit(limit.hard) then return RLIMIT end
    elseif is_limit(limit) then
      return RLIMIT
    end
  end
end

--- A scope, or a task.
local function is_scope(value)
  if type(value) ~= "table"
    or not (value.adopt or (value.join and value.cancel)) then
    return "a scope or a task"
  end
end

local function is_name(value)
  if checks.string(value) or value == "" then return "the name of a user" end
end

local schema = {
  argv0 = checks.string,
  cgroup = not_yet,
  contain = not_yet,
  cpu_affinity = list(integer(0, 1023), "a list of CPU numbers, from 0"),
  cwd = checks.string,
  detached = checks.boolean,
  die_with_parent = checks.boolean,
  encoding = checks.any,
  env = is_env,
  env_extend = is_env,
  gid = checks.id,
  groups = list(checks.id, "a list of group ids"),
  kill_signal = signals.option,
  max_message = integer(1, 0xfffffff0, "an integer of bytes, 1 to 4294967280"),
  nice = integer(-20, 19, "an integer from -20 to 19"),
  pgroup = is_pgroup,
  rlimits = is_rlimit,
  scope = is_scope,
  serialization = function(value)
    if value ~= "msgpack" and value ~= "json" then return '"msgpack" or "json"' end
  end,
  shell = is_shell,
  stdio = checks.any, -- stdio.lua checks it
  stdio_grace = checks.ms,
  timeout = checks.ms,
  uid = checks.id,
  umask = integer(0, 511, "an integer from 0 to 511 (0777 in octal)"),
  user = is_name,
  windows_hide = checks.any,
}
spawn.schema = schema

-- Arguments ------------------------------------------------------------------

local function check_command(where, command)
  if type(command) ~= "string" or command == ""
    or command:find("\0", 1, true) then
    options.raise("%s: the command must be a string, not empty and "
      .. "without NUL bytes, or a list {command, args…}, got %s %s", where,
      type(command), options.show(command))
  end
end

--- The command and its arguments as one list. Raises unless `args`, from `first`
--- on, is a list of strings; numbers become strings.
local function argv_of(where, command, args, first)
  if args == nil then return { command } end
  if type(args) ~= "table" then
    options.raise("%s: the arguments must be a list of strings, got "
      .. "%s %s", where, type(args), options.show(args))
  end
  for key in next, args do
    if math.type(key) ~= "integer" then
      options.raise("%s: the list of arguments has the key %s; options "
        .. "go in a table of their own, after it", where, options.show(key))
    end
  end
  local argv = { command }
  for i = first, #args do
    local arg = args[i]
    if type(arg) == "number" then arg = tostring(arg) end
    if type(arg) ~= "string" or arg:find("\0", 1, true) then
      options.argument(where, ("argument %d"):format(i - first + 1), arg,
        checks.string)
    end
    argv[i - first + 2] = arg
  end
  return argv
end

--- Whether a table in second place is options: it has names and no items.
local function is_options(value)
  return type(value) == "table" and #value == 0 and next(value) ~= nil
end

--- Sorts out (command, args?, options?) and ({command, args…}, options?).
--- @return string[] argv a copy, with the command first
--- @return table? options
function spawn.arguments(where, command, args, opts)
  local first = 1
  if type(command) == "table" then
    if opts ~= nil then
      options.raise("%s: with a list {command, args…} the options come "
        .. "second", where)
    end
    command, args, opts, first = command[1], command, args, 2
  elseif opts == nil and is_options(args) then
    args, opts = nil, args
  end
  check_command(where, command)
  return argv_of(where, command, args, first), opts
end

--- A word as sh reads it back: quoted only where it has to be.
local function quote(word)
  if word:find("^[%w%%+,./:=@_-]+$") then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- The file to run and its argv. Arguments that meet a shell are quoted.
local function command_line(argv, opts)
  local command = argv[1]
  if not opts.shell then
    argv[1] = opts.argv0 or command
    return command, argv
  end
  local shell = opts.shell == true and "/bin/sh" or opts.shell
  for i = 2, #argv do command = command .. " " .. quote(argv[i]) end
  return shell, { opts.argv0 or shell, "-c", command }
end

-- Environment ----------------------------------------------------------------

local function check_variable(where, option, name, value)
  if type(name) ~= "string" or name == "" or name:find("[=\0]") then
    options.raise("%s: option '%s': %s is no name of a variable",
      where, option, options.show(name))
  end
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" and kind ~= "boolean"
    or kind == "string" and value:find("\0", 1, true) then
    options.raise("%s: option '%s': %s must be a string without NUL "
      .. "bytes, got %s %s", where, option, name, kind, options.show(value))
  end
end

--- The environment as a list of NAME=value; nil for ours as it is. `false` in
--- env_extend takes a variable away. `extra` are added in any case.
local function environment(where, opts, extra)
  if not opts.env and not opts.env_extend and not extra then return nil end
  local merged, out = opts.env and {} or uv.os_environ(), {}
  for name, value in pairs(opts.env or {}) do
    check_variable(where, "env", name, value)
    merged[name] = value
  end
  for name, value in pairs(opts.env_extend or {}) do
    check_variable(where, "env_extend", name, value)
    merged[name] = value
    if value == false then merged[name] = nil end
  end
  for name, value in pairs(extra or {}) do merged[name] = value end
  for name, value in pairs(merged) do
    out[#out + 1] = name .. "=" .. tostring(value)
  end
  return out
end

-- The description ------------------------------------------------------------

local function limits(given)
  local flat, names = {}, {}
  for name, value in next, given do
    local pair = type(value) == "table" and value or { soft = value, hard = value }
    names[#names + 1] = name
    flat[#flat + 1] = core.rlimits[name]
    flat[#flat + 1] = pair.soft
    flat[#flat + 1] = pair.hard
  end
  return flat, names
end

--- Fills in uid, gid and groups of a user. True; nil, err.
local function set_user(attributes, name)
  local uid, gid, groups = core.lookup_user(name)
  if not uid then
    return nil, errors.system(gid, "spawn", { stage = "uid", path = name })
  end
  attributes.uid, attributes.gid, attributes.groups = uid, gid, groups
  return true
end

--- The same option under another name.
local function as(name)
  return function(attributes, value) attributes[name] = value end
end

--- What each option tells the core, beyond file, argv, fds and env.
local tell = {
  cpu_affinity = as "cpu_affinity",
  cwd = function(attributes, path) attributes.cwd = path ~= "" and path or nil end,
  detached = as "setsid",
  die_with_parent = as "die_with_parent",
  gid = as "gid",
  groups = as "groups",
  nice = as "nice",
  pgroup = function(attributes, group)
    attributes.pgroup = group == true and 0 or group or nil
  end,
  rlimits = function(attributes, given)
    attributes.rlimits, attributes.limit_names = limits(given)
  end,
  uid = as "uid",
  umask = as "umask",
  user = function() end, -- see set_user, which comes last
}

--- What the core is told; nil where there is nothing to say. `limit_names` are
--- for messages.
local function attributes_of(opts)
  local attributes
  for name, value in next, opts do
    if tell[name] then
      attributes = attributes or {}
      tell[name](attributes, value)
    end
  end
  return attributes
end

-- Failure --------------------------------------------------------------------

--- The interpreter that a script names in its first line, where that is what
--- is missing.
local function missing_interpreter(path)
  local script = path:find("/", 1, true) and io.open(path, "rb")
  if not script then return nil end
  local interpreter = (script:read(128) or ""):match("^#!%s*([^%s]+)")
  script:close()
  return interpreter
end

--- The thing that a stage failed on.
local function failed_on(stage, index, file, fds, attributes)
  if stage == "exec" then return file end
  if stage == "dup" then return ("fd %d"):format(fds[index + 1] or -1) end
  if not attributes then return nil end
  if stage == "chdir" then return attributes.cwd end
  if stage == "rlimit" then return attributes.limit_names[index + 1] end
  local value = attributes[stage]
  if type(value) == "number" then return tostring(value) end
end

local function start_error(errno, stage, path, argv)
  if stage == "exec" and errno == core.errnos.ENOENT then
    path = missing_interpreter(path) or path
  end
  return errors.system(errno, "spawn",
    { stage = stage, path = path, spawn_args = argv })
end

-- spawn ----------------------------------------------------------------------

--- Children of scopes end with this process.
local owned = {}
loop.at_exit(function()
  for child in pairs(owned) do child:abandon_() end
end)

--- Ties a child to the scope or task whose end stops it.
local function tie(child, owner)
  owned[child] = true
  local undo
  if owner.adopt then
    owner:adopt(child)
    undo = function() owner:release(child) end
  else
    undo = scheduler.on_end(owner, function()
      scheduler.go(child.stop, child, { grace = 2000 })
    end)
  end
  child.released_ = function()
    owned[child] = nil
    if undo then undo() end
  end
end

--- Launches. The orrery.spawn, our ends by fd; nil, err.
local function launch(file, argv, env, attributes, plan)
  local ok, errno = Child.watch()
  if not ok then return nil, errors.system(errno, "spawn", { stage = "fork" }) end
  local wiring, err = stdio.open(plan)
  if not wiring then return nil, err end
  local fds = wiring.fds
  if fds[1] == 1 or fds[2] == 1 or fds[3] == 1 then self_process:flush() end
  local handle, code, stage, index = core.spawn(file, argv, fds, env, attributes)
  if not handle then
    stdio.close(wiring)
    return nil, start_error(code, stage,
      failed_on(stage, index, file, fds, attributes), argv)
  end
  stdio.release(wiring)
  return handle, wiring.ends, wiring.channel
end

--- Starts what sorted arguments and checked options describe. `argv` is the
--- child's from now on.
--- @return userdata? handle orrery.spawn; nil where it could not start
--- @return table|Error fds our ends, orrery.fd by the child's fd; the error
--- @return string file, string[] argv, table plan
--- @return userdata? channel orrery.fd of our end
function spawn.begin(where, argv, opts)
  local file
  file, argv = command_line(argv, opts)
  local plan = stdio.check(where, opts.stdio)
  local extra = opts.extra_env
  if plan.channel then
    extra = require "orrery.channel.messaging".environment(plan.channel, opts, extra)
  end
  local env = environment(where, opts, extra)
  local attributes = attributes_of(opts)
  if opts.scope and opts.scope.closed then
    options.raise("%s: option 'scope': the scope is closed", where)
  end
  local known, handle, fds, channel = true, nil, nil, nil
  if opts.user then known, fds = set_user(attributes, opts.user) end
  if known then
    handle, fds, channel = launch(file, argv, env, attributes, plan)
  end
  return handle, fds, file, argv, plan, channel
end

--- begin, with a Child of what became of it; for run and exec as well.
--- @return Child
function spawn.start(where, argv, opts)
  local handle, fds, file, plan, channel
  handle, fds, file, argv, plan, channel =
    spawn.begin(where, argv, opts)
  if not handle then
    local child = Child.new(file, argv, ends.ended(plan))
    if plan.channel then child.channel_ = require "orrery.channel.channel".none(child) end
    child:failed(fds)
    return child
  end
  local child = Child.new(file, argv, ends.new(plan, fds))
  if opts.detached or opts.pgroup == true or opts.pgroup == 0 then
    child.leader_ = true
  end
  child:started(handle)
  if channel then child:connect_(channel, opts) end
  if opts.timeout and opts.timeout > 0 then
    child:set_timeout_(opts.timeout,
      signals.number(opts.kill_signal or "SIGTERM"))
  end
  if opts.scope then tie(child, opts.scope) end
  return child
end

--- Starts a program.
---
---     spawn("sort", {"-n"}, {stdio={nil, "inherit", "inherit"}})
---     spawn{"make", "-j2"}
---
--- Bad arguments raise. A start that fails is a child without a pid, which emits
--- `error(err)` and then `close(nil, nil)`; its `wait` gives nil, err.
--- @param command string|string[] a path, or a name to be found in the child's PATH
--- @param args string[]?
--- @param opts table? see the guide
--- @return Child
function spawn.spawn(command, args, opts)
  local argv
  argv, opts = spawn.arguments("spawn", command, args, opts)
  opts = options.check("spawn", opts, schema)
  if opts.scope and opts.die_with_parent == nil then
    opts = options.copy(opts)
    opts.die_with_parent = true
  end
  return spawn.start("spawn", argv, opts)
end

return spawn
