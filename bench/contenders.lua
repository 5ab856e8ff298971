--- The programs that `make bench` measures: Orrery and its peers, each as a
--- command line. One whose program is not there is kept, with `missing` set.
--- NODE, BUN, GO and PYTHON name a peer's program if it is not on PATH.

local harness = require "bench.harness"

local contenders = {}

local PEERS, BUILT = "bench/peers/", "build/bench/"
local NOTHING = BUILT .. "nothing"
local ORRERY = "bin/orrery"

local lua = harness.find(arg and arg[-1] or "lua5.4", "lua5.4")
local node = harness.find(os.getenv("NODE") or "node")
local bun = harness.find(os.getenv("BUN") or "bun",
  BUILT .. "node_modules/.bin/bun")
local python = harness.find(os.getenv("PYTHON") or "python3")
local taskset = harness.find "taskset"

--- Programs that run the scripts of each kind, quoted for sh; nil if missing.
contenders.programs = {
  lua = lua,
  node = node,
  bun = bun,
  python = python,
  orrery = ORRERY,
}

--- Finds a program of our own in C or Go; nil if it was not built.
local function find_built(name)
  return harness.find(BUILT .. name)
end

--- Makes a contender of a program and its arguments.
--- @param name string
--- @param program string? quoted for sh; nil if it is not there
--- @param arguments string
--- @return Contender
function contenders.peer(name, program, arguments)
  return {
    name = name,
    command = program and program .. " " .. arguments,
    missing = not program and "not found" or nil,
  }
end

local peer = contenders.peer

--- Makes a contender of a program of our own in C, or in Go ("exec_go").
--- @param name string
--- @param program string
--- @param arguments string
--- @return Contender
function contenders.built(name, program, arguments)
  return peer(name, find_built(program), arguments)
end

--- Makes a contender of a script in bench/peers.
--- @param name string
--- @param by "lua"|"node"|"bun"|"python"|"orrery"
--- @param script string
--- @param arguments string|integer
--- @return Contender
function contenders.script(name, by, script, arguments)
  return peer(name, contenders.programs[by],
    PEERS .. script .. " " .. arguments)
end

local starters = {
  ["C"] = { find_built "spawn" },
  ["Go"] = { find_built "spawn_go" },
  ["luv"] = { lua, "spawn_luv.lua" },
  ["Node"] = { node, "spawn_node.js" },
  ["Bun"] = { bun, "spawn_bun.js" },
  ["Bun, child_process"] = { bun, "spawn_node.js" },
  ["ours"] = { ORRERY, "spawn_orrery.lua event" },
  ["ours, task style"] = { ORRERY, "spawn_orrery.lua task" },
}

--- Makes a contender that starts `program`, `count` times.
--- @param name string a key of `starters`
--- @param count integer
--- @param program "true"|"nothing"|string
--- @param with { heap: integer?, alive: integer?, title: string?,
---   rounds: integer? }? MiB of touched memory, children that sleep meanwhile,
---   another name for the table, in how many rounds it runs at most
--- @return Contender
function contenders.starts(name, count, program, with)
  with = with or {}
  local starter = starters[name]
  local script = starter[2] and PEERS .. starter[2] .. " " or ""
  if program == "true" then program = "/bin/true" end
  if program == "nothing" then program = NOTHING end
  local contender = peer(with.title or name, starter[1],
    ("%s%d %d %d %s %s"):format(script, count, with.heap or 0, with.alive or 0,
      NOTHING, program))
  contender.rounds = with.rounds
  return contender
end

--- Makes the contenders that exchange messages or hand connections over: the
--- scripts of one name, after the program in C of that name if it was built.
--- @param script string
--- @param arguments string
--- @param has_c boolean
--- @return Contender[]
function contenders.talkers(script, arguments, has_c)
  local list = {}
  if has_c then list[1] = contenders.built("C", script, arguments) end
  for _, one in ipairs {
    { "luv", "lua", "_luv.lua" },
    { "Node", "node", "_node.js" },
    { "Bun", "bun", "_node.js" },
    { "ours", "orrery", "_orrery.lua" },
  } do
    list[#list + 1] = contenders.script(one[1], one[2], script .. one[3],
      arguments)
  end
  return list
end

--- Keeps all processes of each contender on one core. Changes the list.
--- @param list Contender[]
--- @return Contender[] list
function contenders.pinned(list)
  for _, one in ipairs(list) do
    if not taskset then one.command, one.missing = nil, "no taskset" end
    one.command = one.command and taskset .. " -c 0 " .. one.command
  end
  return list
end

--- Makes the contenders that send `count` messages to a child, and in another
--- run get as many from one.
--- @param count integer
--- @param size integer bytes of a string; 0: a small record
--- @return Contender[]
function contenders.both_ways(count, size)
  local arguments = ("%d %d"):format(count, size)
  local down = contenders.talkers("messages", "down " .. arguments, true)
  local up = contenders.talkers("messages", "up " .. arguments, true)
  for i, one in ipairs(down) do
    one.command = one.command and "sh -c "
      .. harness.quote(one.command .. " && " .. up[i].command)
  end
  return down
end

--- Adds to the figures of both directions those of the slower one, under names
--- without a direction.
--- @param figures table<string, number>
function contenders.slower(figures)
  local function pick(name, choose)
    local down, up = figures["down_" .. name], figures["up_" .. name]
    if down and up then figures[name] = choose(down, up) end
  end
  pick("per_second", math.min)
  pick("mb_per_second", math.min)
  pick("ms", math.max)
  pick("ms_per_mib", math.max)
  pick("parent_peak_mib", math.max)
  pick("child_peak_mib", math.max)
end

return contenders
