--- Deadlines: one heap, one luv timer. A wait that ends early costs no handle
--- and no system call, and thousands of them idle cost nothing.

local uv = require "luv"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"

local clock = {}

--- @class Deadline
--- @field due integer
--- @field fn function?
local Deadline = {}
Deadline.__index = Deadline

local self_process = core.process()

local heap, size = {}, 0
local refs = 0 -- entries that keep the loop alive
local count = 0 -- entries ever made: the order of equal deadlines
local timer
local armed_for -- what the luv timer is set to

--- Monotonic ms, fresh. libuv's own idea of the time, which is that of the turn's
--- beginning, is left alone: moved on within a turn, it would have timers fire
--- again and again before the loop polls.
--- @return integer
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

--- Sets the luv timer to the earliest deadline.
local function arm()
  local first = heap[1]
  if not first then
    if armed_for then timer:stop() end
    armed_for = nil
    return
  end
  timer = timer or uv.new_timer()
  if armed_for ~= first.due then
    armed_for = first.due
    -- 0 would fire in the same turn. (Node's timers take 1 ms at least as well.)
    timer:start(math.max(1, first.due - uv.now()), 0, expire)
  end
  if refs > 0 then timer:ref() else timer:unref() end
end

--- It may have been stopped since it was due.
local function fire(entry)
  if not entry.stopped then entry.fn() end
end

expire = loop.guard(function()
  local now = clock.now()
  armed_for = nil
  while heap[1] and heap[1].due <= now do
    local entry = heap[1]
    remove(entry)
    loop.soon(fire, entry)
  end
  arm()
end)

--- The time `ms` from now, rounded up: nothing is due before its time. The end of
--- all times bounds it.
--- @param ms integer
--- @return integer
function clock.due_in(ms)
  local now = (self_process:hrtime() + 999999) // 1000000
  return now <= math.maxinteger - ms and now + ms or math.maxinteger
end

--- Calls fn() once, `ms` from now.
--- @param ms integer
--- @param fn function
--- @return Deadline
function clock.after(ms, fn)
  count = count + 1
  local entry = setmetatable(
    { due = clock.due_in(ms), order = count, fn = fn, referenced = true }, Deadline)
  size = size + 1
  refs = refs + 1
  sift_up(entry, size)
  arm()
  return entry
end

--- Nothing when it has passed or is stopped already.
function Deadline:stop()
  self.stopped = true
  if not self.index then return end
  remove(self)
  arm()
end

--- Whether it keeps the loop alive.
function Deadline:set_ref(on)
  if self.referenced == on then return end
  self.referenced = on
  if not self.index then return end
  refs = refs + (on and 1 or -1)
  arm()
end

return clock
