--- This process: arguments, environment, signals, exit. A module and an
--- emitter; its functions are called with a dot, and a colon works too.
---
--- It is one for the whole Lua state, as its signals, its standard streams and
--- the channel to its parent are: however often this module is loaded there, it
--- gives the same table.
---
--- Events: before_exit(code), exit(code), uncaught_exception(err, origin),
--- uncaught_exception_monitor(err, origin), the signals by name (name, number),
--- and those of a channel to the parent, if there is one: message, disconnect.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local exit = require "orrery.process.exit"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local signals = require "orrery.process.signals"
local usage = require "orrery.process.usage"
require "orrery.runtime.started" -- while this is the folder of the start

local shared = core.shared
if shared.process then return shared.process end

local process = {}

local self_process = core.process()
local bus = events.new() -- the emitter behind the module
exit.attach(bus)

function bus:listeners_changed_(event, count)
  if self.channel_ or self.foreign_ then
    require "orrery.channel.messaging".listeners_changed(self, event)
  end
  signals.listeners_changed(self, event, count)
end

-- Functions ------------------------------------------------------------------

local functions = {
  abort = exit.abort,
  exit = exit.exit,
  hrtime = usage.hrtime,
  hrtime_ns = usage.hrtime_ns,
  kill = signals.kill,
  memory_usage = usage.memory_usage,
  uptime = usage.uptime,
}

--- Calls fn(...) before the next event and before the loop polls, after what is
--- queued already.
--- @param fn function
--- @param ... any its arguments
function functions.next_tick(fn, ...)
  options.argument("next_tick", "fn", fn, options.checks.callback)
  if select("#", ...) == 0 then
    loop.soon(fn)
  else
    local args = table.pack(...)
    loop.soon(function() fn(table.unpack(args, 1, args.n)) end)
  end
end

--- Returns the current folder.
--- @return string? path absolute
--- @return Error? err (ENOENT)
function functions.cwd()
  local path, _, code = uv.cwd()
  if path then return path end
  return nil, errors.luv(code, "getcwd")
end

--- Changes the current folder.
--- @param dir string
--- @return true? ok
--- @return Error? err (ENOENT, ENOTDIR, EACCES)
function functions.chdir(dir)
  options.argument("chdir", "the directory", dir, options.checks.string)
  local ok, _, code = uv.chdir(dir)
  if ok then return true end
  return nil, errors.luv(code, "chdir", { path = dir })
end

--- Puts a function into the module, to be called with a dot or a colon.
local function add_function(name, fn)
  process[name] = function(first, ...)
    if rawequal(first, process) then return fn(...) end
    return fn(first, ...)
  end
end

local ADDS_LISTENER = { on = true, once = true, prepend = true }

--- Puts a method of emitters into the module. Signals may be named in any case.
local function add_emitter_method(name, method)
  add_function(name, function(event, ...)
    event = signals.event(event)
    if ADDS_LISTENER[name] then signals.check_catchable(name, event) end
    return method(bus, event, ...)
  end)
end

for name, fn in pairs(functions) do add_function(name, fn) end
for name, method in pairs(events.Emitter) do
  if name:sub(1, 2) ~= "__" and name ~= "extend" then
    add_emitter_method(name, method)
  end
end

--- The channel to the process that started this one, if there is one.
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

-- Properties -----------------------------------------------------------------

--- Properties that are computed when they are first asked for, and kept, with
--- those of process/identity.lua.
local kept = {
  env = function() return require "orrery.process.environment" end,
  stdin = function()
    return require "orrery.process.standard_streams".input()
  end,
  stdout = function()
    return require "orrery.process.standard_streams".output(1)
  end,
  stderr = function()
    return require "orrery.process.standard_streams".output(2)
  end,
}

--- Properties that are computed each time.
local live = {
  ppid = function() return self_process:ppid() end,
  exit_code = exit.code,
  connected = function() return bus.connected or false end,
  channel = function() return bus.channel end,
}

local Process = { __name = "orrery.process" }

function Process.__index(_, name)
  if live[name] then return live[name]() end
  local compute = kept[name] or require "orrery.process.identity"[name]
  if not compute then return nil end
  local value = compute(process)
  rawset(process, name, value)
  return value
end

function Process.__newindex(_, name, value)
  if name == "exit_code" then
    exit.set_code(value)
  elseif live[name] then
    options.raise("process.%s cannot be set", name)
  else
    rawset(process, name, value)
  end
end

shared.process = setmetatable(process, Process)
return process
