--- The one way in which this library makes a class.
---
---     local Socket = class("orrery.Socket", Stream, connecting)
---
--- A class is its objects' metatable and holds all their methods itself: what
--- it has from its base and its parts is copied, so that a call costs one
--- look-up however long the line of ancestors is. Hence a base is complete
--- before it is extended. What ends in `_` is for this library only.

--- Copies the members of a base or a part, but for what names the base itself.
local function take_over(class, members)
  for name, member in next, members do
    if name ~= "__index" and name ~= "__name" then class[name] = member end
  end
end

--- Makes a class.
--- @param name string "orrery.Socket"; what errors of Lua's and debuggers show
--- @param base table? a class, or nil
--- @param ... table parts: tables of methods, a later one's win
--- @return table class for `setmetatable(fields, class)`
local function class(name, base, ...)
  local self = {}
  if base then take_over(self, base) end
  for _, part in ipairs { ... } do take_over(self, part) end
  self.__index, self.__name = self, name
  return self
end

return class
