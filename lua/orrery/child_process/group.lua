--- Control groups (cgroups(7), version 2) for children: finding or making the
--- directory, and the family that is a group of its own.
---
--- Only a group that was made for a child is one family: it is watched by the
--- keeper that serves, killed as a whole, and removed when it is empty. In one
--- that was there already there may be others.

local uv = require "orrery.runtime.luv"
local cgroup = require "orrery.runtime.cgroup"
local class = require "orrery.runtime.class"
local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local keeper = require "orrery.child_process.keeper"
local reaper = require "orrery.child_process.reaper"

local O_WRONLY = 1
local MODE = 493 -- 0755
local TRIES = 1000 -- of names that a process with our pid may have left behind

local group = {}

local self_process = core.process()
local number = 0 -- of the last group that was made

--- @class Group a family that is a control group
--- @field path string
--- @field made integer how many directories, of which `path` is the last
--- @field die boolean the family ends with this process
--- @field id integer? while it is watched
--- @field is_entered boolean? it has had a member
--- @field is_empty_ boolean? the family has ended
--- @field is_lost_ boolean? it cannot be watched
--- @field child_ Child?
local Group = class "orrery.Group"

local function failure(code, path)
  return errors.luv(code, "spawn", { stage = "cgroup", path = path })
end

-- Directories ----------------------------------------------------------------

--- Returns the folder of our own group, and that of the hierarchy; nil, err.
local function own()
  if keeper.is_forbidden("no_cgroup") then return nil, failure("ENOTSUP") end
  local dir, top = cgroup.own()
  if dir then return dir, top end
  return nil, errors.new("ENOTSUP", "spawn: no cgroup v2 hierarchy is mounted "
    .. "that this process is in (ENOTSUP at stage 'cgroup')",
    { syscall = "spawn", stage = "cgroup" })
end

--- Returns the whole path of what the option `cgroup` names; nil, err.
local function resolve(path)
  local dir, top = own()
  if not dir then return nil, top end
  path = path:gsub("/+", "/"):gsub("(.)/$", "%1")
  if path:sub(1, 1) ~= "/" then return dir .. "/" .. path end
  if (path .. "/"):sub(1, #top + 1) == top .. "/" then return path end
  return nil, errors.new("EINVAL", ("spawn '%s': a cgroup's path is relative "
    .. "to our own, or begins with '%s' (EINVAL at stage 'cgroup')"):format(
      path, top), { syscall = "spawn", stage = "cgroup", path = path })
end

--- Makes a directory and those above it that are missing. Returns how many were
--- made; nil, err.
local function make_directories(path)
  local ok, _, code = uv.fs_mkdir(path, MODE)
  if ok then return 1 end
  if code == "EEXIST" then return 0 end
  local above = path:match("^(.+)/[^/]+$")
  if code ~= "ENOENT" or not above then return nil, failure(code, path) end
  local made, err = make_directories(above)
  if not made then return nil, err end
  ok, _, code = uv.fs_mkdir(path, MODE)
  if ok then return made + 1 end
  if code == "EEXIST" then return 0 end
  group.remove(above, made)
  return nil, failure(code, path)
end

--- Removes directories that were made, as far as they are empty.
--- @param path string the last one
--- @param made integer how many
function group.remove(path, made)
  for _ = 1, made do
    if not uv.fs_rmdir(path) then return end
    path = path:match("^(.+)/[^/]+$")
  end
end

--- Writes into a file of a group. Returns true; nil, err.
local function write(path, text)
  local fd, _, code = uv.fs_open(path, O_WRONLY, 0)
  if not fd then return nil, failure(code, path) end
  local ok
  ok, _, code = uv.fs_write(fd, text)
  uv.fs_close(fd)
  if not ok then return nil, failure(code, path) end
  return true
end

local function write_all(path, values)
  for name, value in next, values do
    local text = value == math.huge and "max" or tostring(value)
    local ok, err = write(path .. "/" .. name, text)
    if not ok then return nil, err end
  end
  return true
end

--- Finds or makes the directory that the option `cgroup` names, and writes its
--- files.
--- @param option string|{path: string, max: table<string, any>?}
--- @return string? path nil, err
--- @return integer|Error made how many directories were made; or err with stage
---   "cgroup"
function group.directory(option)
  if type(option) == "string" then option = { path = option } end
  local path, err = resolve(option.path)
  if not path then return nil, err end
  local made, ok
  made, err = make_directories(path)
  if not made then return nil, err end
  ok, err = write_all(path, option.max or {})
  if ok then return path, made end
  group.remove(path, made)
  return nil, err
end

--- Tells whether a fresh group is of use: the kernel can kill it (5.14), and we
--- may move a child of ours into it, for which both groups must be writable.
local function is_useful(path, above)
  return uv.fs_access(path .. "/cgroup.kill", "W")
    and uv.fs_access(above .. "/cgroup.procs", "W")
end

--- Makes a directory for one family.
--- @param above string? the group that it is to be in; nil is our own
--- @return string? path nil, err
--- @return integer|Error made 1; or err with stage "cgroup"
function group.leaf(above)
  local err
  if not above then above, err = own() end
  if not above then return nil, err end
  for _ = 1, TRIES do
    number = number + 1
    local path = ("%s/orrery-%d-%d"):format(above, self_process:pid(), number)
    local ok, _, code = uv.fs_mkdir(path, MODE)
    if ok and is_useful(path, above) then return path, 1 end
    if ok then
      uv.fs_rmdir(path)
      return nil, failure("ENOTSUP", above)
    end
    if code ~= "EEXIST" then return nil, failure(code, path) end
  end
  return nil, failure("EEXIST", above)
end

--- Tells whether a group can be made for a family.
--- @return boolean
function group.is_possible()
  local path, made = group.leaf()
  if path then group.remove(path, made) end
  return path ~= nil
end

--- Opens the way into a group.
--- @param path string
--- @return integer? fd which the child enters it by; nil, err
--- @return Error? err
function group.open(path)
  local file = path .. "/cgroup.procs"
  local fd, _, code = uv.fs_open(file, O_WRONLY, 0)
  if fd then return fd end
  return nil, failure(code, file)
end

-- A family -------------------------------------------------------------------

--- Has a group watched that was made for a child.
--- @param path string
--- @param made integer
--- @param die boolean? the family is to end with this process
--- @return Group? group nil, err
--- @return Error? err with stage "cgroup"
function group.watch(path, made, die)
  local self = setmetatable({ path = path, made = made, die = die or false },
    Group)
  local ok, err = keeper.adopt(self)
  if ok then return self end
  return nil, err
end

--- Takes in that its child runs, inside of it.
--- @param spawned userdata orrery.spawn
--- @param child Child has on_reaped_() and on_empty_(usage)
function Group:watch(spawned, child)
  self.is_entered, self.child_ = true, child
  reaper.watch(spawned, child)
  return true
end

--- Takes back a group whose child could not start.
function Group:abandon() keeper.forget(self) end

--- Takes in that all of the family has ended, and what it has used. Called by
--- the keeper.
--- @param used {user: integer, system: integer, memory_peak: integer?,
---   pids_peak: integer?}
function Group:on_emptied_(used)
  self.is_empty_ = true
  if self.child_ then self.child_:on_empty_(used) end
end

return group
