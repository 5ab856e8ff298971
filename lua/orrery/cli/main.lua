--- `orrery`: runs a script as the main task.
---
--- Options end at the script, whose arguments are its own: a rule that argument
--- parsers do not know, and little else is left to parse.

local core = require "orrery.core"

-- Bytes that the heap seems to be larger by, for the collector begins when it has
-- doubled: ours, of 400 KiB, was marked again at each sixth message of 64 KiB, at half
-- of what receiving them costs. Nobody touches them, so that they take up no memory.
local BALLAST = 1536 * 1024

local cli = {}

local USAGE = [[
usage: orrery [options] SCRIPT [ARG...]
       orrery [options] -e CODE [ARG...]
       orrery [options] - [ARG...]          the script comes from stdin

  -e CODE      run CODE
  --version    print the version
  --help       print this

Exit status: process.exit_code; 1 uncaught error; 7 an uncaught_exception
listener failed; 9 bad option; 13 the main task waits for what cannot come.
]]

local BAD_OPTION, STUCK = 9, 13

local self = core.process()

local function die(code, format, ...)
  io.stderr:write("orrery: ", (format:format(...)), "\n")
  self:exit(code)
end

local function print_and_leave(text)
  io.stdout:write(text)
  self:exit(0)
end

local flags = {
  ["--help"] = function() print_and_leave(USAGE) end,
  ["-h"] = function() print_and_leave(USAGE) end,
  ["--version"] = function()
    print_and_leave("orrery " .. require "orrery".version .. "\n")
  end,
}
flags["-v"] = flags["--version"]

--- What to run: {code=} or {script=} or {stdin=true}, and the arguments.
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
    elseif word:sub(1, 1) == "-" then
      die(BAD_OPTION, "unknown option '%s'; see orrery --help", word)
    else
      return { script = word, args = { table.unpack(args, i + 1) } }
    end
    i = i + 1
  end
  io.stderr:write(USAGE)
  self:exit(BAD_OPTION)
end

local function load_chunk(what)
  if what.code then return load(what.code, "=(command line)") end
  if what.stdin then return load(io.read("a"):gsub("^#[^\n]*", ""), "=stdin") end
  return loadfile(what.script)
end

--- @param args string[] the command line
function cli.main(args)
  local what = parse(args)
  local chunk, problem = load_chunk(what)
  if not chunk then die(1, "%s", problem) end
  what.args[0] = what.script
  for i = -1, -256, -1 do what.args[i] = args[i] end
  arg = what.args -- luacheck: globals arg
  if os.getenv("ORRERY_CHANNEL_FD") or os.getenv("NODE_CHANNEL_FD") then
    require "orrery.process" -- takes the channel over before the script runs
  end
  -- lua5.4 itself starts in generational mode, in which what is finalized, as
  -- children and streams are, piles up: 36 MB after 40,000 runs against 5.
  collectgarbage("incremental")
  self:ballast(BALLAST)
  collectgarbage("restart")
  -- The first cycle begins as all others do: once memory has doubled.
  collectgarbage("step", -(collectgarbage("count") // 1 | 0))
  self:raise_nofile()
  self:ignore_sigpipe()
  os.exit = function(code) -- luacheck: globals os.exit
    if type(code) == "boolean" then code = code and 0 or 1 end
    require "orrery.process".exit(code)
  end
  local _, stuck = require "orrery.runtime.main".run(chunk, table.unpack(what.args))
  if stuck then
    io.stderr:write("orrery: ", stuck, "\n")
    os.exit(STUCK)
  end
  local process = package.loaded["orrery.process"]
  if process then process.exit() end
  require "orrery.runtime.loop".exit(0)
end

return cli
