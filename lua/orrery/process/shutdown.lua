--- `on_shutdown`: what is to be done before this process ends, whatever ends
--- it: a signal, an output without a reader, the loss of the parent, or that
--- nothing is left to do. One for the whole Lua state, as the process module.

local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local ending = require "orrery.runtime.ending"
local exit = require "orrery.process.exit"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"

local shared = core.shared
if shared.shutdown then return shared.shutdown end

local ENDS = { SIGINT = true, SIGTERM = true, SIGHUP = true }
local DEADLINE = 10000 -- ms for all hooks together
local FAILED = 1 -- exit code if a hook raises and no other is set

local shutdown = {}

local self_process = core.process()
local hooks = {} -- that have not begun, in the order in which they were given
local patience = 0 -- ms: the longest time that one of them was given
local state = "waiting" -- "running" its hooks; "over"
local watching = false -- `watch` has been called
local holding = false -- signals are held up, for there are hooks
local finally -- what is to be done after them

--- Runs one hook. A hook that raises holds no other one up: its error is
--- reported, and makes the exit code 1. [w]
local function run_hook(fn, reason)
  if xpcall(fn, loop.remember, reason) then return end
  loop.report(loop.last_trace())
  if exit.code() == nil then exit.set_code(FAILED) end
end

local function finish()
  if state == "over" then return end
  state = "over"
  finally()
end

--- Runs the hooks, the last one first, and calls fn() after them. One that is
--- given meanwhile is the next. If their time is over, `expired` ends the
--- process.
local function begin(reason, fn, expired)
  finally = fn
  if state == "over" then return fn() end
  if state == "running" then return end
  state = "running"
  local deadline = clock.after(patience, function()
    if expired then finally = expired end
    finish()
  end)
  scheduler.go(function()
    while #hooks > 0 do run_hook(table.remove(hooks), reason) end
    deadline:stop()
    finish()
  end)
end

--- Ends the process by the signal that was noted, or with the exit code that a
--- hook has set.
local function end_by_signal(signal)
  local code = exit.code()
  begin(core.signal_names[signal], function()
    if exit.code() ~= code then exit.exit() end
    ending.finish()
  end)
end

--- Takes the loss of the parent: the channel to it is over. If this side has
--- left the channel itself, that ends nothing.
local function on_disconnect(channel)
  if channel.sending_ == "left" then return end
  begin("disconnect", exit.exit)
end

--- Takes a signal that has a listener: it ends the process nevertheless, as
--- long as there are hooks.
--- @param signal integer
function shutdown.on_signal(signal)
  if holding and ENDS[core.signal_names[signal]] then
    core.ending.note(signal)
  end
end

--- Lets signals end the process at once again: it may go on after its "end", as
--- behind orrery.main.
local function let_go()
  patience, holding = 0, false
  self_process:flush()
  core.ending.hold_for(0)
end

--- Takes that nothing is left to do.
function shutdown.on_end()
  if state == "waiting" and #hooks > 0 then begin("end", let_go, exit.exit) end
end

--- Begins to listen for what ends this process, if it has not begun.
local function watch()
  if watching then return end
  watching = true
  core.ending.own()
  ending.on_noted = end_by_signal
  ending.watch()
  local channel = require "orrery.process".channel
  if channel and channel.when_over_ then
    channel:when_over_(function() on_disconnect(channel) end)
  end
end

--- Has fn(reason) run in a task before this process ends. The reason is
--- "SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE" (nobody reads our output),
--- "disconnect" (the parent has gone) or "end" (nothing is left to do, under
--- the CLI and in orrery.main). Several hooks run one after the other, the last
--- one first, also one that is given by a hook. Then the process ends by that
--- signal, or with process.exit_code if a hook has set it. A second SIGINT ends
--- it at once, and a second SIGTERM once the deadline is over, also in a hook
--- that never returns. Hooks do not run on process.exit, nor for an uncaught
--- error; process.exit in a hook ends the process at once.
--- @param fn fun(reason: string)
--- @param deadline integer? ms for all hooks together, 10000 if nil; of
---   several, the longest counts
function shutdown.on_shutdown(fn, deadline)
  options.argument("on_shutdown", "fn", fn, options.checks.callback)
  if deadline == nil then deadline = DEADLINE end
  options.argument("on_shutdown", "the deadline", deadline, options.checks.ms)
  watch()
  hooks[#hooks + 1] = fn
  if state == "over" and core.ending.noted() then return end -- too late
  if state == "over" then state = "waiting" end
  patience, holding = math.max(patience, deadline), true
  core.ending.hold_for(math.min(patience // 1000 + 1, 1 << 20))
end

shared.shutdown = shutdown
return shutdown
