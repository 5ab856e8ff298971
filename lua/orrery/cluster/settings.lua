--- The settings of a cluster: what `setup_primary` and `fork` take, and which
--- policy divides the connections.

local options = require "orrery.runtime.options"
local spawn_options = require "orrery.child_process.options"

local settings = {}

local checks = options.checks

local POLICIES = { least = true, rr = true, shared = true, reuseport = true }

--- Options that a worker's start has, in the cluster's settings and its own.
local starts = {
  exec = checks.string,
  args = options.list(checks.any, "a list of strings"),
  exec_path = checks.string,
  exec_argv = options.list(checks.string, "a list of strings"),
  silent = checks.boolean,
}
for _, name in ipairs {
  "cwd", "env", "stdio", "serialization", "uid", "gid",
} do
  starts[name] = spawn_options.schema[name]
end

local for_all = options.copy(starts)
for_all.credit = options.integer(1, 4096)
for_all.stall = options.integer(1, 0x7fffffff, "an integer of milliseconds, "
  .. "1 or more")
for_all.move = checks.boolean

local for_one = options.copy(spawn_options.schema)
for name, check in pairs(starts) do for_one[name] = check end

--- Raises unless these are good for `setup_primary`.
--- @param given table?
--- @return table
function settings.check(given)
  return options.check("setup_primary", given, for_all)
end

--- Raises unless these are good for one worker: all of spawn's, and those of
--- setup_primary that say what is started.
--- @param given table?
--- @return table
function settings.check_one(given)
  return options.check("cluster.fork", given, for_one)
end

--- Fills in what is not given, and is not filled in so far.
--- @param all table
function settings.complete(all)
  local script = rawget(_G, "arg")
  if all.exec == nil then all.exec = script and script[0] or nil end
  if all.args == nil then
    all.args = script and table.pack(table.unpack(script)) or {}
    all.args.n = nil
  end
  local defaults = { silent = false, credit = 16, stall = 100, move = true }
  for name, value in pairs(defaults) do
    if all[name] == nil then all[name] = value end
  end
end

--- Raises unless a value is a policy.
--- @param value any
--- @return string|function
function settings.policy(value)
  if type(value) == "function" or POLICIES[value] then return value end
  options.raise("cluster.scheduling_policy must be \"least\", \"rr\", "
    .. "\"shared\", \"reuseport\" or a function, got %s", options.got(value))
end

--- Returns the policy that the environment asks for, or the one that is best
--- for most.
--- @return string
function settings.default_policy()
  local named = os.getenv("ORRERY_CLUSTER_POLICY")
  return POLICIES[named] and named or "least"
end

return settings
