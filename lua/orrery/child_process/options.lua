--- The options of `spawn`. Each is one line of `list`: how it is checked, how
--- the core is told of it, and at which stage of a start it can fail.
---
--- A new option is a line here, and a field in the core's table of attributes
--- if the core is told of it. Its errors then have `stage` and `path` by
--- themselves.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local signals = require "orrery.runtime.signals"

local checks, integer, list_of = options.checks, options.integer, options.list
local any, boolean, id, text = checks.any, checks.boolean, checks.id,
  checks.string

-- Checks: each returns nil if the value is good, else what was expected -------

local is_cpu_list = list_of(integer(0, 1023), "a list of CPU numbers, from 0")
local is_group_list = list_of(id, "a list of group ids")
local is_nice = integer(-20, 19, "an integer from -20 to 19")
local is_umask = integer(0, 511, "an integer from 0 to 511 (0777 in octal)")
local is_message_size = integer(1, 0xfffffff0,
  "an integer of bytes, 1 to 4294967280")

local function is_shell(value)
  if type(value) ~= "boolean" and (text(value) or value == "") then
    return "a boolean or the path of a shell"
  end
end

local function is_env(value)
  if type(value) ~= "table" then return "a table of names and values" end
end

local is_number_of_group = integer(0, 0x7fffffff,
  "true or the number of a process group")

local function is_pgroup(value)
  if type(value) ~= "boolean" then return is_number_of_group(value) end
end

local RLIMITS = "a table such as {nofile=256, cpu={soft=1, hard=2}}, with "
  .. "integers or math.huge"

local function is_limit(value)
  return value == math.huge or (math.type(value) == "integer" and value >= 0)
end

local function is_rlimits(value)
  if type(value) ~= "table" then return RLIMITS end
  for name, limit in next, value do
    if not core.rlimits[name] then
      return ("%s; there is no limit %s, did you mean '%s'?"):format(RLIMITS,
        options.show(name), options.nearest(tostring(name), core.rlimits))
    end
    local pair = type(limit) == "table" and limit
      or { soft = limit, hard = limit }
    if not (is_limit(pair.soft) and is_limit(pair.hard)) then return RLIMITS end
  end
end

local function is_contain(value)
  if type(value) ~= "boolean" and value ~= "cgroup" and value ~= "keeper" then
    return 'a boolean, "cgroup" or "keeper"'
  end
end

local CGROUP = 'a path such as "jobs/a", or a table such as '
  .. '{path="jobs/a", max={["pids.max"]=100}}'

local function is_group_path(value)
  return not text(value) and #value < 4000
    and not ("/" .. value .. "/"):find("/%.%.?/") and value:find("[^/]")
end

--- Tells whether the files of a group may be written so: names without a
--- folder, and text or numbers.
local function is_max(value)
  if type(value) ~= "table" then return false end
  for name, limit in next, value do
    if type(name) ~= "string" or name:find("[/%z]") or name:find("^%.*$")
      or type(limit) ~= "number" and (text(limit) or limit == "") then
      return false
    end
  end
  return true
end

local function is_cgroup(value)
  if type(value) ~= "table" then
    return not is_group_path(value) and CGROUP or nil
  end
  for name in next, value do
    if name ~= "path" and name ~= "max" then return CGROUP end
  end
  if not is_group_path(value.path) or value.max and not is_max(value.max) then
    return CGROUP
  end
end

local function is_scope(value)
  if type(value) ~= "table"
    or not (value.adopt_ or (value.join and value.cancel)) then
    return "a scope or a task"
  end
end

local function is_serialization(value)
  if value ~= "msgpack" and value ~= "json" then
    return '"msgpack" or "json"'
  end
end

local function is_user(value)
  if text(value) or value == "" then return "the name of a user" end
end

-- Telling the core: each writes into `attributes` what the core is to do ----

--- Returns what tells the core of an option's value under `name`.
local function as(name)
  return function(attributes, value) attributes[name] = value end
end

local function tell_cwd(attributes, path)
  attributes.cwd = path ~= "" and path or nil
end

--- Has the environment stay as it is, without the mark of the family.
local function tell_env(attributes) attributes.unmarked = true end

local function tell_pgroup(attributes, group)
  attributes.pgroup = group == true and 0 or group or nil
end

--- Tells of limits as the flat list (number, soft, hard, …) that the core
--- reads; `limit_names` are for `limit_that_failed`.
local function tell_rlimits(attributes, given)
  local flat, names = {}, {}
  for name, value in next, given do
    local pair = type(value) == "table" and value
      or { soft = value, hard = value }
    names[#names + 1] = name
    flat[#flat + 1] = core.rlimits[name]
    flat[#flat + 1] = pair.soft
    flat[#flat + 1] = pair.hard
  end
  attributes.rlimits, attributes.limit_names = flat, names
end

--- A child of a scope dies with this process, unless the option says otherwise.
local function tell_scope(attributes)
  if attributes.die_with_parent == nil then
    attributes.die_with_parent = true
  end
end

-- What a failed stage names in err.path; nil if there is nothing to name ------

--- Returns what names the value that the core was told under `name`.
local function told(name)
  return function(attributes)
    local value = attributes[name]
    return value and tostring(value)
  end
end

local function limit_that_failed(attributes, index)
  return attributes.limit_names[index + 1]
end

-- The options ----------------------------------------------------------------

--- @class SpawnOption
--- @field check fun(value: any): string?
--- @field tell function? (attributes, value): the core is told; not in the
---   order of this list, but in any
--- @field stage string? of a start, at which this option can fail
--- @field path function? (attributes, index): what that failure names; left
---   out, the value that the core was told under the stage's name

--- @type table<string, SpawnOption>
local list = {
  argv0 = { check = text },
  cgroup = { check = is_cgroup },
  contain = { check = is_contain },
  cpu_affinity = { check = is_cpu_list, tell = as "cpu_affinity" },
  cwd = { check = text, tell = tell_cwd, stage = "chdir", path = told "cwd" },
  detached = { check = boolean, tell = as "setsid" },
  die_with_parent = { check = boolean, tell = as "die_with_parent" },
  encoding = { check = any },
  env = { check = is_env, tell = tell_env },
  env_extend = { check = is_env },
  gid = { check = id, tell = as "gid", stage = "gid" },
  groups = { check = is_group_list, tell = as "groups" },
  kill_signal = { check = signals.option },
  max_message = { check = is_message_size },
  nice = { check = is_nice, tell = as "nice", stage = "nice" },
  pgroup = { check = is_pgroup, tell = tell_pgroup, stage = "pgroup" },
  rlimits = { check = is_rlimits, tell = tell_rlimits, stage = "rlimit",
    path = limit_that_failed },
  scope = { check = is_scope, tell = tell_scope },
  serialization = { check = is_serialization },
  shell = { check = is_shell },
  stdio = { check = any }, -- stdio.lua checks it
  stdio_grace = { check = checks.ms },
  timeout = { check = checks.ms },
  uid = { check = id, tell = as "uid", stage = "uid" },
  umask = { check = is_umask, tell = as "umask", stage = "umask" },
  user = { check = is_user, tell = as "user" }, -- see look_up_user
  windows_hide = { check = any },
}

local schema, tell, path_of = {}, {}, {} -- the columns of the list
for name, option in next, list do
  schema[name], tell[name] = option.check, option.tell
  if option.stage then
    path_of[option.stage] = option.path or told(option.stage)
  end
end

local spawn_options = { schema = schema } -- for `options.check`

--- Returns what the core is told of checked options, beyond file, argv, fds and
--- environment; nil if there is nothing to tell.
--- @param opts table
--- @return table? attributes
function spawn_options.attributes(opts)
  local attributes
  for name, value in next, opts do
    local teller = tell[name]
    if teller then
      attributes = attributes or {}
      teller(attributes, value)
    end
  end
  return attributes
end

--- Replaces the user's name in attributes by uid, gid and groups.
--- @param attributes table
--- @return true? ok
--- @return Error? err there is no such user
function spawn_options.look_up_user(attributes)
  local name = attributes.user
  local uid, gid, groups = core.credentials().lookup_user(name)
  if not uid then
    return nil, errors.system(gid, "spawn", { stage = "uid", path = name })
  end
  attributes.uid, attributes.gid, attributes.groups = uid, gid, groups
  return true
end

--- Returns what a start failed on, if an option is what failed, for err.path.
--- @param stage string
--- @param index integer which of several, from 0
--- @param attributes table?
--- @return string? path
function spawn_options.failed_on(stage, index, attributes)
  local path = attributes and path_of[stage]
  return path and path(attributes, index)
end

return spawn_options
