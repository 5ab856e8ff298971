--- The family of a child: all that it has started, and what those have started.
--- Signals to all of it, and its end. A contained family has a keeper; that of
--- another child is looked for, by the program that serves (keeper.lua), so
--- that no walk through /proc holds the loop up.

local core = require "orrery.core"
local keeper = require "orrery.child_process.keeper"
local scheduler = require "orrery.runtime.scheduler"

local family = {}

local SIGKILL = core.signals.SIGKILL

--- Returns how a keeper finds the family of a child. The pid is the child's
--- only until it is reaped; which a keeper that was killed has not done.
local function place_of(child, signal, grace)
  local mark, born = child.process_:family()
  local function root()
    local lives = child.is_running_ or child.keeper_ and child.spawned_:kill(0)
    return lives and child.pid or nil
  end
  return { signal = signal, grace = grace, root = root, born = born,
    mark = mark }
end

--- Sends a signal to a child's family, once to each member, also to who is born
--- meanwhile. `done` is called when all have it.
--- @param child Child
--- @param signal integer 0 only counts
--- @param done fun(result: {living: integer}?) nil if it cannot be done
function family.signal(child, signal, done)
  keeper.request(child.keeper_, "signal", place_of(child, signal), done)
end

--- Ends a child's family: the signal, `grace` ms, SIGKILL; and waits until it
--- is empty. [w]
--- @param child Child
--- @param signal integer
--- @param grace integer ms
--- @return {living: integer, forced: integer, left: integer[]}? result nil if
---   there is nothing that could do it
function family.finish(child, signal, grace)
  local result
  scheduler.wait(function(wake)
    keeper.request(child.keeper_, "end", place_of(child, signal, grace),
      function(done)
        result = done
        wake(true)
      end)
  end, nil, "stop")
  return result
end

--- Kills a child's family, without waiting: what serves goes on by itself.
--- @param child Child
function family.kill(child)
  keeper.request(child.keeper_, "end", place_of(child, SIGKILL, 0),
    function() end)
end

return family
