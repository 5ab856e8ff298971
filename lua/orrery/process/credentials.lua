--- Who this process is for the system: its users and groups, by number or name.

local core = require "orrery.core".credentials()
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"

local credentials = {}

--- Returns the real user of this process.
--- @return integer uid
function credentials.getuid() return (core.users()) end

--- Returns the effective user, whose rights count.
--- @return integer uid
function credentials.geteuid() return (select(2, core.users())) end

--- Returns the real group.
--- @return integer gid
function credentials.getgid() return (core.user_groups()) end

--- Returns the effective group.
--- @return integer gid
function credentials.getegid()
  return (select(2, core.user_groups()))
end

--- Returns all groups of this process, the effective one among them.
--- @return integer[]? gids
--- @return Error? err
function credentials.getgroups()
  local groups, errno = core.groups()
  if not groups then return nil, errors.system(errno, "getgroups") end
  local effective = credentials.getegid()
  for _, gid in ipairs(groups) do
    if gid == effective then return groups end
  end
  groups[#groups + 1] = effective
  return groups
end

local function check_id(where, id)
  if type(id) == "string" and not options.checks.string(id) then return end
  if options.checks.id(id) then
    options.raise("%s: the id must be a name, or an integer from 0 to "
      .. "4294967294, got %s", where, options.got(id))
  end
end

--- Returns the number of a user or group given by name or number.
--- @return integer? id
--- @return Error? err ERR_UNKNOWN_CREDENTIAL
local function resolve(id, kind)
  if type(id) ~= "string" then return id end
  local find = kind == "user" and core.lookup_user or core.lookup_group
  local number, errno = find(id)
  if number then return number end
  return nil, errors.new("ERR_UNKNOWN_CREDENTIAL", ("no %s is called %s (%s)")
    :format(kind, options.show(id), errors.code_of(errno)))
end

--- Sets one id, by the system call of that name.
local function set(name, kind, id)
  check_id(name, id)
  local number, err = resolve(id, kind)
  if not number then return nil, err end
  local ok, errno = core[name](number)
  if ok then return true end
  return nil, errors.system(errno, name, { path = tostring(id) })
end

--- Sets the user of this process for good: all of its ids if it may.
--- @param id integer|string
--- @return true? ok
--- @return Error? err (EPERM, ERR_UNKNOWN_CREDENTIAL)
function credentials.setuid(id) return set("setuid", "user", id) end

--- Sets the effective user, which can be taken back.
--- @param id integer|string
--- @return true? ok
--- @return Error? err (EPERM, ERR_UNKNOWN_CREDENTIAL)
function credentials.seteuid(id) return set("seteuid", "user", id) end

--- Sets the group of this process for good. A process that gives its rights
--- away does this, and `setgroups`, before `setuid`.
--- @param id integer|string
--- @return true? ok
--- @return Error? err (EPERM, ERR_UNKNOWN_CREDENTIAL)
function credentials.setgid(id) return set("setgid", "group", id) end

--- Sets the effective group, which can be taken back.
--- @param id integer|string
--- @return true? ok
--- @return Error? err (EPERM, ERR_UNKNOWN_CREDENTIAL)
function credentials.setegid(id) return set("setegid", "group", id) end

--- Sets the further groups of this process.
--- @param list (integer|string)[]
--- @return true? ok
--- @return Error? err (EPERM, ERR_UNKNOWN_CREDENTIAL; EINVAL: too many)
function credentials.setgroups(list)
  if type(list) ~= "table" then
    options.raise("setgroups: the argument must be a list of groups, got %s",
      options.got(list))
  end
  local groups = {}
  for i = 1, #list do
    check_id("setgroups", list[i])
    local gid, err = resolve(list[i], "group")
    if not gid then return nil, err end
    groups[i] = gid
  end
  local ok, errno = core.setgroups(groups)
  if ok then return true end
  return nil, errors.system(errno, "setgroups")
end

--- Sets the further groups to all those of a user, and one more.
--- @param user string|integer
--- @param group string|integer one more
--- @return true? ok
--- @return Error? err (EPERM, ERR_UNKNOWN_CREDENTIAL)
function credentials.initgroups(user, group)
  check_id("initgroups", user)
  check_id("initgroups", group)
  local gid, err = resolve(group, "group")
  if not gid then return nil, err end
  local _, of_user, groups = core.lookup_user(user, gid)
  if not groups then
    return nil, errors.new("ERR_UNKNOWN_CREDENTIAL",
      ("no user is %s (%s)"):format(options.show(user),
        errors.code_of(of_user)))
  end
  local ok, errno = core.setgroups(groups)
  if ok then return true end
  return nil, errors.system(errno, "initgroups")
end

return credentials
