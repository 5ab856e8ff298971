--- Event emitters. `emit` calls the listeners in the order in which they were
--- added, before it returns. A listener may not wait; tasks use `wait_for` and
--- `each` instead.
---
--- A class of emitters is made by class("orrery.Name", events.Emitter). If it
--- has a method `listeners_changed_(event, count)`, that is called after each
--- change of an event's listeners.

local class = require "orrery.runtime.class"
local listeners = require "orrery.events.listeners"
local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local events = {}

--- @class Emitter
--- @field listeners_ table<string, Entry[]>? by event, as events/listeners.lua
---   makes them; no list in it is empty
local Emitter = class "orrery.Emitter"
events.Emitter = Emitter

--- Lowers the count of running emits when one is left, also by an error.
local leave = setmetatable({}, {
  __close = function() loop.emitting = loop.emitting - 1 end,
})

--- @class Entry a listener; it is its own disposer
--- @field fn function
--- @field once boolean? it is removed before its first call
--- @field used boolean? of `once`: it has been called
--- @field emitter Emitter
--- @field event string
--- @field waiting boolean? a task waits for the event
--- @field at integer? its place in a crowd, see events/listeners.lua

--- No class: an entry has no methods, and `emit` asks for fields that most of
--- them lack, which costs a second look-up if there is an __index.
local Entry = {
  __call = function(self) self.emitter:remove_(self.event, self) end,
}
Entry.__close = Entry.__call

--- Raises unless an event and its listener are good.
local function check(where, event, fn)
  if type(event) ~= "string" then
    options.raise("%s: the event must be a string, got %s", where,
      options.got(event))
  end
  options.argument(where, "the listener", fn, options.checks.callback)
end

--- Adds an entry.
--- @return Entry
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
  all[event] = old and listeners.add(old, entry, first) or { entry }
  if self.listeners_changed_ then
    self:listeners_changed_(event, listeners.count(all[event]))
  end
  return entry
end

--- Removes an entry; does nothing if it is gone already.
--- @param event string
--- @param entry Entry
function Emitter:remove_(event, entry)
  local list = self.listeners_ and self.listeners_[event]
  if not list then return end
  local rest, was_there = listeners.remove(list, entry)
  if not was_there then return end
  self.listeners_[event] = rest
  if self.listeners_changed_ then
    self:listeners_changed_(event, rest and listeners.count(rest) or 0)
  end
end

--- Adds a listener, after those that are there. Raises if `event` is no string
--- or `fn` no function, as the other methods do.
--- @param event string
--- @param fn function called with the arguments of each emit
--- @return Entry disposer call it to remove the listener; also `<close>`-able
function Emitter:on(event, fn)
  check("on", event, fn)
  return add(self, event, fn)
end

--- Adds a listener that is removed before its first call.
--- @param event string
--- @param fn function called with the arguments of the next emit
--- @return Entry disposer see `on`
function Emitter:once(event, fn)
  check("once", event, fn)
  return add(self, event, fn, true)
end

--- Adds a listener in front of the others.
--- @param event string
--- @param fn function called with the arguments of each emit
--- @return Entry disposer see `on`
function Emitter:prepend(event, fn)
  check("prepend", event, fn)
  return add(self, event, fn, false, true)
end

--- Removes the listener `fn`: if it was added several times, the last of them.
--- Does nothing if it was not added.
--- @param event string
--- @param fn function
function Emitter:off(event, fn)
  if type(event) == "string" and fn == nil then
    options.raise("off: the listener to remove is missing; remove_all(%s) "
      .. "removes all of an event", options.show(event))
  end
  check("off", event, fn)
  local list = self.listeners_ and self.listeners_[event]
  local entries = list and listeners.entries(list) or {}
  for i = #entries, 1, -1 do
    if entries[i].fn == fn then
      self:remove_(event, entries[i])
      return
    end
  end
end

--- Removes all listeners of an event, or of all events.
--- @param event string? all events
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

--- Returns how many listeners an event has.
--- @param event string
--- @return integer count tasks in `wait_for` and `each` are counted
function Emitter:listener_count(event)
  local list = self.listeners_ and self.listeners_[event]
  return list and listeners.count(list) or 0
end

--- Returns the listeners of an event, in the order of their calls.
--- @param event string
--- @return function[] fns a copy
function Emitter:listeners(event)
  local list, fns = self.listeners_ and self.listeners_[event], {}
  if not list then return fns end
  for i, entry in ipairs(listeners.entries(list)) do fns[i] = entry.fn end
  return fns
end

--- Calls the listeners that the event has now. What a listener raises is raised
--- here, and the ones behind it are not called. The event `error` without a
--- listener is an uncaught exception.
--- @param event string
--- @param ... any the listeners' arguments
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
    if entry.once then
      listeners.call_once(entry, ...)
    else
      entry.fn(...)
    end
  end
  return true
end

--- Waits for the next emit of an event. [w]
--- @param event string
--- @param t integer? ms
--- @return any ... the arguments of the emit; nil, err if the time is up
--- @return Error? err (ETIMEDOUT)
function Emitter:wait_for(event, t)
  local scheduler = require "orrery.runtime.scheduler"
  if type(event) ~= "string" then
    options.raise("wait_for: the event must be a string, got %s",
      options.got(event))
  end
  return scheduler.wait(function(wake)
    return add(self, event, wake, true, false, true)
  end, t, "wait_for")
end

--- Returns the arguments of an emit as a `for` can take them, which a first nil
--- would end: `true` if there are none, `false` for a first nil.
local function loop_values(args)
  if args.n == 0 then return true end
  if args[1] == nil then args[1] = false end
  return table.unpack(args, 1, args.n)
end

--- Iterates over the emits of an event; those that come while the body runs are
--- kept, in order. [w]
---
---     for chunk in child.stdout:each("data") do … end
---
--- The loop ends by its `break` or with its task, and by nothing else; then the
--- listener is removed.
--- @param event string
--- @return fun(): any ... waits, and returns the arguments of one emit: `true`
---   if it has none, and `false` for a first one that is nil
--- @return nil
--- @return nil
--- @return Entry disposer which `for` closes
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
    return loop_values(args)
  end
  return next_event, nil, nil, disposer
end

--- Gives a class that was made by hand the emitter's methods.
--- @param class_ table
--- @return table class_
function events.extend(class_)
  if type(class_) ~= "table" then
    options.raise("extend: the class must be a table, got %s",
      options.got(class_))
  end
  for name, method in pairs(Emitter) do
    if name:sub(1, 2) ~= "__" then class_[name] = method end
  end
  return class_
end

--- Makes an emitter of no particular kind.
--- @return Emitter
function events.new()
  return setmetatable({}, Emitter)
end

return events
