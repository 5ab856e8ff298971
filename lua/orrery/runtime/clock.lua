--- Deadlines: one heap behind one luv timer. Setting and stopping one costs no
--- handle and seldom a system call, and thousands that wait cost nothing. One
--- clock serves the whole Lua state, as `runtime/loop.lua` does.
---
--- luv's timers fire before the loop polls. So what is due is decided after one
--- poll more: after a callback that took long, what has come meanwhile counts.

local uv = require "orrery.runtime.luv"
local class = require "orrery.runtime.class"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"

local shared = core.shared
if shared.clock then return shared.clock end

local clock = {}
shared.clock = clock

--- @class Deadline
--- @field due integer ms, on clock.now's scale
--- @field order integer of equal ones, the earlier made comes first
--- @field index integer? its place in the heap; nil: passed or stopped
--- @field referenced boolean it keeps the loop alive
--- @field stopped boolean?
--- @field fn function
local Deadline = class "orrery.Deadline"

local self_process = core.process()

local heap, size = {}, 0
local refs = 0 -- deadlines in the heap that keep the loop alive
local count = 0 -- deadlines ever made
local timer -- luv's, made for the first deadline
local armed_for -- when it fires, on clock.now's scale
local idle -- luv's handle that keeps a poll from blocking
local asked_at -- since when a poll is awaited, or nil
local polls_next -- the poll is still to come

--- Returns the monotonic time in ms, read anew. libuv's own time, that of the
--- turn's beginning, is not moved on: its timers would fire again and again
--- before the loop polls.
--- @return integer ms
function clock.now()
  return self_process:hrtime() // 1000000
end

local function before(a, b)
  return a.due < b.due or (a.due == b.due and a.order < b.order)
end

local function put(entry, i)
  heap[i] = entry
  entry.index = i
end

local function sift_up(entry, i)
  while i > 1 do
    local parent = i // 2
    if not before(entry, heap[parent]) then break end
    put(heap[parent], i)
    i = parent
  end
  put(entry, i)
end

local function sift_down(entry, i)
  while 2 * i <= size do
    local child = 2 * i
    if child < size and before(heap[child + 1], heap[child]) then
      child = child + 1
    end
    if not before(heap[child], entry) then break end
    put(heap[child], i)
    i = child
  end
  put(entry, i)
end

local function remove(entry)
  local i, last = entry.index, heap[size]
  heap[size] = nil
  size = size - 1
  entry.index = nil
  if entry.referenced then refs = refs - 1 end
  if last == entry then return end
  if i > 1 and before(last, heap[i // 2]) then
    sift_up(last, i)
  else
    sift_down(last, i)
  end
end

local expire

--- Returns a name for each deadline that keeps the loop alive.
local function names()
  local list = {}
  for i = 1, size do
    if heap[i].referenced then list[#list + 1] = "timer" end
  end
  return list
end

--- Lets a luv handle keep the loop alive if a deadline does.
local function refer(handle)
  if refs > 0 then handle:ref() else handle:unref() end
end

--- Sets the luv timer to the earliest deadline, or stops it if there is none.
--- While a poll is awaited, `decide` will do so.
local function arm()
  if asked_at then return refer(idle) end
  local first = heap[1]
  if not first then
    if armed_for then timer:stop() end
    armed_for = nil
    return
  end
  if not timer then
    timer = uv.new_timer()
    loop.naming[timer] = names
  end
  if armed_for ~= first.due then
    armed_for = first.due
    -- 0 would fire in the same turn. (Node's timers take 1 ms at least, too.)
    timer:start(math.max(1, first.due - uv.now()), 0, expire)
  end
  refer(timer)
end

--- Calls the function of a deadline that is due, unless it was stopped since.
local function fire(entry)
  if not entry.stopped then entry.fn() end
end

--- Queues the functions of what was due when the poll was asked for, and has
--- not been stopped in it. (luv calls this before each poll: the first call
--- comes too early.)
local decide = loop.guard(function()
  if polls_next then
    polls_next = false
    return
  end
  local due = asked_at
  asked_at = nil
  idle:stop()
  while heap[1] and heap[1].due <= due do
    local entry = heap[1]
    remove(entry)
    loop.soon(fire, entry)
  end
  arm()
end)

expire = loop.guard(function()
  armed_for = nil
  local now = clock.now()
  if heap[1] and heap[1].due <= now then
    asked_at, polls_next = now, true
    if not idle then
      idle = uv.new_idle()
      loop.naming[idle] = names
    end
    idle:start(decide)
  end
  arm()
end)

--- Returns the time `ms` from now, rounded up, so that nothing is due early;
--- math.maxinteger if it lies beyond that.
--- @param ms integer
--- @return integer due on clock.now's scale
function clock.due_in(ms)
  local now = (self_process:hrtime() + 999999) // 1000000
  return now <= math.maxinteger - ms and now + ms or math.maxinteger
end

--- Calls fn() once, `ms` from now, as a tick. Keeps the loop alive until then.
--- @param ms integer
--- @param fn function
--- @return Deadline
function clock.after(ms, fn)
  count = count + 1
  local entry = setmetatable({ due = clock.due_in(ms), order = count, fn = fn,
    referenced = true }, Deadline)
  size = size + 1
  refs = refs + 1
  sift_up(entry, size)
  arm()
  return entry
end

--- Stops the deadline. Does nothing if it has passed or is stopped already.
function Deadline:stop()
  self.stopped = true
  if not self.index then return end
  remove(self)
  arm()
end

--- Says whether it keeps the loop alive.
--- @param on boolean
function Deadline:set_ref(on)
  if self.referenced == on then return end
  self.referenced = on
  if not self.index then return end
  refs = refs + (on and 1 or -1)
  arm()
end

return clock
