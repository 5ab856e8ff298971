--- Where the family of a child is to be kept, by the options `contain` and
--- `cgroup`: in a control group of its own, by a keeper, or, in a group with
--- others, nowhere.

local group = require "orrery.child_process.group"
local keeper = require "orrery.child_process.keeper"

local containment = {}

--- Makes the group of a family, if one can be made. Returns its path, and how
--- many directories were made; nil, err.
local function make_leaf(start, above)
  if start.contain == "keeper" then return nil end
  return group.leaf(above)
end

--- Has the child enter a group. Returns true; nil, err.
local function enter(start, path)
  local fd, err = group.open(path)
  if not fd then return nil, err end
  start.cgroup_path = path
  start.cgroup_fd, start.attributes.cgroup = fd, fd
  return true
end

--- Gives the start a keeper. Returns true; nil, err.
local function with_keeper(start)
  if keeper.is_forbidden("no_keeper") and start.contain ~= "keeper" then
    return true
  end
  local kept, err = keeper.new()
  if not kept then return nil, err end
  start.family, start.attributes.keeper = kept, kept.handle
  return true
end

--- Puts the child into a group that was made for it. Returns true; nil, err.
local function with_group(start, path, made)
  local entered, err = enter(start, path)
  if entered then
    start.family, err = group.watch(path, made,
      start.attributes.die_with_parent)
    if start.family then return true end
  end
  group.remove(path, made)
  return nil, err
end

--- Prepares a start: makes the group, or the keeper, that it is to have.
--- @param start Start gets `family`, `cgroup_path`, `cgroup_fd`, attributes
--- @return true? ok
--- @return Error? err with stage "cgroup" or "pipe"; nothing is left behind
function containment.prepare(start)
  local given, made, err
  start.attributes = start.attributes or {}
  if start.cgroup then
    given, made = group.directory(start.cgroup)
    if not given then return nil, made end
    if made > 0 then return with_group(start, given, made) end
  end
  if start.contain then
    local leaf
    leaf, err = make_leaf(start, given)
    if leaf then return with_group(start, leaf, 1) end
    if start.contain == "cgroup" then return nil, err end
  end
  if given then
    made, err = enter(start, given)
    if not made then return nil, err end
  end
  if not start.contain then return true end
  return with_keeper(start)
end

return containment
