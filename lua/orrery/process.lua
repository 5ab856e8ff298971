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

local core = require "orrery.core"
local dotted = require "orrery.runtime.dotted"
local events = require "orrery.events"
local exit = require "orrery.process.exit"
local options = require "orrery.runtime.options"
local signals = require "orrery.process.signals"
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

--- The functions, by the module that has them under their name. It is loaded
--- when one of them is first asked for.
local functions = {}
for module, names in pairs {
  ["orrery.process.credentials"] = { "getuid", "geteuid", "getgid", "getegid",
    "getgroups", "setuid", "seteuid", "setgid", "setegid", "setgroups",
    "initgroups" },
  ["orrery.process.env_file"] = { "load_env_file" },
  ["orrery.process.exit"] = { "abort", "exit" },
  ["orrery.process.folder"] = { "cwd", "chdir", "umask" },
  ["orrery.process.image"] = { "execve" },
  ["orrery.process.memory"] = { "available_memory", "constrained_memory",
    "memory_usage" },
  ["orrery.process.resources"] = { "active_resources" },
  ["orrery.process.shutdown"] = { "on_shutdown" },
  ["orrery.process.signals"] = { "kill", "signal_exit_code" },
  ["orrery.process.ticks"] = { "next_tick" },
  ["orrery.process.usage"] = { "cpu_usage", "hrtime", "hrtime_ns",
    "resource_usage", "uptime" },
  ["orrery.process.warnings"] = { "emit_warning" },
} do
  for _, name in ipairs(names) do functions[name] = module end
end

local ADDS_LISTENER = { on = true, once = true, prepend = true }

--- Puts a method of emitters into the module. Signals may be named in any case.
local function add_emitter_method(name, method)
  process[name] = dotted(process, function(event, ...)
    event = signals.event(event)
    if ADDS_LISTENER[name] then signals.check_catchable(name, event) end
    return method(bus, event, ...)
  end)
end

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
  title = function() return require "orrery.process.title".get() end,
  connected = function() return bus.connected or false end,
  channel = function() return bus.channel end,
}

local settable = {
  exit_code = exit.set_code,
  title = function(text) require "orrery.process.title".set(text) end,
}

local Process = { __name = "orrery.process" }

-- They have what is one for the whole Lua state, and are not to be loaded again
-- by `require`.
local loaded = {
  ["orrery.process.exit"] = exit,
  ["orrery.process.signals"] = signals,
}

--- Returns a function of the modules behind this one, or a property that is
--- kept; nil if there is none of that name.
local function find(name)
  local module = functions[name]
  if module then
    return dotted(process, (loaded[module] or require(module))[name])
  end
  local compute = kept[name] or require "orrery.process.identity"[name]
  return compute and compute(process)
end

function Process.__index(_, name)
  if live[name] then return live[name]() end
  local value = find(name)
  if value ~= nil then rawset(process, name, value) end
  return value
end

function Process.__newindex(_, name, value)
  if settable[name] then
    settable[name](value)
  elseif live[name] then
    options.raise("process.%s cannot be set", name)
  else
    rawset(process, name, value)
  end
end

shared.process = setmetatable(process, Process)
return process
