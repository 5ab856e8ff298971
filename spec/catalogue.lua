--- Which rows of the conformance catalogue (Node's own tests, by group and
--- number) have a spec. `make catalogue` prints the rows without one, each with
--- its reason, and fails where a reason is missing.

local GROUPS = {
  { "A", 1, 17 }, { "B", 18, 39 }, { "C", 40, 49 }, { "D", 50, 55 },
  { "E", 56, 62 },
  { "F", 63, 82 }, { "G", 83, 98 }, { "H", 99, 102 }, { "I", 103, 110 },
  { "J", 111, 120 }, { "K", 121, 123 }, { "L", 124, 126 },
}

local later = {
  I = "the cluster is not there yet",
  J = "the cluster is not there yet",
  K = "the cluster is not there yet",
  L = "of the process module only its base is there; see spec/process_spec.lua",
}

--- The rows that an `it` names, "A1: …".
local function named()
  local rows = {}
  local specs = io.popen("find spec -name '*_spec.lua'")
  for path in specs:lines() do
    local file <close> = io.open(path)
    for row in file:read("a"):gmatch('it%(%s*"(%u%d+):') do rows[row] = true end
  end
  specs:close()
  return rows
end

local have, missing, count = named(), 0, 0
for _, group in ipairs(GROUPS) do
  for number = group[2], group[3] do
    local row = group[1] .. number
    local reason = later[row] or later[group[1]]
    if have[row] then
      count = count + 1
    else
      print(("%-5s %s"):format(row, reason or "MISSING, and no reason given"))
      if not reason then missing = missing + 1 end
    end
  end
end
print(("%d rows have a spec"):format(count))
os.exit(missing == 0)
