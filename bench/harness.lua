--- Runs peers, round robin over several rounds, and says what came out: each
--- peer is a program that prints lines "name number". What is missing or fails
--- is left out, with a line that says so.

local harness = {}

local WANTED_FDS = 16384

-- Raised where it can be, for thousands of children are thousands of fds.
local PREFIX = ("ulimit -n %d 2>/dev/null || ulimit -n $(ulimit -H -n); exec ")
  :format(WANTED_FDS)

--- @param word string
--- @return string quoted for sh
function harness.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function output(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

--- @param program string a name or a path
--- @return string? path quoted for sh; nil where there is none
function harness.find(program)
  local path = output("command -v " .. harness.quote(program))
  return path ~= "" and harness.quote(path) or nil
end

--- How many fds a peer will have, at most.
--- @return integer
function harness.fds()
  local hard = tonumber(output("ulimit -H -n")) or WANTED_FDS
  return math.min(hard, WANTED_FDS)
end

--- @return integer? MiB nil where the kernel does not tell
function harness.available_memory()
  local file <close> = io.open("/proc/meminfo")
  local kib = file and file:read("a"):match("MemAvailable:%s*(%d+)")
  return kib and tonumber(kib) // 1024
end

--- Runs a command of make's kind: shown when it fails, which ends it all.
function harness.build(command)
  if not os.execute(command) then
    io.stderr:write("bench: failed: ", command, "\n")
    os.exit(1)
  end
end

-- Samples ---------------------------------------------------------------------

--- @return table<string, number>? figures nil where the peer failed
local function figures_of(command)
  local pipe = assert(io.popen(PREFIX .. command))
  local text, figures = pipe:read("a"), {}
  local ok = pipe:close()
  for name, number in text:gmatch("(%g+) (%-?[%d.]+)\n") do
    figures[name] = tonumber(number)
  end
  return ok and next(figures) and figures or nil
end

local function add(samples, figures)
  for name, number in pairs(figures) do
    samples[name] = samples[name] or {}
    table.insert(samples[name], number)
  end
end

--- @class Contender
--- @field name string
--- @field command string? nil where something is missing
--- @field missing string? what
--- @field samples table<string, number[]> by figure, one a round

--- @param contenders Contender[] their samples are filled in
--- @param rounds integer
--- @param obstacle string? why there is nothing to measure
--- @param derive fun(figures: table<string, number>)? adds to those of one run
function harness.measure(contenders, rounds, obstacle, derive)
  for _, contender in ipairs(contenders) do
    contender.samples = {}
    if obstacle then contender.command, contender.missing = nil, obstacle end
  end
  for _ = 1, rounds do
    for _, contender in ipairs(contenders) do
      local figures = contender.command and figures_of(contender.command)
      if figures then
        if derive then derive(figures) end
        add(contender.samples, figures)
      elseif contender.command then
        contender.command, contender.missing = nil, "it failed"
        contender.samples = {}
      end
    end
  end
end

--- @param contenders Contender[]
--- @return number? median nil where there is none
function harness.median(contenders, name, figure)
  for _, contender in ipairs(contenders) do
    local samples = contender.name == name and contender.samples[figure]
    if samples then
      table.sort(samples)
      local middle = #samples // 2
      if #samples % 2 == 1 then return samples[middle + 1] end
      return (samples[middle] + samples[middle + 1]) / 2
    end
  end
end

-- Tables ----------------------------------------------------------------------

--- Prints one figure of all contenders.
--- @param reference string? the one that they are held against
function harness.print_figure(contenders, figure, reference)
  local base = reference and harness.median(contenders, reference, figure)
  print(("  %-26s %9s %9s %9s   %s"):format(figure, "min", "median", "max",
    reference and "x " .. reference or ""))
  for _, contender in ipairs(contenders) do
    local median = harness.median(contenders, contender.name, figure)
    if median then
      local samples = contender.samples[figure]
      print(("  %-26s %9.1f %9.1f %9.1f   %s"):format(contender.name,
        samples[1], median, samples[#samples],
        base and ("%.2f"):format(median / base) or reference and "-" or ""))
    elseif contender.missing then
      print(("  %-26s skipped: %s"):format(contender.name, contender.missing))
    end
  end
  print()
end

--- @class Goal of, of/over or of-over is what is held against most or least
--- @field of string a contender
--- @field over string? another one
--- @field difference boolean? of-over
--- @field figure string
--- @field title string? what is looked at, where the row's title does not tell
--- @field most number?
--- @field least number?

--- What a goal is about: a number or nil, and its name.
local function subject(contenders, goal)
  local of = harness.median(contenders, goal.of, goal.figure)
  if not goal.over then return of, goal.of end
  local over = harness.median(contenders, goal.over, goal.figure)
  if goal.difference then
    return of and over and of - over, goal.of .. " - " .. goal.over
  end
  return of and over and of / over, goal.of .. " / " .. goal.over
end

--- @param goal Goal
--- @return string line for the last table
function harness.verdict(title, contenders, goal)
  local value, name = subject(contenders, goal)
  local bound = goal.most and ("<= %g"):format(goal.most)
    or (">= %g"):format(goal.least)
  local shown, word = "-", "skipped"
  if value then
    local held = value <= (goal.most or math.huge)
      and value >= (goal.least or -math.huge)
    shown, word = ("%.2f"):format(value), held and "holds" or "MISSED"
  end
  return ("%-24s %-34s %7s   %-7s %s"):format(goal.title or title, name, shown,
    bound, word)
end

return harness
