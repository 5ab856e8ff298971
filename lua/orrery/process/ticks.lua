--- Functions to be called soon.

local loop = require "orrery.runtime.loop"
local options = require "orrery.runtime.options"

local ticks = {}

--- Calls fn(...) before the next event and before the loop polls, after what is
--- queued already.
--- @param fn function
--- @param ... any its arguments
function ticks.next_tick(fn, ...)
  options.argument("next_tick", "fn", fn, options.checks.callback)
  if select("#", ...) == 0 then
    loop.soon(fn)
  else
    local args = table.pack(...)
    loop.soon(function() fn(table.unpack(args, 1, args.n)) end)
  end
end

return ticks
