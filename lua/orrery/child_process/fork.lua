--- `fork`: the interpreter again, with a script, Orrery and a channel to us. It is
--- no fork(2): nothing of this process's memory goes along.

local uv = require "luv"
local arguments = require "orrery.child_process.arguments"
local options = require "orrery.runtime.options"
local spawn = require "orrery.child_process.spawn"
local spawn_options = require "orrery.child_process.options"

local fork = {}

local MOST_GENERATIONS = 16 -- a script that forks itself ends somewhere

local checks = options.checks

local schema = options.copy(spawn_options.schema)
schema.exec_path = checks.string
schema.exec_argv = options.list(checks.string, "a list of strings")
schema.silent = checks.boolean

local words = { pipe = true, inherit = true, ignore = true }

--- stdio with a channel: fd 3, or where the list says.
local function stdio_of(opts)
  local stdio = opts.stdio
  if stdio == nil then stdio = opts.silent and "pipe" or "inherit" end
  if type(stdio) == "string" then
    if not words[stdio] then
      options.raise("fork: option 'stdio' must be \"pipe\", "
        .. '"inherit", "ignore" or a list with "ipc", got %s', options.show(stdio))
    end
    return { stdio, stdio, stdio, "ipc" }
  end
  for _, entry in next, type(stdio) == "table" and stdio or {} do
    if entry == "ipc" then return stdio end
  end
  options.raise("fork: option 'stdio' must be a list with \"ipc\" for "
    .. "one of the fds (ERR_CHILD_PROCESS_IPC_REQUIRED)")
end

--- The absolute path of a module of ours, found while there are fds to look with;
--- and the templates that find it, where those of `path` are relative to a folder
--- which need not be the child's.
local function locate(module, path, templates)
  local file = assert(package.searchpath(module, path))
  local absolute = assert(uv.fs_realpath(file))
  if file:sub(1, 1) == "/" then return absolute, "" end
  local folder = absolute:match("^(.*)/orrery/.*$"):gsub("%%", "%%%%")
  return absolute, (templates:gsub("@", folder))
end

local FORKED, LUA_PATH = locate("orrery.cli.forked", package.path,
  "@/?.lua;@/?/init.lua;")
local _, C_PATH = locate("orrery.core", package.cpath, "@/?.so;")

--- What a Lua interpreter is to run in front of the script, and the variables
--- that tell it where modules are. Other programs get the script as it is.
local function bootstrap(exec_path)
  if not exec_path:match("([^/]*)$"):find("^lua") then return {}, nil end
  return { FORKED, "--" },
    LUA_PATH .. package.path .. "\n" .. C_PATH .. package.cpath
end

local function append(list, more)
  for i = 1, #more do list[#list + 1] = more[i] end
end

--- The script with its arguments, and the options.
local function check_arguments(module_path, args, opts)
  options.argument("fork", "the script", module_path, checks.string)
  if module_path == "" then
    options.raise("fork: the script must not be an empty string")
  end
  local script
  script, opts = arguments.split("fork", module_path, args, opts)
  return script, options.check("fork", opts, schema)
end

local function generation()
  local count = math.tointeger(tonumber(os.getenv("ORRERY_GENERATION"))) or 0
  if count >= MOST_GENERATIONS then
    options.raise("fork: %d generations of processes have forked each "
      .. "other: a script that forks itself?", count)
  end
  return count + 1
end

--- Starts a script in a process of its own, with a channel to this one.
---
---     local child = orrery.fork("worker.lua", {"7"})
---     child:on("message", print)
---     child:send {job = 1}
---
--- stdio is inherited unless `silent` or `stdio` say otherwise. The child lives
--- while it has something to do, or a listener of `message` or `disconnect`.
--- @param module_path string the script
--- @param args string[]? its arguments
--- @param opts table? spawn's, and `exec_path` (this interpreter), `exec_argv` (ours,
---   where that is a Lua), `silent`, `serialization` ("msgpack"; "json" is Node's),
---   `max_message`
--- @return Child
function fork.fork(module_path, args, opts)
  local script
  script, opts = check_arguments(module_path, args, opts)
  opts = options.copy(opts)
  opts.stdio = stdio_of(opts)
  opts.shell = nil
  local process = require "orrery.process"
  local exec_path = opts.exec_path or process.exec_path
  local loader, paths = bootstrap(exec_path)
  local argv = { exec_path }
  append(argv, opts.exec_argv or loader[1] and process.exec_argv or {})
  append(argv, loader)
  append(argv, script)
  return spawn.start("fork", argv, opts,
    { ORRERY_FORK = paths, ORRERY_GENERATION = generation() })
end

return fork
