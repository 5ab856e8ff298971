--- Children that belong to a scope or a task: they are stopped when it ends,
--- and killed when this process exits.

local joining = require "orrery.runtime.joining"
local loop = require "orrery.runtime.loop"
local scheduler = require "orrery.runtime.scheduler"

local STOP_GRACE = 2000 -- ms from SIGTERM to SIGKILL

local ownership = {}

local owned = {} -- set of the children that run

loop.at_exit(function()
  for child in pairs(owned) do child:kill_tree("SIGKILL") end
end)

--- Ties a child that runs to the scope or task whose end stops it.
--- @param child Child
--- @param owner Scope|Task
--- @return function release to be called when the child has ended
function ownership.tie(child, owner)
  local undo
  if owner.adopt_ then
    owner:adopt_(child)
    undo = function() owner:release_(child) end
  else
    undo = joining.on_end(owner, function()
      scheduler.go(child.stop, child, { grace = STOP_GRACE })
    end)
  end
  owned[child] = true
  return function()
    owned[child] = nil
    if undo then undo() end
  end
end

return ownership
