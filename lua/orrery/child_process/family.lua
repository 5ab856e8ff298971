--- The family of a child: all that it has started, and what those have started.
--- Signals to all of it, and its end. A contained family is a control group or
--- has a keeper; that of another child is looked for. All of that is done by
--- the keeper's program (keeper.lua), so that nothing holds the loop up, and
--- what was begun is finished also if this process ends.

local uv = require "orrery.runtime.luv"
local keeper = require "orrery.child_process.keeper"
local loop = require "orrery.runtime.loop"
local scheduler = require "orrery.runtime.scheduler"

local family = {}

local EMPTY = { living = 0, forced = 0, left = {} } -- what became of nobody

--- Returns how a keeper finds the family of a child. The pid is the child's
--- only until it is reaped; which a keeper that was killed has not done.
local function place_of(child, signal, grace)
  local mark, born = child.process_:family()
  local function root()
    local lives = child.is_running_
      or child.spawned_ ~= child.process_ and child.spawned_:kill(0)
    return lives and child.pid or nil
  end
  return { signal = signal, grace = grace, root = root, born = born,
    mark = mark }
end

--- Asks for the end of a family, or for a signal to it.
local function ask(child, op, signal, grace, done)
  local contained = child.family_
  if contained and contained.is_empty_ then
    return loop.soon(done, EMPTY)
  end
  keeper.request(contained, op, place_of(child, signal, grace), done)
end

--- Sends a signal to a child's family, once to each member, also to who is born
--- meanwhile. `done` is called when all have it.
--- @param child Child
--- @param signal integer 0 only counts
--- @param done fun(result: {living: integer}?) nil if it cannot be done
function family.signal(child, signal, done)
  ask(child, "signal", signal, nil, done)
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
    ask(child, "end", signal, grace, function(done)
      result = done
      wake(true)
    end)
  end, nil, "stop")
  return result
end

--- Tells which roads to a family there are. Called by core.features.
--- @param features table gets cgroup, keeper, children: booleans
function family.add_features(features)
  features.cgroup = require "orrery.child_process.group".is_possible()
  features.keeper = not keeper.is_forbidden("no_keeper")
    and uv.fs_access(keeper.path, "X") or false
  features.children = not keeper.is_forbidden("no_children")
    and uv.fs_access("/proc/thread-self/children", "R") or false
end

return family
