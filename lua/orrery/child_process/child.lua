--- A child process: its events, waiting for it, ending it. spawn.lua makes
--- children by `running` and `failed`; the reaper moves them on, by
--- `on_reaped_`.
---
--- What runs a program and collects its output (capture.lua) has three methods
--- of its own here: `output_`, `when_over_`, `end_by_`.

local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local ends = require "orrery.child_process.ends"
local events = require "orrery.events"
local joining = require "orrery.runtime.joining"
local loop = require "orrery.runtime.loop"
local ownership = require "orrery.child_process.ownership"
local reaper = require "orrery.child_process.reaper"
local scheduler = require "orrery.runtime.scheduler"
local signals = require "orrery.runtime.signals"
local stopping = require "orrery.child_process.stopping"

local OUTPUT_STEPS = 8 -- in which the time for output after the exit is counted
local POLL_TURNS = 3 -- of loop.later: between the first and the last is a poll

--- @class Child : Emitter events: spawn, exit(code, signal), close(code,
---   signal), error(err); with a channel message, disconnect, drain
--- @field pid integer? nil if it could not start
--- @field stdin Stream?
--- @field stdout Stream?
--- @field stderr Stream?
--- @field pty Pty? the terminal, which stdin and stdout are then
--- @field stdio table<integer, Stream> by child fd, from 0
--- @field exit_code integer? nil until exit, and if a signal ended it
--- @field signal_code string? the name of the signal that ended it
--- @field killed boolean a signal was sent with success
--- @field spawn_file string
--- @field spawn_args string[]
--- @field connected boolean its channel is open, both ways
--- @field channel Channel? while it is open
--- @field usage table? after exit: {user, system (µs), max_rss (bytes), …}
local Child = class("orrery.Child", events.Emitter, stopping)

Child.killed, Child.connected = false, false
Child.is_leader_ = false -- of a process group
Child.family_ = false -- Keeper or Group of a contained family

function Child.__tostring(self)
  local state = "running"
  if self.error_ then
    state = "failed to start"
  elseif self.signal_code then
    state = "ended by " .. self.signal_code
  elseif not self.is_running_ then
    state = ("exited with %s"):format(self.exit_code or "unknown status")
  end
  return ("child %s (%s): %s"):format(self.pid or "-",
    table.concat(self.spawn_args, " "), state)
end

--- Returns what it is called among what keeps the loop alive.
--- @return string
function Child:name_()
  return ("child %d (%s)"):format(self.pid, self.spawn_file)
end

-- The end --------------------------------------------------------------------

--- Calls fn() when the process has ended, in the turn in which that is known.
--- A wait that times out again and again leaves nothing behind.
--- @return function undo
local function when_exited(self, fn)
  local waiters, place = self.waiters_ or {}, self.last_waiter_ + 1
  self.waiters_, self.last_waiter_, waiters[place] = waiters, place, fn
  return function()
    waiters[place] = nil
    while self.last_waiter_ > 0 and not waiters[self.last_waiter_] do
      self.last_waiter_ = self.last_waiter_ - 1
    end
  end
end

--- Calls what `when_over_` was given, once: after what `end_by_` began.
local function over(self)
  local capture = self.capture_
  if not capture then return end
  local ending = capture.ending
  if ending and ending.status == "running" then
    return joining.on_end(ending, function() over(self) end)
  end
  self.capture_ = false
  local incomplete = not self.is_closed_ or self.ends_:failed()
  self.ends_:close()
  capture.fn(incomplete, capture.forced)
end

local function emit_close(self)
  self.is_closed_ = true
  self:emit("close", self.exit_code, self.signal_code)
  if self.capture_ then over(self) end
end

--- Emits `close` now that every stream that was asked for is closed; after the
--- channel, if there is one.
local function close_after_channel(self)
  local channel = self.channel_
  if not channel then return emit_close(self) end
  channel:when_over_(emit_close)
end

local function emit_exit(self)
  self:emit("exit", self.exit_code, self.signal_code)
end

--- Takes in that a contained family is empty, with what it has used. Called by
--- its Keeper or Group.
--- @param usage table as `usage`, or the little that a control group knows
function Child:on_empty_(usage)
  self.family_usage_, self.usage = usage, nil -- which is made anew
  if self.release_ then self.release_() end
  self.release_ = nil
end

--- Takes in that the keeper has gone, by itself or killed. Called by it.
function Child:on_gone_()
  if self.is_running_ then self:on_reaped_() end
  if self.release_ then self.release_() end
  self.release_ = nil
end

--- Takes the status in, wakes who waits for the exit, and sees to the events.
--- Called by the reaper, or by the keeper.
function Child:on_reaped_()
  local code, signal = self.spawned_:status()
  self.exit_code = code
  self.signal_code = signal and signals.name(signal)
  self.is_running_ = false
  setmetatable(self, getmetatable(self).with_fields_)
  if self.timer_ then self.timer_:stop() end
  if self.is_referenced_ then reaper.unref() end
  local waiters = self.waiters_
  for place = 1, self.last_waiter_ do
    if waiters[place] then waiters[place](true) end
  end
  loop.soon(emit_exit, self)
  if self.channel_ then self.channel_:peer_ended_() end
  self.ends_:finish(close_after_channel, self)
end

-- Waiting --------------------------------------------------------------------

--- Waits until the process has ended. [w]
--- @param t integer? ms
--- @param what string the function's name, for messages
--- @return true? ok
--- @return Error? err (ETIMEDOUT)
function Child:wait_exit_(t, what)
  if not self.is_running_ then return true end
  return scheduler.wait(function(wake) return when_exited(self, wake) end, t,
    what)
end

--- Returns the exit code, or 128+n and the signal's name; nil, err if the
--- status was taken by other code.
function Child:status_()
  if self.signal_code then
    local _, number = self.spawned_:status()
    return 128 + number, self.signal_code
  elseif self.exit_code then
    return self.exit_code
  end
  local is_kept = self.spawned_ ~= self.process_
  return nil, reaper.status_taken(self.pid,
    is_kept and "is not known, for its keeper was killed")
end

--- Waits until the process has ended; its output may still be open. [w]
--- @param t integer? ms
--- @return integer? code 128+n if signal n ended it
--- @return string|Error? signal its name; or err (ETIMEDOUT, ECHILD, and what
---   kept it from starting)
function Child:wait(t)
  if self.error_ then
    self.is_error_taken_ = true
    return nil, self.error_
  end
  local ok, err = self:wait_exit_(t, "wait")
  if not ok then return nil, err end
  return self:status_()
end

-- For capture.lua ------------------------------------------------------------

--- Calls take(chunk) for every chunk that the child writes to fd `n`, and makes
--- the child's `close` event wait for the end of that output. Does nothing if
--- fd `n` is no pipe to us.
--- @param n integer
--- @param take fun(chunk: string)
function Child:output_(n, take)
  self.ends_:collect(n, take)
end

--- Lets the loop look at its fds once, without blocking. If timers are due, or
--- in a turn of plain lua5.4, ticks may run many times before it does.
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

--- Waits for `close`, `grace` ms at most. They are counted in steps, each of
--- which ends with a poll: a loop that was held up has lost one step, and
--- always looks at what has come before it gives up.
local function await_output(self, grace)
  local left = grace
  local step = math.max(1, left // OUTPUT_STEPS)
  while not self.is_closed_ do
    self:wait_for("close", math.min(step, left))
    if not self.is_closed_ then
      self.ends_:drain()
      pass_poll()
    end
    left = left - step
    if left <= 0 then break end
  end
  over(self)
end

--- Calls fn(incomplete, forced) once, when the child is over: the process has
--- ended, nothing that `end_by_` began is left to do, and its output is at its
--- end, or `grace` ms have passed since the exit. Its streams are closed then.
--- @param grace integer ms
--- @param fn fun(incomplete: boolean, forced: boolean) whether output may be
---   missing, and whether `end_by_` had to send SIGKILL
function Child:when_over_(grace, fn)
  self.capture_ = { fn = fn, ending = false, forced = false }
  when_exited(self, function()
    loop.at_turn_end(function()
      if not self.is_closed_ then scheduler.go(await_output, self, grace) end
    end)
  end)
end

-- Keeping the loop alive -----------------------------------------------------

local function set_referenced(self, on)
  if self.is_running_ and self.is_referenced_ ~= on then
    self.is_referenced_ = on
    if on then reaper.ref() else reaper.unref() end
  end
  return self
end

--- Makes the loop live while the child runs (the default).
--- @return Child self
function Child:ref() return set_referenced(self, true) end

--- Lets the loop end before the child. Its pipes count for themselves.
--- @return Child self
function Child:unref() return set_referenced(self, false) end

-- Classes --------------------------------------------------------------------

-- A child without a channel has these methods too: they raise and say how it
-- would have one.
local verbs = { "send", "receive", "request", "handle", "disconnect" }
for _, name in ipairs(verbs) do
  Child[name] = function(self, ...)
    return require "orrery.channel.messaging".Messaging[name](self, ...)
  end
end

--- How to make the fields that few ask for, when they are asked for.
local makers = {
  stdio = function(self) return self.ends_:all() end,
  usage = function(self)
    if self.is_running_ or not self.spawned_ then return nil end
    local usage = self.spawned_:usage()
    local family = self.family_usage_
    for name, value in next, family and usage or {} do
      if family[name] == nil then family[name] = value end
    end
    usage.family = family
    return usage
  end,
}
for name, n in next, { stdin = 0, stdout = 1, stderr = 2, pty = "pty" } do
  makers[name] = function(self) return self.ends_:stream(n) end
end

--- Gives a class of children a twin, for the children that have such fields:
--- with pipes, or ended. The others keep a plain table as __index, for a
--- function is called for each method that is looked up.
local function add_twin(plain)
  local twin = class("orrery.Child", plain)
  plain.with_fields_, twin.with_fields_ = twin, twin
  function twin.__index(self, key)
    local make = makers[key]
    if not make then return plain[key] end
    local value = make(self)
    self[key] = value
    return value
  end
  return plain
end

add_twin(Child)

local Talking -- the class of children with a channel

--- Returns `Talking`, made with the first channel: messaging is a quarter of
--- what is loaded for children, and few programs need it.
local function talking()
  local messaging = require "orrery.channel.messaging"
  Talking = Talking or add_twin(class("orrery.Child", Child,
    messaging.Messaging, { listeners_changed_ = messaging.listeners_changed }))
  return Talking
end

-- Making one -----------------------------------------------------------------

local function new(start, its_ends)
  local bare = its_ends == ends.none
  return setmetatable({
    spawn_file = start.file,
    spawn_args = start.argv,
    ends_ = its_ends,
    stdio = bare and {} or nil,
    pid = nil,
    process_ = false, -- orrery.spawn; of the keeper, if there is one
    spawned_ = false, -- orrery.spawn or orrery.keeper: of the program
    is_running_ = false, -- not reaped yet
    is_closed_ = false, -- `close` has come
    channel_ = false,
    error_ = false, -- why it could not start
    is_referenced_ = false, -- keeps the loop alive
    listeners_ = false,
    capture_ = false, -- {fn, ending, forced} of when_over_, until it is over
    timer_ = false,
    waiters_ = false, -- functions for its exit, by place
    last_waiter_ = 0, -- the last place that is taken
  }, bare and Child or Child.with_fields_)
end

--- Opens the channel that the child was started with; on failure it is
--- disconnected from the start.
local function connect(self, fd, opts)
  local bare = getmetatable(self) == Child
  setmetatable(self, bare and talking() or talking().with_fields_)
  local messaging = require "orrery.channel.messaging"
  local channel, err = messaging.open(self, fd, opts)
  if channel then return end
  messaging.open_none(self)
  loop.soon(self.emit, self, "disconnect", err)
end

--- Ends the child by `signal` once `ms` have passed.
local function set_timeout(self, ms, signal)
  self.timer_ = clock.after(ms, function() self:send_all_(signal) end)
  self.timer_:set_ref(false)
end

--- Has the end of the process told: by the reaper, or by its keeper.
local function watch(self, contained)
  if not contained then return reaper.watch(self.process_, self) end
  self.family_ = contained
  local ok = contained:watch(self.process_, self)
  if not ok then loop.soon(contained.on_reaped_, contained) end
end

--- Ties a child to a scope or task until it has ended; a contained one, until
--- its family has.
local function tie(self, scope)
  local release = ownership.tie(self, scope)
  if not self.family_ then return when_exited(self, release) end
  self.release_ = release
end

local child = {}

--- Makes the Child of a start that has succeeded; `spawn` follows.
--- @param start Start
--- @param opts table spawn's, checked
--- @return Child
function child.running(start, opts)
  local self = new(start, ends.new(start.plan, start.ends))
  local contained, attributes = start.family, start.attributes
  self.process_ = start.spawned
  self.spawned_ = contained and contained.handle or start.spawned
  self.pid = self.spawned_:pid()
  self.is_running_, self.is_referenced_ = true, true
  if attributes and (attributes.setsid or attributes.pgroup == 0) then
    self.is_leader_ = true
  end
  watch(self, contained)
  reaper.ref()
  loop.soon(self.emit, self, "spawn")
  if start.channel then connect(self, start.channel, opts) end
  if opts.timeout and opts.timeout > 0 then
    set_timeout(self, opts.timeout,
      signals.number(opts.kill_signal or "SIGTERM"))
  end
  if opts.scope then tie(self, opts.scope) end
  return self
end

local function emit_error(self)
  if not self.is_error_taken_ or self:listener_count("error") > 0 then
    self:emit("error", self.error_)
  end
end

--- Makes the Child of a start that has failed: without a pid; `error` follows,
--- unless a waiter takes it before, and `close`.
--- @param start Start
--- @param err Error
--- @return Child
function child.failed(start, err)
  local self = new(start, ends.ended(start.plan))
  if start.plan.channel then
    require "orrery.channel.messaging".open_none(self)
  end
  self.error_ = err
  loop.soon(emit_error, self)
  loop.soon(emit_close, self)
  return self
end

return child
