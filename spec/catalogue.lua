--- What the specs cover of three catalogues: Node's own tests, by group and
--- number ("A1: …" in an `it`), the faults that were found in use and mended
--- ("fault A1: …"), and what Node's users complain about and is better here
--- ("ours does better 25: …"). `make catalogue` prints the rows without a spec,
--- each with its reason, and fails if a reason is missing.

local NODE = {
  { "A", 1, 17 }, { "B", 18, 39 }, { "C", 40, 49 }, { "D", 50, 55 },
  { "E", 56, 62 }, { "F", 63, 82 }, { "G", 83, 98 }, { "H", 99, 102 },
  { "I", 103, 110 }, { "J", 111, 120 }, { "K", 121, 123 }, { "L", 124, 126 },
}

local NODE_LATER = {
  I = "the cluster is not there yet",
  J = "the cluster is not there yet",
  K = "the cluster is not there yet",
}

local FAULTS = {
  { "A", 1, 13 }, { "B", 1, 12 }, { "C", 1, 11 }, { "D", 1, 10 },
  { "E", 1, 10 },
}

local FAULTS_LATER = {
  E6 = "needs Lua 5.5; run by hand, see docs/platforms.md",
  E5 = "make lint compiles the core for musl and for ARM64",
}

local BETTER = { { "", 5, 10 }, { "", 24, 28 } }

local BETTER_LATER = {}

--- Returns the set of rows that an `it` names, after what stands before them.
local function named(before)
  local rows = {}
  local specs = io.popen("find spec -name '*_spec.lua'")
  for path in specs:lines() do
    local file <close> = io.open(path)
    local pattern = 'it%(%(?%s*"' .. before .. "(%u?%d+):"
    for row in file:read("a"):gmatch(pattern) do rows[row] = true end
  end
  specs:close()
  return rows
end

--- Prints the rows of a catalogue that have no spec.
--- @return boolean ok each of them has a reason
local function print_missing(title, groups, later, before)
  local have, count, ok = named(before), 0, true
  print(title)
  for _, group in ipairs(groups) do
    for number = group[2], group[3] do
      local row = group[1] .. number
      local reason = later[row] or later[group[1]]
      if have[row] then
        count = count + 1
      else
        print(("  %-5s %s"):format(row, reason or "MISSING, with no reason"))
        ok = ok and reason ~= nil
      end
    end
  end
  print(("  %d rows have a spec"):format(count))
  return ok
end

local node = print_missing("Node's own tests", NODE, NODE_LATER, "")
local faults = print_missing("Faults found in use", FAULTS, FAULTS_LATER,
  "fault ")
local better = print_missing("What Node's users complain about", BETTER,
  BETTER_LATER, "ours does better ")
os.exit(node and faults and better)
