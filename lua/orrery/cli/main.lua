--- `orrery`: runs a script as the main task.
---
--- Options end at the script, whose arguments are its own: a rule that argument
--- parsers do not know, and little else is left to parse.

local core = require "orrery.core"
require "orrery.runtime.started" -- before the script can go elsewhere

-- Bytes that the heap seems to be larger by. The collector begins when the heap
-- has doubled: ours, of 400 KiB, was marked again at each sixth message of 64
-- KiB, at half of what receiving them costs. The bytes are never touched, so
-- they take up no memory.
local BALLAST = 1536 * 1024

local BAD_OPTION, STUCK = 9, 13 -- exit codes

local cli = {}

local self_process = core.process()

local function die(code, format, ...)
  io.stderr:write("orrery: ", (format:format(...)), "\n")
  self_process:exit(code)
end

local function print_and_leave(text)
  io.stdout:write(text)
  self_process:exit(0)
end

local function usage() return (require "orrery.cli.usage") end

local flags = {
  ["--help"] = function() print_and_leave(usage()) end,
  ["--version"] = function()
    print_and_leave("orrery " .. require "orrery".version .. "\n")
  end,
}
flags["-h"], flags["-v"] = flags["--help"], flags["--version"]

--- Returns what to run, {code=}, {script=} or {stdin=true}, with its arguments.
--- Ends the process if an option says so, or there is nothing to run.
local function parse(args)
  local i = 1
  while args[i] do
    local word = args[i]
    if flags[word] then
      flags[word]()
    elseif word == "-e" then
      if not args[i + 1] then die(BAD_OPTION, "-e needs CODE") end
      return { code = args[i + 1], args = { table.unpack(args, i + 2) } }
    elseif word == "-" then
      return { stdin = true, args = { table.unpack(args, i + 1) } }
    elseif word == "--" then
      i = i + 1
      if not args[i] then break end
      return { script = args[i], args = { table.unpack(args, i + 1) } }
    elseif word == "--init" then
      require "orrery.cli.init"(args, i)
    elseif word:sub(1, 1) == "-" then
      die(BAD_OPTION, "unknown option '%s'; see orrery --help", word)
    else
      return { script = word, args = { table.unpack(args, i + 1) } }
    end
    i = i + 1
  end
  io.stderr:write(usage())
  self_process:exit(BAD_OPTION)
end

local function load_chunk(what)
  if what.code then return load(what.code, "=(command line)") end
  if what.stdin then return require "orrery.cli.stdin".load() end
  return loadfile(what.script)
end

--- Sets the collector up: it is stopped until here.
local function start_collector()
  -- lua5.4 itself starts in generational mode, in which what is finalized, as
  -- children and streams are, piles up: 36 MB after 40,000 runs against 5.
  collectgarbage("incremental")
  self_process:ballast(BALLAST)
  collectgarbage("restart")
  -- The first cycle begins as all others do: once memory has doubled.
  collectgarbage("step", -(collectgarbage("count") // 1 | 0))
end

--- Makes `os.exit` end the process as `process.exit` does.
local function replace_exit()
  os.exit = function(code) -- luacheck: globals os.exit
    if type(code) == "boolean" then code = code and 0 or 1 end
    require "orrery.process".exit(code)
  end
end

--- Runs the script to its end, and ends the process by `process.exit` if that
--- has been loaded.
local function run(chunk, args)
  local _, stuck = require "orrery.runtime.main".run(chunk, table.unpack(args))
  if stuck then
    io.stderr:write("orrery: ", stuck, "\n")
    os.exit(STUCK)
  end
  local process = core.shared.process
  if process then process.exit() end
end

--- Does what the command line says. Does not return.
--- @param args string[] as Lua's `arg`, with the interpreter's words below 0
function cli.main(args)
  local loop = require "orrery.runtime.loop"
  if loop.owns_process then
    die(BAD_OPTION, require "orrery.cli.nested"(args))
  end
  local what = parse(args)
  if self_process:pid() == 1 then require "orrery.cli.init"(args) end
  local chunk, problem = load_chunk(what)
  if not chunk then die(1, "%s", problem) end
  loop.owns_process = true
  what.args[0] = what.script
  local i = -1
  while args[i] do
    what.args[i] = args[i]
    i = i - 1
  end
  arg = what.args -- luacheck: globals arg
  if os.getenv("ORRERY_CHANNEL_FD") or os.getenv("NODE_CHANNEL_FD") then
    require "orrery.process" -- takes the channel over before the script runs
  end
  if os.getenv("ORRERY_WORKER") then require "orrery.cluster" end
  start_collector()
  self_process:raise_nofile()
  self_process:ignore_sigpipe()
  if not core.own_output(io) then require "orrery.cli.print" end
  replace_exit()
  run(chunk, what.args)
  loop.exit(0)
end

return cli
