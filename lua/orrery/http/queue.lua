--- Queues from whose middle can be taken, too. What is put in, found first or
--- last, or taken out costs the same however long the queue is.

local class = require "orrery.runtime.class"

--- @class Queue
--- @field first any nil if it is empty
--- @field last any
--- @field count integer
--- @field after_ table<any, any> what follows each item
--- @field before_ table<any, any>
local Queue = class "orrery.Queue"

--- Makes an empty queue.
--- @return Queue
function Queue.new()
  return setmetatable({ count = 0, after_ = {}, before_ = {} }, Queue)
end

--- Puts an item at the end. It must not be in the queue.
--- @param item any
function Queue:push(item)
  local last = self.last
  if last then self.after_[last] = item else self.first = item end
  self.before_[item], self.last = last, item
  self.count = self.count + 1
end

--- Puts an item in front. It must not be in the queue.
--- @param item any
function Queue:push_front(item)
  local first = self.first
  if first then self.before_[first] = item else self.last = item end
  self.after_[item], self.first = first, item
  self.count = self.count + 1
end

--- Tells whether an item is in the queue.
--- @param item any
--- @return boolean
function Queue:has(item)
  return self.first == item or self.before_[item] ~= nil
end

--- Takes an item out.
--- @param item any
--- @return boolean was_there
function Queue:remove(item)
  if item == nil or not self:has(item) then return false end
  local before, after = self.before_[item], self.after_[item]
  if before then self.after_[before] = after else self.first = after end
  if after then self.before_[after] = before else self.last = before end
  self.before_[item], self.after_[item] = nil, nil
  self.count = self.count - 1
  return true
end

--- Takes the first item out.
--- @return any item nil if the queue is empty
function Queue:shift()
  local item = self.first
  self:remove(item)
  return item
end

--- Appends all items to a list, the first one first.
--- @param list any[]
function Queue:append_to(list)
  local item = self.first
  while item ~= nil do
    list[#list + 1] = item
    item = self.after_[item]
  end
end

return Queue
