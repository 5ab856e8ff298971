--- The listeners of one event, as `events` keeps them: a list of entries. What
--- adds or removes gives another list, since an emit may be walking that one.
---
--- More than a few are a *crowd*, which is the one entry of its list, and whose
--- function calls all of them: thousands of tasks in `wait_for` would copy a
--- list each time. A crowd changes in place, and is copied only while an emit
--- walks it.

local class = require "orrery.runtime.class"

local SHORT = 8 -- entries that a list has at most
local HOLES = 16 -- that a crowd may have, beyond as many as it has entries

local listeners = {}

--- @class Crowd
--- @field fn function calls the listeners, in order
--- @field count integer
--- @field waiting boolean a task waits among them
--- @field waiters_ integer
--- @field entries_ table<integer, Entry|false> from `first_` to `last_`, each
---   at its `at`; false is one that is gone
--- @field first_ integer
--- @field last_ integer
--- @field walks_ integer emits that walk it: it must not change
local Crowd = class "orrery.Crowd"

--- Leaves a walk, also by an error.
function Crowd:__close() self.walks_ = self.walks_ - 1 end

--- Removes an entry and calls it, unless that has happened.
--- @param entry Entry with `once`
--- @param ... any
local function call_once(entry, ...)
  if entry.used then return end
  entry.used = true
  entry.emitter:remove_(entry.event, entry)
  entry.fn(...)
end
listeners.call_once = call_once

local function walk(self, ...)
  local entries = self.entries_
  self.walks_ = self.walks_ + 1
  local _ <close> = self
  for i = self.first_, self.last_ do
    local entry = entries[i]
    if entry and entry.once then
      call_once(entry, ...)
    elseif entry then
      entry.fn(...)
    end
  end
end

--- Makes a crowd of the entries of a table from `first` to `last`.
--- @return Crowd
local function new(entries, first, last)
  local own, count, waiters = {}, 0, 0
  for i = first, last do
    local entry = entries[i]
    if entry then
      count = count + 1
      own[count], entry.at = entry, count
      if entry.waiting then waiters = waiters + 1 end
    end
  end
  local self = setmetatable({ entries_ = own, first_ = 1, last_ = count,
    count = count, waiters_ = waiters, waiting = waiters > 0, walks_ = 0 },
    Crowd)
  self.fn = function(...) walk(self, ...) end
  return self
end

--- Returns a crowd of the same entries that may be changed.
local function changeable(self)
  local holes = self.last_ - self.first_ + 1 - self.count
  if self.walks_ == 0 and holes <= self.count + HOLES then return self end
  return new(self.entries_, self.first_, self.last_)
end

local function count_waiter(self, entry, by)
  if not entry.waiting then return end
  self.waiters_ = self.waiters_ + by
  self.waiting = self.waiters_ > 0
end

--- Adds an entry. Returns the crowd that has it.
local function join(self, entry, in_front)
  self = changeable(self)
  local at = in_front and self.first_ - 1 or self.last_ + 1
  self.entries_[at], entry.at = entry, at
  self.first_, self.last_ = math.min(self.first_, at), math.max(self.last_, at)
  self.count = self.count + 1
  count_waiter(self, entry, 1)
  return self
end

--- Removes an entry that is in the crowd. Returns the crowd without it.
local function leave(self, entry)
  self = changeable(self)
  local entries = self.entries_
  entries[entry.at] = false
  self.count = self.count - 1
  count_waiter(self, entry, -1)
  while entries[self.first_] == false do
    entries[self.first_] = nil
    self.first_ = self.first_ + 1
  end
  while entries[self.last_] == false do
    entries[self.last_] = nil
    self.last_ = self.last_ - 1
  end
  return self
end

--- Returns the crowd that a list has; nil if it is of entries.
local function crowd_of(list)
  local first = list[1]
  return getmetatable(first) == Crowd and first or nil
end

--- Returns a list with one more entry.
--- @param list Entry[]
--- @param entry Entry
--- @param in_front boolean?
--- @return Entry[]
function listeners.add(list, entry, in_front)
  local crowd = crowd_of(list)
  if crowd then
    local with = join(crowd, entry, in_front)
    return with == crowd and list or { with }
  end
  local copy = { table.unpack(list) }
  table.insert(copy, in_front and 1 or #copy + 1, entry)
  return #copy > SHORT and { new(copy, 1, #copy) } or copy
end

--- Returns a list without an entry; nil if that was the last one. The same list
--- if the entry is not in it.
--- @param list Entry[]
--- @param entry Entry
--- @return Entry[]? list
--- @return boolean was_there
function listeners.remove(list, entry)
  local crowd = crowd_of(list)
  if crowd then
    if crowd.entries_[entry.at] ~= entry then return list, false end
    local without = leave(crowd, entry)
    if without.count == 0 then return nil, true end
    return without == crowd and list or { without }, true
  end
  local rest = {}
  for i = 1, #list do
    if list[i] ~= entry then rest[#rest + 1] = list[i] end
  end
  return rest[1] and rest or nil, #rest < #list
end

--- Returns how many entries a list has.
--- @param list Entry[]
--- @return integer
function listeners.count(list)
  local crowd = crowd_of(list)
  return crowd and crowd.count or #list
end

--- Returns the entries of a list, in order: to be read only.
--- @param list Entry[]
--- @return Entry[]
function listeners.entries(list)
  local crowd = crowd_of(list)
  if not crowd then return list end
  local entries = {}
  for i = crowd.first_, crowd.last_ do
    if crowd.entries_[i] then entries[#entries + 1] = crowd.entries_[i] end
  end
  return entries
end

return listeners
