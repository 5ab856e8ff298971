--- Measures contenders: runs each as a program of its own, round robin, and
--- keeps the figures that it prints, one "name number" a line. A contender that
--- is missing or fails is left out of the medians, with the reason kept.

local harness = {}

local WANTED_FDS = 16384
local LEAST_ROUNDS = 3
local BUDGET = 75 -- s of one row, once it has had its least rounds

-- Raised as far as allowed, for thousands of children are thousands of fds.
local PREFIX = ("ulimit -n %d 2>/dev/null || ulimit -n $(ulimit -H -n); exec ")
  :format(WANTED_FDS)

--- Quotes a word for sh.
--- @param word string
--- @return string
function harness.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- Runs a command line and returns its stdout without the last newline. What it
--- writes to stderr is not shown; an empty string if it cannot run.
--- @param command string
--- @return string
function harness.output(command)
  local pipe <close> = assert(io.popen("exec 2>/dev/null; " .. command))
  return (pipe:read("a"):gsub("\n$", ""))
end

--- Finds the first of several programs that there is.
--- @param ... string names to look for on PATH, or paths
--- @return string? path quoted for sh; nil if there is none of them
function harness.find(...)
  for _, program in ipairs { ... } do
    local path = harness.output("command -v " .. harness.quote(program))
    if path ~= "" then return harness.quote(path) end
  end
end

--- Returns how many fds a contender will be allowed.
--- @return integer
function harness.fds()
  local hard = tonumber(harness.output("ulimit -H -n")) or WANTED_FDS
  return math.min(hard, WANTED_FDS)
end

-- Samples ---------------------------------------------------------------------

--- Runs a contender once. Returns its figures, or nil if it failed.
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
--- @field command string? nil if something is missing
--- @field missing string? what
--- @field rounds integer? runs in no more rounds than this: it is very slow
--- @field samples table<string, number[]> by figure, one a round

--- Runs every contender once. One that fails is out of the race.
local function run_round(row, round)
  for _, contender in ipairs(row.contenders) do
    local runs = contender.command and round <= (contender.rounds or round)
    local figures = runs and figures_of(contender.command)
    if figures then
      if row.derive then row.derive(figures) end
      add(contender.samples, figures)
    elseif runs then
      contender.command, contender.missing = nil, "it failed"
      contender.samples = {}
    end
  end
end

--- Measures a row: fills in `samples` of its contenders and sets `rounds_run`.
--- Rounds are left out if there would be no time for another one, but not the
--- first LEAST_ROUNDS.
--- @param row Row
function harness.measure(row)
  local obstacle = row.obstacle and row.obstacle()
  for _, contender in ipairs(row.contenders) do
    contender.samples = {}
    if obstacle then contender.command, contender.missing = nil, obstacle end
  end
  local begun = os.time()
  for round = 1, row.rounds do
    local round_begun = os.time()
    run_round(row, round)
    row.rounds_run = round
    local now = os.time()
    local next_end = now - begun + now - round_begun
    if round >= LEAST_ROUNDS and next_end > BUDGET then break end
  end
end

--- Returns the samples of one figure of one contender, sorted.
--- @param contenders Contender[]
--- @param name string
--- @param figure string
--- @return number[]? samples nil if there are none
function harness.samples(contenders, name, figure)
  for _, contender in ipairs(contenders) do
    local samples = contender.name == name and contender.samples[figure]
    if samples then
      table.sort(samples)
      return samples
    end
  end
end

--- Returns the median of one figure of one contender.
--- @param contenders Contender[]
--- @param name string
--- @param figure string
--- @return number? median nil if there are no samples
function harness.median(contenders, name, figure)
  local samples = harness.samples(contenders, name, figure)
  if not samples then return nil end
  local middle = #samples // 2
  if #samples % 2 == 1 then return samples[middle + 1] end
  return (samples[middle] + samples[middle + 1]) / 2
end

return harness
