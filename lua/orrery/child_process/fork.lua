--- `fork`: the interpreter again, with a script, Orrery and a channel to us. It
--- is no fork(2): nothing of this process's memory goes along.

local uv = require "orrery.runtime.luv"
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

local words = { pipe = true, inherit = true, ignore = true, pty = true }

--- Returns stdio with a channel: on fd 3, or where the list has it. Raises if
--- there is none.
local function stdio_of(opts)
  local stdio = opts.stdio
  if stdio == nil then stdio = opts.silent and "pipe" or "inherit" end
  if type(stdio) == "string" then
    if not words[stdio] then
      options.raise('fork: option \'stdio\' must be "pipe", "inherit", '
        .. '"ignore", "pty" or a list with "ipc", got %s', options.got(stdio))
    end
    return { stdio, stdio, stdio, "ipc" }
  end
  for _, entry in next, type(stdio) == "table" and stdio or {} do
    if entry == "ipc" then return stdio end
  end
  options.raise("fork: option 'stdio' must be a list with \"ipc\" for one of "
    .. "the fds (ERR_CHILD_PROCESS_IPC_REQUIRED)")
end

--- Finds a module of ours, while there are fds to look with. Returns its
--- absolute path, and the templates that find it from any folder: empty if
--- those of `path` do, while relative ones need not be found from the child's
--- folder.
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

--- Returns what a Lua interpreter is to run in front of the script, and the
--- variable that tells it where modules are. Other programs get the script as
--- it is.
local function bootstrap(exec_path)
  if not exec_path:match("([^/]*)$"):find("^lua") then return {}, nil end
  return { FORKED, "--" },
    LUA_PATH .. package.path .. "\n" .. C_PATH .. package.cpath
end

local function append(list, more)
  for i = 1, #more do list[#list + 1] = more[i] end
end

--- Returns the script with its arguments as a list, and the options; raises
--- unless they are good.
local function check_arguments(module_path, args, opts)
  options.argument("fork", "the script", module_path, checks.string)
  if module_path == "" then
    options.raise("fork: the script must not be an empty string")
  end
  local script
  script, opts = arguments.split("fork", module_path, args, opts)
  return script, options.check("fork", opts, schema)
end

--- Returns how many generations of forks there are with the child; raises if
--- they are too many.
local function next_generation()
  local count = math.tointeger(tonumber(os.getenv("ORRERY_GENERATION"))) or 0
  if count >= MOST_GENERATIONS then
    options.raise("fork: %d generations of processes have forked each other: a "
      .. "script that forks itself?", count)
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
--- while it has something to do, or a listener of `message` or `disconnect`. A
--- start that fails is a child without a pid, as spawn's.
--- @param module_path string the script
--- @param args string[]? its arguments
--- @param opts table? spawn's, and `exec_path` (this interpreter), `exec_argv`
---   (a list; ours, if that is a Lua), `silent`, `serialization` ("msgpack";
---   "json", Node's, if exec_path is a node, nodejs, bun or deno),
---   `max_message` (bytes), `stdio_grace` (ms that the channel may stay open
---   after the exit, 250)
--- @return Child child
function fork.fork(module_path, args, opts)
  local script
  script, opts = check_arguments(module_path, args, opts)
  opts = options.copy(opts)
  opts.stdio = stdio_of(opts)
  opts.shell = nil
  local process = require "orrery.process"
  -- Without /proc it is not known, and there the start fails, and says so.
  local exec_path = opts.exec_path or process.exec_path or "/proc/self/exe"
  local loader, paths = bootstrap(exec_path)
  local argv = { exec_path }
  append(argv, opts.exec_argv or loader[1] and process.exec_argv or {})
  append(argv, loader)
  append(argv, script)
  return spawn.start("fork", argv, opts,
    { ORRERY_FORK = paths, ORRERY_GENERATION = next_generation() })
end

return fork
