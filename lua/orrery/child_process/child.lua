--- A child process: its events, waiting for it, ending it. `spawn.lua` makes
--- children; the reaper's side is here, for it is what moves them on.

local uv = require "luv"
local core = require "orrery.core"
local clock = require "orrery.runtime.clock"
local ends = require "orrery.child_process.ends"
local errors = require "orrery.runtime.errors"
local events = require "orrery.events"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local poller = require "orrery.runtime.poller"
local scheduler = require "orrery.runtime.scheduler"
local signals = require "orrery.runtime.signals"
local Watcher = require "orrery.runtime.watcher"

local STOP_GRACE = 5000 -- ms from SIGTERM to SIGKILL in stop
local CLOSE_GRACE = 2000 -- the same where a `<close>` variable ends

local self_process = core.process()
local SIGKILL, SIGTERM = core.signals.SIGKILL, core.signals.SIGTERM
local SIGCONT = core.signals.SIGCONT
local ESRCH = core.errnos.ESRCH

--- @class Child : Emitter
--- @field pid integer? nil where it could not start
--- @field stdin Stream?
--- @field stdout Stream?
--- @field stderr Stream?
--- @field stdio table<integer, Stream> by child fd, from 0
--- @field exit_code integer? nil until exit, and where a signal ended it
--- @field signal_code string? the name of that signal
--- @field killed boolean a signal was sent with success
--- @field spawn_file string
--- @field spawn_args string[]
--- @field connected boolean its channel is open, both ways
--- @field channel Channel? while it is open
--- @field usage table? after exit: {user, system (µs), max_rss (bytes), …}
local Child = { __name = "orrery.Child", killed = false, connected = false }
events.extend(Child)

Child.__index = Child

--- Fields that few ask for, and are made then.
local lazy = {
  stdin = function(self) return self.ends_:stream(0) end,
  stdout = function(self) return self.ends_:stream(1) end,
  stderr = function(self) return self.ends_:stream(2) end,
  stdio = function(self) return self.ends_:all() end,
  usage = function(self) return self.ended_ and self.ended_:usage() or nil end,
}

--- The metatable of children that have such fields: with pipes, or ended. Those of
--- the others are a plain table's.
local Lazy = { __name = Child.__name }

function Lazy.__index(self, key)
  local make = lazy[key]
  if not make then return Child[key] end
  local value = make(self)
  self[key] = value
  return value
end

local none = {} -- an empty list
local children = {} -- orrery.spawn → Child, while it runs
local watcher -- tells that a child has ended
local referenced = 0 -- running children that keep the loop alive

--- Whether the process is not reaped yet.
local function running(self)
  return self.process_ ~= false
end

function Child.__tostring(self)
  local state = "running"
  if self.error_ then
    state = "failed to start"
  elseif self.signal_code then
    state = "ended by " .. self.signal_code
  elseif not running(self) then
    state = ("exited with %s"):format(self.exit_code or "unknown status")
  end
  return ("child %s (%s): %s"):format(self.pid or "-",
    table.concat(self.spawn_args, " "), state)
end

-- The reaper -----------------------------------------------------------------

local function count_reference(by)
  referenced = referenced + by
  if referenced > 0 then watcher:ref() else watcher:unref() end
end

local function emit_close(self)
  self.closed_ = true
  self:emit("close", self.exit_code, self.signal_code)
  if self.on_closed_ then self.on_closed_() end
end

--- `close` comes when every readable stream that somebody asked for is closed, and
--- the channel.
local function close_when_drained(self)
  local channel = self.channel_
  if not channel then return emit_close(self) end
  channel:when_over_(emit_close)
end

local function emit_exit(self)
  self:emit("exit", self.exit_code, self.signal_code)
end

local function on_exit(self, handle)
  local code, signal = handle:status()
  self.exit_code = code
  self.signal_code = signal and signals.name(signal)
  self.process_, self.ended_ = false, handle
  setmetatable(self, Lazy)
  if self.timer_ then self.timer_:stop() end
  if self.released_ then self.released_() end
  if self.referenced_ then count_reference(-1) end
  for _, wake in ipairs(self.waiters_ or none) do
    if wake then wake(true) end
  end
  loop.soon(emit_exit, self)
  self.ends_:finish(close_when_drained, self)
end

--- Takes in all that have ended; a child that is not known here is somebody
--- else's, who asks its handle.
local function reap()
  for handle in core.reap do
    local child = children[handle]
    children[handle] = nil
    if child then on_exit(child, handle) end
  end
end

--- Without pidfds, SIGCHLD tells.
local function watch_sigchld()
  local handle = uv.new_signal()
  handle:start("sigchld", loop.guard(reap))
  return handle
end

--- Starts listening, before the first child exists, and sees to it that what it
--- writes can be read. True; nil, errno.
function Child.watch()
  if watcher then return true end
  local polling, err = poller.open()
  if not polling then return nil, err.errno end
  local fd, errno = core.reaper_fd()
  if fd == nil then return nil, errno end
  local code
  if fd then watcher, code = Watcher.new(fd, "r", reap) else watcher = watch_sigchld() end
  if not watcher then return nil, core.errnos[code] or core.errnos.EMFILE end
  watcher:unref()
  return true
end

Child.reap = reap

-- Making one -----------------------------------------------------------------

--- @param file string
--- @param args string[] argv
--- @param its_ends Ends
--- @return Child
function Child.new(file, args, its_ends)
  return setmetatable({
    spawn_file = file,
    spawn_args = args,
    ends_ = its_ends,
    stdio = its_ends == ends.none and {} or nil,
    pid = nil,
    process_ = false, -- orrery.spawn, until it has ended
    ended_ = false, -- and from then on
    closed_ = false,
    channel_ = false,
    error_ = false,
    leader_ = false,
    listeners_ = false,
    referenced_ = false,
    released_ = false, -- called once it has ended: no scope stops it any more
    timer_ = false,
    waiters_ = false,
    on_closed_ = false,
  }, its_ends == ends.none and Child or Lazy)
end

--- It runs: `handle` is its orrery.spawn.
function Child:started(handle)
  self.process_, self.pid = handle, handle:pid()
  self.referenced_ = true
  children[handle] = self
  count_reference(1)
  loop.soon(self.emit, self, "spawn")
end

--- Opens the channel that it was started with.
--- @param fd userdata orrery.fd
function Child:connect_(fd, opts)
  local messaging = require "orrery.channel.messaging"
  local channel, err = messaging.open(self, fd, opts)
  if channel then return end
  messaging.open_none(self)
  loop.soon(self.emit, self, "disconnect", err)
end

--- Called by the emitter.
function Child:listeners_changed_(event)
  if self.channel_ then
    require "orrery.channel.messaging".listeners_changed(self, event)
  end
end

for _, name in ipairs { "send", "receive", "request", "handle", "disconnect" } do
  Child[name] = function(self, ...)
    local method = require "orrery.channel.messaging".Messaging[name]
    Child[name] = method
    return method(self, ...)
  end
end

--- It could not start. `error` is not emitted where a waiter got it.
function Child:failed(err)
  self.error_ = err
  loop.soon(function()
    if not self.error_taken_ or self:listener_count("error") > 0 then
      self:emit("error", err)
    end
  end)
  loop.soon(function()
    self.closed_ = true
    self:emit("close", nil, nil)
  end)
end

-- Waiting --------------------------------------------------------------------

--- Calls wake(true) when the process has ended, while it runs still. Returns what
--- undoes that.
function Child:on_exit_(wake)
  local waiters = self.waiters_ or {}
  local place = #waiters + 1
  self.waiters_, waiters[place] = waiters, wake
  return function() waiters[place] = false end
end

local function wait_exit(self, t, what)
  if not running(self) then return true end
  return scheduler.wait(function(wake) return self:on_exit_(wake) end, t, what)
end

--- Why a child that has ended has neither an exit code nor a signal.
function Child.status_taken(pid)
  return errors.new("ECHILD", ("child %d: its exit status was taken by somebody "
    .. "else"):format(pid))
end

--- The exit code, or 128+n and the signal's name; nil, err where somebody else
--- took the status.
local function status(self)
  if self.signal_code then
    local _, number = self.ended_:status()
    return 128 + number, self.signal_code
  elseif self.exit_code then
    return self.exit_code
  end
  return nil, Child.status_taken(self.pid)
end
Child.status_ = status

--- Waits until the process has ended; its output may still be open. [w]
--- @param t integer? ms
--- @return integer? code 128+n where signal n ended it; nil, err (ETIMEDOUT,
---   and whatever kept it from starting)
--- @return string|Error? signal
function Child:wait(t)
  if self.error_ then
    self.error_taken_ = true
    return nil, self.error_
  end
  local ok, err = wait_exit(self, t, "wait")
  if not ok then return nil, err end
  return status(self)
end

-- Signals --------------------------------------------------------------------

--- A result of kill(2) as true; false; false, err.
local function sent(self, number, ok, errno)
  if ok then
    if number ~= 0 then self.killed = true end
    return true
  elseif errno == ESRCH then
    return false
  end
  return false, errors.system(errno, "kill", { path = tostring(self.pid) })
end

--- Sends a signal to the process. Never reaches another process that has got
--- the same pid.
--- @param signal string|integer? "SIGTERM"; 0 asks whether it is there
--- @return boolean sent false once it has ended
--- @return Error? err EPERM
function Child:kill(signal)
  local number = signals.check("kill", signal or "SIGTERM")
  if not running(self) then return false end
  return sent(self, number, self.process_:kill(number))
end

--- Sends to the process group where the child leads one, else to the child.
local function signal_family(self, number)
  if not running(self) then return false end
  if self.leader_ then
    return sent(self, number, self_process:kill(-self.pid, number))
  end
  return sent(self, number, self.process_:kill(number))
end

--- Sends a signal to the child's process group, where it leads one (`pgroup`,
--- `detached`), else to the child.
--- @param signal string|integer?
--- @return boolean sent
--- @return Error? err
function Child:kill_tree(signal)
  return signal_family(self, signals.check("kill_tree", signal or "SIGTERM"))
end

local stop_options = {
  signal = signals.option,
  grace = options.checks.ms,
}

local function stop(self, number, grace)
  local forced = false
  signal_family(self, number)
  if number == SIGTERM then signal_family(self, SIGCONT) end
  if not wait_exit(self, grace, "stop") then
    forced = true
    signal_family(self, SIGKILL)
    wait_exit(self, nil, "stop")
  end
  return forced
end

--- Ends the child: a signal, `grace` ms, SIGKILL. [w]
--- @param opts {signal: string|integer?, grace: integer?}? "SIGTERM", 5000 ms
--- @return {code: integer, signal: string?, forced: boolean, duration: number}?
---   result duration in ms from the call
--- @return Error? err where it never started
function Child:stop(opts)
  opts = options.check("stop", opts, stop_options)
  if self.error_ then
    self.error_taken_ = true
    return nil, self.error_
  end
  local begun = self_process:hrtime()
  local number = signals.number(opts.signal or "SIGTERM")
  local forced = running(self) and stop(self, number, opts.grace or STOP_GRACE)
  local code, signal = status(self)
  return {
    code = code,
    signal = self.signal_code and signal,
    forced = forced,
    duration = (self_process:hrtime() - begun) / 1e6,
  }
end

--- A `<close>` variable of a child: SIGTERM, 2 s, SIGKILL, reaped, and its
--- streams are closed. Where nobody can wait: SIGKILL at once. Never raises.
function Child:__close()
  if running(self) then
    if not scheduler.forbidden("close") then
      pcall(stop, self, SIGTERM, CLOSE_GRACE)
    end
    signal_family(self, SIGKILL)
  end
  self.ends_:close()
end

--- SIGKILL for what may not outlive this process.
function Child:abandon_()
  signal_family(self, SIGKILL)
end

--- Ends it by `kill_signal` once `ms` have passed.
function Child:set_timeout_(ms, signal)
  if not running(self) then return end
  self.timer_ = clock.after(ms, function()
    self.timed_out = true
    signal_family(self, signal)
  end)
  self.timer_:set_ref(false)
end

-- Keeping the loop alive -----------------------------------------------------

local function set_referenced(self, on)
  if running(self) and self.referenced_ ~= on then
    self.referenced_ = on
    count_reference(on and 1 or -1)
  end
  return self
end

--- The loop lives while the child runs (the default).
--- @return Child self
function Child:ref() return set_referenced(self, true) end

--- The loop may end before the child. Its pipes count for themselves.
--- @return Child self
function Child:unref() return set_referenced(self, false) end

Lazy.__tostring, Lazy.__close = Child.__tostring, Child.__close

return Child
