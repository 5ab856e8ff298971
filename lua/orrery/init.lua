--- Orrery: processes, orchestrated. Every part is loaded when it is first
--- asked for, and `require "orrery"` changes nothing in its host.

local jit = rawget(_G, "jit") -- of LuaJIT, which says that it is Lua 5.1
if _VERSION < "Lua 5.4" then
  error("orrery needs Lua 5.4 or later, this is "
    .. (jit and jit.version or _VERSION), 0)
end

local _, path = ...
if path and path:find("^[^/].*/") then require "orrery.runtime.paths" end

local orrery = {}

--- What has a name here: the module that holds it, and the field of it, if it
--- is not the module itself.
local parts = {
  version = { "orrery.runtime.version" },
  process = { "orrery.process" },
  child_process = { "orrery.child_process" },
  events = { "orrery.events" },
  task = { "orrery.task" },
  stream = { "orrery.stream" },
  core = { "orrery.core" },
  net = { "orrery.net" },
  dgram = { "orrery.dgram" },
  http = { "orrery.http" },
  cluster = { "orrery.cluster" },
  null = { "orrery.core", "null" },
  array = { "orrery.core", "array" },
  inspect = { "orrery.inspect" },
  json = { "orrery.json" },
  main = { "orrery.runtime.main", "main" },
}
for _, name in ipairs {
  "spawn", "fork", "exec", "exec_file", "pipeline", "run", "sh", "spawn_sync",
  "exec_sync", "exec_file_sync",
} do
  parts[name] = { "orrery.child_process", name }
end
for _, name in ipairs {
  "go", "sleep", "scope", "deadline", "all", "race", "after", "every",
} do
  parts[name] = { "orrery.task", name }
end

local ENFILE, EMFILE = 23, 24 -- the core may be what cannot be loaded

--- Loads a module, as `require` does, which where no file can be opened says no
--- more than that there is none.
local function load_module(name)
  local found, value = pcall(require, name)
  if found then return value end
  local _, why, errno = io.open("/")
  if errno ~= ENFILE and errno ~= EMFILE then error(value, 0) end
  error(("orrery: '%s' cannot be loaded, for no file can be opened: %s")
    :format(name, why:gsub("^/: ", "")), 3)
end

return setmetatable(orrery, {
  __index = function(self, name)
    local part = parts[name]
    if not part then return nil end
    local value = load_module(part[1])
    if part[2] then value = value[part[2]] end
    self[name] = value
    return value
  end,
})
