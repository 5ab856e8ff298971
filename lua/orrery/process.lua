--- This process: arguments, environment, signals, exit. A module and an emitter;
--- its functions are called with a dot, and a colon works too.

local uv = require "luv"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local signals = require "orrery.runtime.signals"

local self_ = core.process()
local bus = events.new() -- the emitter behind the module

local methods = {}
local process = {}
local state = { exit_code = nil, exiting = false }

-- Signals --------------------------------------------------------------------

local signal_handles = {}

--- "sigterm" is the event SIGTERM.
local function event_name(event)
  if type(event) == "string" and event:find("^[sS][iI][gG]") then
    local name = event:upper()
    if core.signals[name] then return core.signal_names[core.signals[name]] end
  end
  return event
end

local function watch_signal(name)
  local handle = uv.new_signal()
  local number = core.signals[name]
  handle:unref()
  local ok, _, code = handle:start(number, loop.guard(function()
    bus:emit(name, name, number)
  end))
  if not ok then
    loop.close(handle)
    return code
  end
  signal_handles[name] = handle
end

--- Whether a task waits for the event: then it can still come.
local function awaited(event)
  for _, entry in ipairs(bus.listeners_[event] or {}) do
    if entry.waiting then return true end
  end
end

--- A signal is caught while it has a listener, and not otherwise. It holds the
--- loop only for those who wait for it.
function bus:listeners_changed_(event, count)
  if self.channel_ then
    require "orrery.channel.messaging".listeners_changed(self, event)
  end
  if not core.signals[event] then return end
  local handle = signal_handles[event]
  if count == 0 and handle then
    signal_handles[event] = nil
    handle:stop()
    loop.close(handle)
  elseif count > 0 and not handle then
    watch_signal(event)
  end
  handle = signal_handles[event]
  if handle and awaited(event) then
    handle:ref()
  elseif handle then
    handle:unref()
  end
end

local UNCATCHABLE = { SIGKILL = true, SIGSTOP = true }

for name, method in pairs(events.Emitter) do
  if name:sub(1, 2) ~= "__" and name ~= "extend" then
    methods[name] = function(event, ...)
      event = event_name(event)
      if (name == "on" or name == "once" or name == "prepend")
        and UNCATCHABLE[event] then
        options.raise("%s: %s cannot be caught (EINVAL)", name, event)
      end
      return method(bus, event, ...)
    end
  end
end

--- Sends a signal.
--- @param pid integer 0 and negative numbers are groups, as in kill(2)
--- @param signal string|integer? "SIGTERM"; 0 only asks
--- @return true? ok nil, err (ESRCH, EPERM, EINVAL)
--- @return Error? err
function methods.kill(pid, signal)
  local number = math.tointeger(tonumber(pid))
  if not number then
    options.raise("kill: the pid must be an integer, got %s %s", type(pid),
      options.show(pid))
  end
  if signal == nil then signal = "SIGTERM" end
  local signo = math.type(signal) == "integer" and signal
    or signals.check("kill", signal)
  local ok, errno = self_:kill(number, signo)
  if ok then return true end
  return nil, errors.system(errno, "kill", { path = tostring(number) })
end

-- Ending ---------------------------------------------------------------------

local function exit_code(where, code)
  local number = math.tointeger(tonumber(code))
  if code ~= nil and not number then
    options.raise("%s: the exit code must be an integer, got %s %s",
      where, type(code), options.show(code))
  end
  return number
end

local function report(trace)
  self_:flush()
  io.stderr:write("orrery: uncaught error: ", trace, "\n")
end

--- Listeners of `exit` run once; what they raise is reported and makes it 1.
local function emit_exit()
  local ok = xpcall(bus.emit, loop.remember, bus, "exit", state.exit_code or 0)
  if not ok then
    report(loop.last_trace())
    state.exit_code = 1
  end
end

--- Ends the process: `exit` listeners, flush, end. Does not return.
--- @param code integer? process.exit_code, else 0; the system keeps 8 bits
function methods.exit(code)
  code = exit_code("exit", code)
  if code then state.exit_code = code end
  if not state.exiting then
    state.exiting = true
    emit_exit()
  end
  loop.exit((state.exit_code or 0) & 0xff)
end

--- Ends by SIGABRT.
function methods.abort() self_:abort() end

--- Every error that nobody caught comes here.
function loop.on_uncaught(err, trace, origin)
  local handled = bus:listener_count("uncaught_exception") > 0
  local ok = xpcall(bus.emit, loop.remember, bus, "uncaught_exception_monitor",
    err, origin)
  if ok and handled then
    ok = xpcall(bus.emit, loop.remember, bus, "uncaught_exception", err, origin)
  end
  if not ok then
    report(loop.last_trace())
    state.exit_code = 7
  elseif not handled then
    report(trace)
    state.exit_code = 1
  end
  if not (ok and handled) then methods.exit(state.exit_code) end
end

--- Called whenever the loop has nothing left to do.
function loop.before_exit()
  bus:emit("before_exit", state.exit_code or 0)
end

-- Small things ---------------------------------------------------------------

--- Calls fn(...) before the next event, in order.
--- @param fn function
function methods.next_tick(fn, ...)
  options.argument("next_tick", "fn", fn, options.checks.callback)
  if select("#", ...) == 0 then return loop.soon(fn) end
  local args = table.pack(...)
  loop.soon(function() fn(table.unpack(args, 1, args.n)) end)
end

--- Monotonic time, or what has passed since an earlier result.
--- @param previous integer[]?
--- @return integer[] {seconds, nanoseconds}
function methods.hrtime(previous)
  local now = self_:hrtime()
  if previous ~= nil then
    if type(previous) ~= "table" or math.type(previous[1]) ~= "integer"
      or math.type(previous[2]) ~= "integer" then
      options.raise("hrtime: the argument must be an earlier result, "
        .. "{seconds, nanoseconds}, got %s", options.show(previous))
    end
    now = now - (previous[1] * 1000000000 + previous[2])
  end
  return { now // 1000000000, now % 1000000000 }
end

--- Monotonic time in ns.
--- @return integer
function methods.hrtime_ns() return self_:hrtime() end

local started = self_:hrtime()

--- Seconds since the start.
--- @return number
function methods.uptime() return (self_:hrtime() - started) / 1e9 end

--- Memory in bytes: resident; malloc's arena; what Lua uses of it; the core's
--- buffers.
--- @return {rss: integer, heap_total: integer, heap_used: integer, external: integer}
function methods.memory_usage()
  local total, ballast = self_:heap()
  return {
    rss = math.tointeger(uv.resident_set_memory()),
    heap_total = math.max(total - ballast, 0),
    heap_used = math.tointeger(collectgarbage("count") * 1024 // 1) - ballast,
    external = 0,
  }
end

--- @return string? path nil, err
--- @return Error? err
function methods.cwd()
  local path, _, code = uv.cwd()
  if path then return path end
  return nil, errors.luv(code, "getcwd")
end

--- @param dir string
--- @return true? ok nil, err
--- @return Error? err
function methods.chdir(dir)
  options.argument("chdir", "the directory", dir, options.checks.string)
  local ok, _, code = uv.chdir(dir)
  if ok then return true end
  return nil, errors.luv(code, "chdir", { path = dir })
end

-- The environment ------------------------------------------------------------

local function check_name(name)
  if type(name) ~= "string" or name == "" or name:find("[=\0]") then
    options.raise("env: %s is no name of a variable",
      options.show(name))
  end
end

--- Live: reading asks the process's environment, assigning changes it.
local env = setmetatable({}, {
  __index = function(_, name)
    if type(name) ~= "string" then return nil end
    return os.getenv(name)
  end,
  __newindex = function(_, name, value)
    check_name(name)
    if value == nil then
      uv.os_unsetenv(name)
      return
    end
    local text = tostring(value)
    if text:find("\0", 1, true) then
      options.raise("env: the value of %s contains a NUL byte", name)
    end
    uv.os_setenv(name, text)
  end,
  __pairs = function() return next, uv.os_environ() end,
})

-- Properties -----------------------------------------------------------------

local function directory(path)
  return path:match("^(.*)/[^/]*$") or "."
end

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  return uv.cwd() .. "/" .. (path:gsub("^%./", ""))
end

--- Computed when first asked for, and kept.
local lazy = {
  pid = function() return self_:pid() end,
  argv = function() return rawget(_G, "arg") or {} end,
  exec_argv = function()
    local list, words = {}, rawget(_G, "arg") or {}
    local first = 0
    while words[first - 1] do first = first - 1 end
    for i = first + 1, -1 do list[#list + 1] = words[i] end
    return list
  end,
  exec_path = uv.exepath,
  platform = function() return "linux" end,
  arch = function()
    local names = { x86_64 = "x64", aarch64 = "arm64" }
    local machine = uv.os_uname().machine
    return names[machine] or machine
  end,
  version = function() return "v" .. require "orrery".version end,
  versions = function()
    return {
      orrery = require "orrery".version,
      lua = _VERSION:match("[%d.]+"),
      libuv = uv.version_string(),
    }
  end,
  script = function()
    local script = process.argv[0]
    return script and absolute(script)
  end,
  script_dir = function()
    local script = process.script
    if not script then return uv.cwd() end
    local dir = directory(script)
    return uv.fs_realpath(dir ~= "" and dir or "/") or dir
  end,
  stdin = function() return require "orrery.process.standard_streams".input() end,
  stdout = function() return require "orrery.process.standard_streams".output(1) end,
  stderr = function() return require "orrery.process.standard_streams".output(2) end,
}

local live = {
  ppid = function() return self_:ppid() end,
  exit_code = function() return state.exit_code end,
  connected = function() return bus.connected or false end,
  channel = function() return bus.channel end,
}

for name, method in pairs(methods) do
  process[name] = function(first, ...)
    if rawequal(first, process) then return method(...) end
    return method(first, ...)
  end
end
process.env = env

--- The channel to who started this process, where there is one.
if os.getenv("ORRERY_CHANNEL_FD") or os.getenv("NODE_CHANNEL_FD") then
  local messaging = require "orrery.channel.messaging"
  if messaging.adopt(bus) then
    for name, method in pairs(messaging.Messaging) do
      process[name] = function(first, ...)
        if rawequal(first, process) then return method(bus, ...) end
        return method(bus, first, ...)
      end
    end
  end
end

return setmetatable(process, {
  __name = "orrery.process",
  __index = function(_, name)
    if live[name] then return live[name]() end
    local compute = lazy[name]
    if not compute then return nil end
    local value = compute()
    rawset(process, name, value)
    return value
  end,
  __newindex = function(_, name, value)
    if name == "exit_code" then
      state.exit_code = exit_code("exit_code", value)
    elseif live[name] then
      options.raise("process.%s cannot be set", name)
    else
      rawset(process, name, value)
    end
  end,
})
