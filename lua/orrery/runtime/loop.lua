--- The only way between luv and the rest: every callback comes in through
--- `guard`, and when the outermost one returns, the queue of ticks is drained,
--- from which tasks are resumed as well. The laws of order and the ways of
--- errors are here.
---
--- It owns the queue and one idle handle, which runs ticks that were queued
--- outside any callback and keeps the loop from blocking meanwhile. It runs the
--- loop only for `turn`. It is one for the whole Lua state, as luv's is,
--- however often this module is loaded there.

local uv = require "orrery.runtime.luv"
local core = require "orrery.core"

local shared = core.shared
if shared.loop then return shared.loop end

--- @field emitting integer how many emits are running, one inside the other
--- @field owns_process boolean the CLI or `orrery.main` is running: an
---   uncaught error ends the process
--- @field naming table what handles of ours stand for, by handle: functions
---   that return a list of names, for `process.active_resources`; a handle
---   that is not in it speaks for itself
--- @field raise_in_wait (fun(err: any): boolean)? while the main chunk waits:
---   has its wait raise an error, unless it is to raise another one already
local loop = { emitting = 0, owns_process = false,
  naming = setmetatable({}, { __mode = "k" }) }
shared.loop = loop

local self_process = core.process()
local flush_stdout = self_process.flush
local traceback = debug.traceback

-- The queue, as columns: a tick is a function and three arguments.
local fns, as, bs, cs = {}, {}, {}, {}
local head, tail = 1, 0
local next_turn = {} -- functions that join the queue in the next turn
-- What is called when the queue has run dry, as columns: function and owner.
local at_turn_end_queue, owners = {}, {}
local called, queued = 0, 0 -- how many of these have been called, and are there

local inside = false -- a guarded callback is running
local closing = false -- the Lua state is closing: handles are dead objects
local hooked = false -- luv itself calls `turn`
local starter -- the idle handle
local armed = false

--- Writes an uncaught error to stderr, after what is buffered for stdout.
--- @param trace string
function loop.report(trace)
  flush_stdout(self_process)
  io.stderr:write("orrery: uncaught error: ", trace, "\n")
end

--- Leaves an uncaught error to the host: the wait of its main chunk raises it,
--- or else it is reported.
--- @param err any
--- @param trace string
function loop.leave_to_host(err, trace)
  local raise = loop.raise_in_wait
  if not (raise and raise(err)) then loop.report(trace) end
end

--- Takes an uncaught error: ends the process if it is ours. The process module
--- puts its own function in place of it, which may also return.
--- @param err any
--- @param trace string its traceback
function loop.on_uncaught(err, trace)
  if not loop.owns_process then return loop.leave_to_host(err, trace) end
  loop.report(trace)
  loop.exit(1)
end

--- Called whenever the loop has nothing left to do; the process module puts its
--- own function in place of it.
function loop.before_exit() end

local failure_trace

--- Returns what to print of an error, which may be any value.
local function describe(err)
  local meta = getmetatable(err)
  if type(err) == "table" and not (meta and meta.__tostring) then
    return require "orrery.inspect"(err)
  end
  return tostring(err)
end

--- The message handler of all guarded calls: keeps the traceback.
local function remember(err)
  failure_trace = traceback(describe(err), 2)
  return err
end
loop.remember = remember

--- Returns the traceback that `remember` took last.
--- @return string trace
function loop.last_trace()
  return failure_trace
end

--- Reports an uncaught error.
--- @param err any
--- @param trace string? that of this call if nil
--- @param origin "callback"|"task"|nil "callback" if nil
function loop.fail(err, trace, origin)
  loop.on_uncaught(err, trace or traceback(describe(err), 2),
    origin or "callback")
end

local function call(fn, ...)
  local ok, err = xpcall(fn, remember, ...)
  if not ok then loop.fail(err, failure_trace, "callback") end
end

local function run_ticks()
  while head <= tail do
    local i = head
    head = i + 1
    local fn, a, b, c = fns[i], as[i], bs[i], cs[i]
    fns[i], as[i], bs[i], cs[i] = false, false, false, false
    fn(a, b, c)
  end
  head, tail = 1, 0
end

--- Runs ticks, and what they queue, then what waits for the end of the turn,
--- until both queues are empty. An entry leaves its queue before it is called,
--- so after an error another call goes on with the next one.
local function drain()
  while true do
    if tail > 0 then run_ticks() end
    local i = called + 1
    if i > queued then break end
    called = i
    local fn, owner = at_turn_end_queue[i], owners[i]
    at_turn_end_queue[i], owners[i] = false, false
    fn(owner)
  end
  called, queued = 0, 0
end

--- Does all that one callback of luv's brings about.
local function turn(fn, ...)
  if closing then return end
  if inside then return call(fn, ...) end
  inside = true
  fn(...)
  drain()
  flush_stdout(self_process)
  inside = false
end

--- Does what is left of a turn that has raised, error after error.
local function recover(err)
  local ok
  repeat
    local trace = failure_trace
    failure_trace = nil -- want of memory leaves none of its own
    loop.fail(err, trace, "callback")
    ok, err = xpcall(drain, remember)
  until ok
  flush_stdout(self_process)
  inside = false
end

--- Runs a callback of luv's. Never raises. (When luv is hooked, the core does
--- the same for every callback.)
local function enter(fn, ...)
  local ok, err = xpcall(turn, remember, fn, ...)
  if not ok then recover(err) end
end

--- Wraps a callback for luv: its errors are uncaught errors, and ticks run
--- after it.
--- @param fn function
--- @return function callback
function loop.guard(fn)
  if hooked then return fn end
  return function(...)
    if hooked and inside then return fn(...) end -- luv has entered already
    return enter(fn, ...)
  end
end

--- Queues what was put off to this turn.
local function begin_turn()
  local due = next_turn
  next_turn = {}
  for i = 1, #due do loop.soon(due[i]) end
  if armed then
    armed = false
    starter:stop()
  end
end

local function arm()
  if armed then return end
  armed = true
  if not starter then
    starter = uv.new_idle()
    loop.naming[starter] = function() return {} end -- it is nobody's own
  end
  starter:start(function() enter(begin_turn) end)
end

--- Calls fn(a, b, c) before the loop polls, after what is queued already.
--- @param fn function
--- @param a any?
--- @param b any?
--- @param c any?
function loop.soon(fn, a, b, c)
  local i = tail + 1
  tail = i
  fns[i], as[i], bs[i], cs[i] = fn, a, b, c
  if not inside then arm() end
end

--- Calls fn() in the next turn of the loop.
--- @param fn function
function loop.later(fn)
  next_turn[#next_turn + 1] = fn
  arm()
end

--- Calls fn(owner) when the queue has run dry, before the loop goes on.
--- @param fn function
--- @param owner any?
function loop.at_turn_end(fn, owner)
  local i = queued + 1
  queued = i
  at_turn_end_queue[i], owners[i] = fn, owner
  if not inside then arm() end
end

local exits = {}

--- Calls fn() when `exit` ends the process, before stdout is flushed.
--- @param fn function
function loop.at_exit(fn)
  exits[#exits + 1] = fn
end

--- Ends the process, without finalizers. Does not return.
--- @param code integer
function loop.exit(code)
  for i = 1, #exits do pcall(exits[i]) end
  self_process:exit(code)
end

--- Tells whether the loop is running: then only a task may wait.
--- @return boolean
function loop.running()
  return inside or uv.loop_mode() ~= nil
end

--- Runs one turn for a caller outside the loop: ticks, then events, blocking
--- until there is one.
--- @param until_ (fun(): boolean)? after the ticks; true: does not poll
--- @return boolean left false: nothing keeps the loop alive
function loop.turn(until_)
  enter(begin_turn)
  if until_ and until_() then return true end
  return uv.run("once") or tail > 0 or armed
end

--- Makes a `turn` that is running end without blocking, for its caller has got
--- what it waits for.
function loop.interrupt()
  if uv.loop_mode() then uv.stop() end
end

--- Makes luv's own callbacks, those of a script, run as ours do from now on.
--- @return boolean hooked false: the core cannot, with this luv
function loop.own()
  hooked = hooked or core.hook_luv(uv.run, turn, remember, recover)
  return hooked
end

-- When the state closes, objects are finalized in reverse order, and luv's loop
-- closes last what is still open, and calls back. That must reach no object of
-- ours: this one is older than all handles, and lives as long as the state.
local mark = setmetatable({}, { __gc = function() closing = true end })
debug.getregistry()[mark] = true

--- Closes a luv handle, or an object with the interface of one. Every close of
--- ours goes through here. Does nothing if it is closing already.
--- @param handle userdata|table
--- @param fn function? called when it is closed
function loop.close(handle, fn)
  if handle:is_closing() then return end
  if type(handle) == "table" then return handle:close(fn) end
  handle:close(fn and loop.guard(fn))
end

--- Gives an fd to a new luv handle, which owns it from then on.
--- @param handle userdata of luv; closed if it cannot take the fd
--- @param fd userdata orrery.fd
--- @return userdata? handle
--- @return string? code an errno's name
function loop.open(handle, fd)
  local ok, _, code = handle:open(fd:fileno())
  if ok then
    fd:take()
    return handle
  end
  loop.close(handle)
  return nil, code
end

return loop
