--- Tells of a main task that waits although nothing is left in the loop.

local options = require "orrery.runtime.options"

local stuck = {}

--- Returns where a task waits: its innermost line that is not this library's.
local function waiting_line(t)
  for level = 0, 200 do
    local info = debug.getinfo(t.thread_, level, "Sl")
    if not info then break end
    if info.currentline > 0 and not options.is_own(info.source) then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
  return "?"
end

--- Returns where the main task waits, and that this can never end.
--- @param t Task
--- @return string
function stuck.describe(t)
  return ("the main task waits at %s for what can no longer come")
    :format(waiting_line(t))
end

return stuck
