--- Tasks that another one owns, in a deadline, a list or a scope: they never
--- outlive it, and their failures are its own.

local joining = require "orrery.runtime.joining"
local scheduler = require "orrery.runtime.scheduler"

local subordinates = {}

--- Cancels tasks and waits until all have ended, even if the caller is
--- cancelled meanwhile. [w]
--- @param tasks Task[]
--- @param reason string
function subordinates.stop(tasks, reason)
  for _, t in ipairs(tasks) do
    t.observed_ = true
    t:cancel(reason)
  end
  for _, t in ipairs(tasks) do
    if t.status == "running" then
      scheduler.shield(joining.wait_end, t, nil, "scope")
    end
  end
end

--- Calls wait(...), which waits for tasks. If that raises, for the caller is
--- cancelled, stops the tasks and raises it again. [w]
--- @param tasks Task[]
--- @param wait function
--- @param ... any
--- @return any ... what wait returned
function subordinates.attend(tasks, wait, ...)
  local results = table.pack(pcall(wait, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  subordinates.stop(tasks, "its owner was cancelled")
  error(results[2], 0)
end

return subordinates
