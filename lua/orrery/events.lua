--- Event emitters. Listeners run inside `emit`, in the order in which they were
--- added, and may not wait; `wait_for` and `each` are the way for tasks.

local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local events = {}

--- @class Emitter
local Emitter = {}
Emitter.__index = Emitter
events.Emitter = Emitter

--- Restores the count of running emits, also when a listener raises.
local leave = setmetatable({}, {
  __close = function() loop.emitting = loop.emitting - 1 end,
})

--- A listener's entry, which is its own disposer.
local Entry = {
  __call = function(self) self.emitter:remove_(self.event, self) end,
}
Entry.__close = Entry.__call

local function check(where, event, fn)
  if type(event) ~= "string" then
    options.raise("%s: the event must be a string, got %s %s", where,
      type(event), options.show(event))
  end
  options.argument(where, "the listener", fn, options.checks.callback)
end

--- Adds to a copy: an emit that is under way walks the old list.
local function add(self, event, fn, once, first, waiting)
  local all = self.listeners_
  if not all then
    all = {}
    self.listeners_ = all
  end
  local entry = setmetatable(
    { fn = fn, once = once, emitter = self, event = event, waiting = waiting },
    Entry)
  local old = all[event]
  if not old then
    all[event] = { entry }
  else
    local list = { table.unpack(old) }
    table.insert(list, first and 1 or #list + 1, entry)
    all[event] = list
  end
  if self.listeners_changed_ then
    self:listeners_changed_(event, #all[event])
  end
  return entry
end

function Emitter:remove_(event, entry)
  local list = self.listeners_ and self.listeners_[event]
  if not list then return end
  local rest = {}
  for _, other in ipairs(list) do
    if other ~= entry then rest[#rest + 1] = other end
  end
  if #rest == #list then return end
  self.listeners_[event] = #rest > 0 and rest or nil
  if self.listeners_changed_ then self:listeners_changed_(event, #rest) end
end

--- Adds a listener.
--- @param event string
--- @param fn function
--- @return function disposer removes it again; also `<close>`-able
function Emitter:on(event, fn)
  check("on", event, fn)
  return add(self, event, fn)
end

--- Adds a listener that is removed before its first call.
--- @param event string
--- @param fn function
--- @return function disposer
function Emitter:once(event, fn)
  check("once", event, fn)
  return add(self, event, fn, true)
end

--- Adds a listener in front of the others.
--- @param event string
--- @param fn function
--- @return function disposer
function Emitter:prepend(event, fn)
  check("prepend", event, fn)
  return add(self, event, fn, false, true)
end

--- Removes the listener `fn`, the one added last where it was added twice.
--- @param event string
--- @param fn function
function Emitter:off(event, fn)
  check("off", event, fn)
  local list = self.listeners_ and self.listeners_[event] or {}
  for i = #list, 1, -1 do
    if list[i].fn == fn then return self:remove_(event, list[i]) end
  end
end

--- Removes all listeners of an event, or all there are.
--- @param event string?
function Emitter:remove_all(event)
  local all = self.listeners_ or {}
  local names = {}
  for name in pairs(all) do
    if event == nil or name == event then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do
    all[name] = nil
    if self.listeners_changed_ then self:listeners_changed_(name, 0) end
  end
end

--- @param event string
--- @return integer
function Emitter:listener_count(event)
  local list = self.listeners_ and self.listeners_[event]
  return list and #list or 0
end

--- @param event string
--- @return function[] copy
function Emitter:listeners(event)
  local fns = {}
  for i, entry in ipairs(self.listeners_ and self.listeners_[event] or {}) do
    fns[i] = entry.fn
  end
  return fns
end

--- Calls the listeners. An error of one is raised here, and ends the walk.
--- `error` without a listener is an uncaught exception.
--- @param event string
--- @return boolean had_listeners
function Emitter:emit(event, ...)
  local list = self.listeners_ and self.listeners_[event]
  if not list then
    if event == "error" then loop.fail((...)) end
    return false
  end
  loop.emitting = loop.emitting + 1
  local _ <close> = leave
  for i = 1, #list do
    local entry = list[i]
    if not entry.once then
      entry.fn(...)
    elseif not entry.used then
      entry.used = true
      self:remove_(event, entry)
      entry.fn(...)
    end
  end
  return true
end

--- Waits for the next `event`. [w]
--- @param event string
--- @param t integer? ms
--- @return any ... its arguments; nil, err (ETIMEDOUT)
function Emitter:wait_for(event, t)
  local scheduler = require "orrery.runtime.scheduler"
  if type(event) ~= "string" then
    options.raise("wait_for: the event must be a string, got %s %s",
      type(event), options.show(event))
  end
  return scheduler.wait(function(wake)
    return add(self, event, wake, true, false, true)
  end, t, "wait_for")
end

--- Iterates over an event in a task; what arrives meanwhile is kept in order.
---
---     for chunk in child.stdout:each("data") do … end
---
--- Nothing ends it but the loop's `break`, or the task's end.
--- @param event string
function Emitter:each(event)
  local scheduler = require "orrery.runtime.scheduler"
  local queue, first, last, wake = {}, 1, 0, nil
  check("each", event, print)
  local disposer = add(self, event, function(...)
    last = last + 1
    queue[last] = table.pack(...)
    if wake then wake() end
  end, false, false, true)
  local function next_event()
    if first > last then
      scheduler.wait(function(fn)
        wake = fn
        return function() wake = nil end
      end, nil, "each")
      wake = nil
    end
    local args = queue[first]
    queue[first] = nil
    first = first + 1
    return table.unpack(args, 1, args.n)
  end
  return next_event, nil, nil, disposer
end

--- Gives a class the emitter's methods.
--- @param class table
function events.extend(class)
  for name, method in pairs(Emitter) do
    if name:sub(1, 2) ~= "__" then class[name] = method end
  end
  return class
end

--- @return Emitter
function events.new()
  return setmetatable({}, Emitter)
end

return events
