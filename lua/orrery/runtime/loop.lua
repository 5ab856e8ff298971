--- The only way between luv and the rest: every callback comes in through
--- `guard`, and when the outermost one returns, the queue of ticks is drained
--- (tasks are resumed from it as well). Order laws and error paths live here.
---
--- It owns the tick queue and one idle handle, which runs ticks that were queued
--- outside any callback and keeps the loop from blocking meanwhile. It never runs
--- the loop by itself.

local uv = require "luv"
local core = require "orrery.core"

--- @field emitting integer how many emits are running, one inside the other
local loop = { emitting = 0 }

local self_process = core.process()
local flush_stdout = self_process.flush
local traceback = debug.traceback

-- The queue, as columns: a tick is a function and three arguments.
local fns, as, bs, cs = {}, {}, {}, {}
local head, tail = 1, 0
local next_turn = {} -- run by the idle handle, one turn later
local endings, owners = {}, {} -- functions to be run once the queue has run dry
local ended, last_ending = 0, 0 -- how many of them have been run, and are there

local inside = false -- a guarded callback is running
local ending = false -- the Lua state is closing: handles are dead objects
local hooked = false -- luv itself calls `turn`
local starter -- the idle handle
local armed = false

--- Called with every error that nobody caught: err, traceback, origin
--- ("callback" or "task"). The process module replaces it; it should not
--- return where the process is to end.
function loop.on_uncaught(err, trace)
  io.stderr:write("orrery: uncaught error: ", trace or tostring(err), "\n")
  loop.exit(1)
end

local failure_trace

--- What to print of an error that may be any value.
local function describe(err)
  local meta = getmetatable(err)
  if type(err) == "table" and not (meta and meta.__tostring) then
    return require "orrery.inspect"(err)
  end
  return tostring(err)
end

--- The message handler of all guarded calls.
local function remember(err)
  failure_trace = traceback(describe(err), 2)
  return err
end
loop.remember = remember

--- The traceback that `remember` took last.
--- @return string
function loop.last_trace()
  return failure_trace
end

--- Reports an error that nobody caught.
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

--- Runs ticks, and what they queue, then what waits for the end of the turn, until
--- nothing is left. What raises is gone from the queue: go on with another call.
local function drain()
  while true do
    if tail > 0 then run_ticks() end
    local i = ended + 1
    if i > last_ending then break end
    ended = i
    local fn, owner = endings[i], owners[i]
    endings[i], owners[i] = false, false
    fn(owner)
  end
  ended, last_ending = 0, 0
end

--- All that one callback of luv's brings about.
local function turn(fn, ...)
  if ending then return end
  if inside then return call(fn, ...) end
  inside = true
  fn(...)
  drain()
  flush_stdout(self_process)
  inside = false
end

--- The turn has raised: what is left of it is done, error after error.
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

--- Every callback of luv's ends up here, wrapped by `guard`, or in what the core
--- does alike where luv is hooked. Never raises.
local function enter(fn, ...)
  local ok, err = xpcall(turn, remember, fn, ...)
  if not ok then recover(err) end
end

--- Wraps a callback for luv: errors go to `uncaught_exception`, and ticks run
--- after it.
--- @param fn function
--- @return function
function loop.guard(fn)
  if hooked then return fn end
  return function(...)
    if hooked and inside then return fn(...) end -- luv has entered already
    return enter(fn, ...)
  end
end

--- What was put off to this turn joins the queue.
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
  starter = starter or uv.new_idle()
  starter:start(function() enter(begin_turn) end)
end

--- Queues fn(a, b, c): it runs before the loop polls, after what is queued.
function loop.soon(fn, a, b, c)
  local i = tail + 1
  tail = i
  fns[i], as[i], bs[i], cs[i] = fn, a, b, c
  if not inside then arm() end
end

--- Queues fn() for the next turn of the loop, after the current drain.
function loop.later(fn)
  next_turn[#next_turn + 1] = fn
  arm()
end

--- Calls fn(owner) when the queue has run dry, before the loop goes on.
function loop.at_turn_end(fn, owner)
  local i = last_ending + 1
  last_ending = i
  endings[i], owners[i] = fn, owner
  if not inside then arm() end
end

local exits = {}

--- Calls fn() when this process ends by our hand, before stdout is flushed.
function loop.at_exit(fn)
  exits[#exits + 1] = fn
end

--- Ends the process without finalizers.
--- @param code integer
function loop.exit(code)
  for i = 1, #exits do pcall(exits[i]) end
  self_process:exit(code)
end

--- Whether the loop is running: then waiting needs a task.
function loop.running()
  return inside or uv.loop_mode() ~= nil
end

--- One turn for a caller outside the loop: ticks, then events, blocking until
--- there is one. Returns whether anything is left.
--- @param until_ function? no blocking once it returns true
--- @return boolean
function loop.turn(until_)
  enter(begin_turn)
  if until_ and until_() then return true end
  return uv.run("once") or tail > 0 or armed
end

--- Ends the turn that is running, if any, without blocking further: a caller
--- outside the loop has got what it waits for.
function loop.interrupt()
  if uv.loop_mode() then uv.stop() end
end

--- Makes this process's luv call us for every callback, also a script's own.
--- @return boolean worked
function loop.own()
  hooked = hooked or core.hook_luv(uv.run, turn, remember, recover)
  return hooked
end

--- luv 1.44 crashes when the state closes while a handle is closing. Objects
--- are finalized in reverse order, so one made at a close is finalized before
--- that handle, and then gives it the turn that it needs.
local Sentinel = {
  __gc = function(self)
    if self.retired then return end
    ending = true
    uv.run("nowait")
  end,
}
local sentinel = setmetatable({}, Sentinel)

--- Closes a luv handle, once, or what has the interface of one. Every close of
--- ours goes through here.
function loop.close(handle, fn)
  if handle:is_closing() then return end
  if type(handle) == "table" then return handle:close(fn) end
  sentinel.retired = true -- luacheck: ignore
  sentinel = setmetatable({}, Sentinel)
  handle:close(fn and loop.guard(fn))
end

--- Has a luv handle that is new take over an fd.
--- @param handle userdata of luv; closed where it cannot
--- @param fd userdata orrery.fd; the handle's from then on
--- @return userdata? handle nil, code
--- @return string? code errno name
function loop.open(handle, fd)
  local ok, _, code = handle:open(fd:fileno())
  if ok then
    fd:take()
    return handle
  end
  loop.close(handle)
  return nil, code
end

--- @class Watcher an fd that luv polls; it does not own the fd
local Watcher = {}
Watcher.__index = Watcher

function Watcher:start() self.poll:start(self.events, self.fn) end
function Watcher:stop() self.poll:stop() end

--- Stops, before the fd is closed.
function Watcher:close()
  if self.poll:is_closing() then return end
  self.poll:stop()
  loop.close(self.poll)
end

function Watcher:ref() self.poll:ref() end
function Watcher:unref() self.poll:unref() end

--- Calls fn(err, events) whenever `fd` is ready.
--- @param fd integer
--- @param events string as luv's poll: "r", "w", "rw"
--- @param fn function
--- @return Watcher? watcher
--- @return string? code errno name
function loop.watch(fd, events, fn)
  local poll, _, code = uv.new_poll(fd)
  if not poll then return nil, code end
  local self = setmetatable({ poll = poll, events = events, fn = loop.guard(fn) },
    Watcher)
  self:start()
  return self
end

return loop
