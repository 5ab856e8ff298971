--- Counts the system calls of a program and of what it starts, by strace.

local trace = {}

--- System calls by who made them: `own` are those of the program itself,
--- `child` those of its children until they execute a program, and after that
--- if the program is Lua. What other programs do (true, sh) is theirs.
--- @class Calls
--- @field own integer
--- @field child integer
--- @field names table<string, integer> by "own NAME" and "child NAME"

local function count(calls, whose, name)
  local key = whose .. " " .. name
  calls[whose] = calls[whose] + 1
  calls.names[key] = (calls.names[key] or 0) + 1
end

--- Tells whose calls follow after a program of this path has been executed.
local function owner_after(path)
  return path:find("lua", 1, true) and "child" or "other"
end

--- Reads strace's log: lines "PID call(…) = result". A call during which
--- another process made one has two of them, "PID call(… <unfinished ...>" and
--- "PID <... call resumed> …".
--- @param lines fun(): string?
--- @return Calls
function trace.read(lines)
  local calls = { own = 0, child = 0, other = 0, names = {} }
  local whose, executes, first = {}, {}, nil
  for line in lines do
    local pid, rest = line:match("^(%d+)%s+(.*)$")
    local name = rest:match("^([%w_]+)%(")
    first = first or pid
    whose[pid] = whose[pid] or "child"
    if name then count(calls, pid == first and "own" or whose[pid], name) end
    if name == "execve" then
      executes[pid] = rest:match '^execve%("([^"]*)"'
    end
    if (name or rest:match "^<... (%w+) resumed>") == "execve"
      and rest:find("= 0$") then
      whose[pid] = owner_after(executes[pid])
    end
    if rest:find("^%+%+%+ exited") then whose[pid] = nil end
  end
  return calls
end

local function message_of(path)
  local file <close> = io.open(path)
  return file and file:read("a"):match("[^\n]*") or ""
end

--- Runs a command line under strace.
--- @param command string
--- @return Calls? calls
--- @return string? problem the first line that strace or the command wrote
function trace.run(command)
  local log, errors = os.tmpname(), os.tmpname()
  local ok = os.execute(("strace -f -qq -o %s %s >/dev/null 2>%s"):format(log,
    command, errors))
  local calls = ok and trace.read(io.lines(log))
  local problem = message_of(errors)
  os.remove(log)
  os.remove(errors)
  if not calls or calls.own == 0 then return nil, problem end
  return calls
end

return trace
