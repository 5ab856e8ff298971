--- Functions of a module that is an object, too: they are called with a dot,
--- and a colon works as well.

--- Returns a function that calls fn with its arguments, called with a dot or a
--- colon.
--- @param module table
--- @param fn function
--- @return function
local function dotted(module, fn)
  return function(first, ...)
    if rawequal(first, module) then return fn(...) end
    return fn(first, ...)
  end
end

return dotted
