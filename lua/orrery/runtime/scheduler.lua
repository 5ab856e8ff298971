--- Tasks: coroutines that Orrery resumes. Only the tick queue resumes them, at
--- depth one, so a chain of any length of tasks that wait for each other needs
--- no C stack. Every wait in Orrery goes through `wait`.
---
--- Cancelling raises at the current wait and at each later one, but not inside
--- `__close` handlers: those may still wait, 5 s in all.
---
--- One scheduler serves the whole Lua state: a task may wait by whichever copy
--- of this library it calls.

local class = require "orrery.runtime.class"
local clock = require "orrery.runtime.clock"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local shared = require "orrery.core".shared
if shared.scheduler then return shared.scheduler end

local scheduler = {}
shared.scheduler = scheduler

--- Loaded by the first task that is cancelled or out of time.
local function errors() return require "orrery.runtime.errors" end

-- What travels through yield and resume.
local WAIT, DONE, UNSEEN, CANCELLED = {}, {}, {}, {}
local SHIELD = 5000 -- ms that __close handlers of a cancelled task may wait
local POOL = 64 -- idle coroutines kept

local pool = {}
local current -- the task that is running
local spare -- one that nobody has seen, in its coroutine, for the next `call`

--- @class Task it is joined by `runtime/joining.lua`
--- @field status "running"|"done"|"failed"|"cancelled"
--- @field fn_ function
--- @field args_ table? until it begins
--- @field a_ any the arguments of one that was `call`ed
--- @field b_ any
--- @field seen_ boolean? it has waited, or somebody has asked for it
--- @field thread_ thread? while it runs
--- @field results_ table? once it is done, packed
--- @field err_ any what it raised, with `trace_`
--- @field observed_ boolean? its failure is handled, and not uncaught
--- @field joiners_ (function|false)[]? called with true when it ends
--- @field on_end_ fun(self: Task)? called before the joiners
--- @field waiting_ table? its wait: {undo, timer}
--- @field cancelled_ Error? what is raised at its waits
--- @field shields_ integer? calls of `shield` that run
--- @field shield_timer_ Deadline? ends the time that handlers may wait
--- @field shield_over_ boolean?
--- @field joined_failure_ {err: any, trace: string}? of a task it joined
local Task = class "orrery.Task"

function Task.__tostring(self)
  local info = debug.getinfo(self.fn_, "S")
  return ("task %s:%d: %s"):format(info.short_src, info.linedefined,
    self.status)
end

--- Reports the error of a task as uncaught, unless it is joined in this turn.
local function report_unless_joined(self)
  loop.at_turn_end(function()
    if not self.observed_ then loop.fail(self.err_, self.trace_, "task") end
  end)
end

--- Returns the traceback of a failure, with that of the joined task behind it
--- if the error came from there.
local function failure_trace(self, err)
  local trace = loop.last_trace()
  local joined = self.joined_failure_
  if joined and rawequal(joined.err, err) then
    trace = trace .. "\n\nraised first in a task that was joined here:\n"
      .. joined.trace
  end
  return trace
end

--- Ends a task with what xpcall gave, and wakes its joiners.
local function settle(self, ok, ...)
  self.thread_ = nil
  if ok then
    self.status, self.results_ = "done", table.pack(...)
  elseif self.cancelled_ and rawequal((...), self.cancelled_) then
    self.status = "cancelled"
  else
    self.status, self.err_ = "failed", (...)
    self.trace_ = failure_trace(self, self.err_)
  end
  if self.shield_timer_ then self.shield_timer_:stop() end
  local joiners = self.joiners_ or {}
  self.joiners_ = nil
  if self.on_end_ then self.on_end_(self) end
  for _, wake in ipairs(joiners) do
    if wake then
      self.observed_ = true
      wake(true)
    end
  end
  if self.status == "failed" and not self.observed_ then
    report_unless_joined(self)
  end
end

--- Runs one task after the other, in a coroutine that is pooled between them.
--- The function runs under xpcall *inside* it, so that its `<close>` variables
--- may wait.
local function body(self)
  local thread = coroutine.running()
  while true do
    local args = self.args_
    self.args_ = nil
    settle(self, xpcall(self.fn_, loop.remember, table.unpack(args, 1, args.n)))
    self, args = nil, nil -- luacheck: ignore (not kept while it is pooled)
    if #pool >= POOL then return DONE end
    pool[#pool + 1] = thread
    self = coroutine.yield(DONE)
  end
end

--- Fails a task that has yielded anything but a wait of ours, or raised outside
--- of its function.
local function break_off(self, thread, ok, token)
  coroutine.close(thread)
  loop.remember(ok and "coroutine.yield in a task: only Orrery's waiting "
    .. "functions may suspend it" or token)
  settle(self, false, ok and "coroutine.yield in a task" or token)
end

--- Resumes a task.
local function resume(self, value)
  if not self.thread_ then return end
  local thread = self.thread_
  current = self
  local ok, token = coroutine.resume(thread, value)
  current = nil
  if ok and (token == WAIT or token == DONE) then return end
  break_off(self, thread, ok, token)
end

local function begin(self)
  if self.cancelled_ then
    settle(self, false, self.cancelled_)
  else
    self.thread_ = table.remove(pool) or coroutine.create(body)
    resume(self, self)
  end
end

local function new(fn, ...)
  local self = setmetatable(
    { fn_ = fn, args_ = table.pack(...), status = "running" }, Task)
  loop.soon(begin, self)
  return self
end

--- Starts fn(...) as a task, which begins before the loop polls again.
--- @param fn function
--- @param ... any fn's arguments
--- @return Task
function scheduler.go(fn, ...)
  options.argument("go", "fn", fn, options.checks.callback)
  return new(fn, ...)
end

local function new_spare(thread)
  return setmetatable({ status = "running", thread_ = thread }, Task)
end

--- Runs one function after the other for `call`, in one coroutine, and as one
--- task as long as nobody has seen it.
local function call_body(self, on_end, fn, a, b)
  while true do
    local ok, err = xpcall(fn, loop.remember, a, b)
    if ok and not self.seen_ then
      a, b = nil, nil -- luacheck: ignore (not kept meanwhile)
      on_end, fn, a, b = coroutine.yield(UNSEEN)
    else
      self.on_end_, self.a_, self.b_ = on_end, a, b
      settle(self, ok, err)
      if spare then return DONE end
      self = new_spare(coroutine.running())
      spare, a, b = self, nil, nil -- luacheck: ignore
      on_end, fn, a, b = coroutine.yield(DONE)
    end
  end
end

--- Starts fn(a, b) as a task that begins at once, and returns when it waits or
--- has ended. For callbacks of the loop only, which no task runs. What neither
--- waits nor asks for its task needs none of its own: the next call has it,
--- too.
--- @param on_end fun(self: Task) called at the end of one that has waited, was
---   asked for or has raised; its `a_` and `b_` are the arguments
--- @param fn function
--- @param a any
--- @param b any
function scheduler.call(on_end, fn, a, b)
  local self = spare
  local ok, token
  if self then
    spare, current, self.fn_ = nil, self, fn
    ok, token = coroutine.resume(self.thread_, on_end, fn, a, b)
  else
    self = new_spare(coroutine.create(call_body))
    current, self.fn_ = self, fn
    ok, token = coroutine.resume(self.thread_, self, on_end, fn, a, b)
  end
  current = nil
  if token == UNSEEN then
    spare = self
    return
  end
  self.on_end_, self.a_, self.b_, self.seen_ = on_end, a, b, true
  if not ok or (token ~= WAIT and token ~= DONE) then
    break_off(self, self.thread_, ok, token)
  end
end

--- Returns the running task; nil outside any, also in a coroutine that is none.
--- @return Task? task
function scheduler.current()
  if current and coroutine.running() == current.thread_ then
    current.seen_ = true
    return current
  end
end

-- Waiting --------------------------------------------------------------------

--- Tells whether a task stands in a `__close` handler. (Asked only of tasks
--- that are cancelled.)
local function is_closing(thread)
  return require "orrery.runtime.unwinding".is_closing(thread)
end

local function shielded(self)
  return self.shields_ and self.shields_ > 0
end

--- Ends the task's wait, if any, by raising the cancellation there.
local function interrupt(self)
  local record = self.waiting_
  if not record then return end
  self.waiting_ = nil
  if record.timer then record.timer:stop() end
  if record.undo then record.undo() end
  loop.soon(resume, self, CANCELLED)
end

--- Lets a cancelled task wait in its handlers, until the time for all of them
--- is over.
local function start_shield(self)
  if self.shield_timer_ then return end
  self.shield_timer_ = clock.after(SHIELD, function()
    self.shield_over_ = true
    interrupt(self)
  end)
end

--- Raises the cancellation of a task, unless it may still wait.
local function check_cancelled(self)
  if not self.cancelled_ then return end
  if self.shield_over_
    or not (shielded(self) or is_closing(coroutine.running())) then
    error(self.cancelled_, 0)
  end
  start_shield(self)
end

--- Suspends the running task until it is woken, see `wait`.
local function suspend(self, start, ms)
  local record = {}
  self.waiting_ = record
  local function wake(...)
    if self.waiting_ ~= record then return false end
    self.waiting_ = nil
    if record.timer then record.timer:stop() end
    loop.soon(resume, self, table.pack(...))
    return true
  end
  record.undo = start(wake)
  if ms and self.waiting_ == record then
    record.timer = clock.after(ms, function()
      if record.undo then record.undo() end
      wake(nil, errors().timeout(ms))
    end)
  end
  local value = coroutine.yield(WAIT)
  if value == CANCELLED then error(self.cancelled_, 0) end
  return table.unpack(value, 1, value.n)
end

--- Returns why the caller may not wait here, or nil.
--- @param what string the waiting function's name
--- @return string? why
local function forbidden(what)
  local thread, main = coroutine.running()
  if loop.emitting > 0 then
    return what .. " waits, and a listener may not: wrap it in orrery.go(fn)"
  elseif current and current.thread_ == thread then
    if coroutine.isyieldable() then return end
    return what .. " waits, and C code on the stack (require, table.sort, "
      .. "string.gsub, ...) forbids that: use a _sync form"
  elseif not main then
    return what .. " waits, and this coroutine is no task: use orrery.go(fn)"
  elseif loop.running() then
    return what .. " waits, and a callback may not: wrap it in orrery.go(fn)"
  end
end

--- Raises at the user's line unless the caller may wait here.
--- @param what string the waiting function's name, for the message
local function check_may_wait(what)
  local why = forbidden(what)
  if why then options.raise("%s", why) end
end

--- Waits: the one way to do so. `start(wake)` arranges for wake(...) to be
--- called; it may return a function that undoes that if the wait ends
--- otherwise. Raises if the caller may not wait, or is cancelled.
--- @param start fun(wake: fun(...): boolean): function?
--- @param ms integer? at most so long
--- @param what string the waiting function's name, for messages
--- @return any ... what wake was given; nil, err if the time is up
--- @return Error? err (ETIMEDOUT)
function scheduler.wait(start, ms, what)
  check_may_wait(what)
  if ms ~= nil then
    options.argument(what, "the time", ms, options.checks.ms)
  end
  local self = current
  if not self then
    return require "orrery.runtime.main_chunk".wait(start, ms, what)
  end
  check_cancelled(self)
  return suspend(self, start, ms)
end

--- Raises whatever `wait` would raise, for a waiting function that does
--- something first.
--- @param what string the waiting function's name, for messages
--- @param ms integer?
function scheduler.checkpoint(what, ms)
  check_may_wait(what)
  if ms ~= nil then
    options.argument(what, "the time", ms, options.checks.ms)
  end
  if current then check_cancelled(current) end
end

--- Calls fn(...), for cleaning up, and lets it wait although the task is
--- cancelled; 5 s in all.
--- @param fn function
--- @param ... any
--- @return any ... fn's results
function scheduler.shield(fn, ...)
  local self = scheduler.current()
  if not self then return fn(...) end
  self.shields_ = (self.shields_ or 0) + 1
  local _ <close> = setmetatable({}, {
    __close = function() self.shields_ = self.shields_ - 1 end,
  })
  return fn(...)
end

--- Waits for a time. [w]
--- @param ms integer
--- @return true slept
function scheduler.sleep(ms)
  options.argument("sleep", "the time", ms, options.checks.ms)
  scheduler.wait(function(wake)
    local timer = clock.after(ms, wake)
    return function() timer:stop() end
  end, nil, "sleep")
  return true
end

-- Cancelling -----------------------------------------------------------------

--- Raises ECANCELED at the task's current wait and at each later one. Does
--- nothing once it has ended, or is cancelled.
--- @param reason any? err.reason, and part of the message
function Task:cancel(reason)
  if self.status ~= "running" or self.cancelled_ then return end
  local text = "task cancelled"
  if reason ~= nil then text = text .. ": " .. tostring(reason) end
  self.cancelled_ = errors().new("ECANCELED", text, { reason = reason })
  if not self.waiting_ then return end
  if shielded(self) or is_closing(self.thread_) then
    start_shield(self)
  else
    interrupt(self)
  end
end

-- For the modules that build on tasks.
scheduler.new, scheduler.Task = new, Task
scheduler.forbidden, scheduler.check_may_wait = forbidden, check_may_wait

-- Needed where the main chunk may wait, and there may be no fd left by then.
if not loop.owns_process then require "orrery.runtime.main_chunk" end

return scheduler
