--- Orrery against its peers, in one run: `make bench`, or
---
---     lua5.4 bench/run.lua [ROW...]     from the project's root, once built
---
--- Rows: spawn heap alive rate exec pipeline flat read startup forking
--- roundtrip oneway handles. Each is measured round robin; the last table holds
--- the medians against the goals.
--- NODE, BUN and PYTHON name those three where they are not on PATH. A missed
--- goal is no failure: machines are noisy.

local harness = dofile(arg[0]:match("^.*/") .. "harness.lua")

local HEAP = 2048 -- MiB
local ALIVE = 5000
local BYTES = 2 << 30
local EXECS = 1000
local LONG = 64 << 20 -- bytes of a string
local FIRST, LAST = 1000, 10000 -- runs, where memory is looked at
local TRUE, NOTHING = "/bin/true", "build/bench/nothing"

local lua = harness.find(arg[-1])
local taskset = harness.find "taskset"
local node = harness.find(os.getenv("NODE") or "node")
local bun = harness.find(os.getenv("BUN") or "bun")
local python = harness.find(os.getenv("PYTHON") or "python3")

-- Contenders ------------------------------------------------------------------

local starters = {
  ["C"] = "build/bench/spawn",
  ["luv"] = lua .. " bench/peers/spawn_luv.lua",
  ["Node"] = node and node .. " bench/peers/spawn_node.js",
  ["Bun"] = bun and bun .. " bench/peers/spawn_bun.js",
  ["Bun, child_process"] = bun and bun .. " bench/peers/spawn_node.js",
  ["ours"] = "bin/orrery bench/peers/spawn_orrery.lua event",
  ["ours, task style"] = "bin/orrery bench/peers/spawn_orrery.lua task",
}

--- One that starts `program`, `count` times. What `with` leaves out is none.
local function starts(name, count, program, with, title)
  local starter = starters[name]
  if not starter then return { name = name, missing = "not found" } end
  return {
    name = title or name,
    command = ("%s %d %d %d %s %s"):format(starter, count, with.heap or 0,
      with.alive or 0, NOTHING, program),
  }
end

--- A program that is given its arguments as they are; nil where it is missing.
local function peer(name, program, arguments)
  return {
    name = name,
    command = program and program .. " " .. arguments,
    missing = not program and "not found" or nil,
  }
end

local function reads(name, reader)
  return {
    name = name,
    command = ("%s %d %s -c %d /dev/zero"):format(reader, BYTES,
      harness.find("head"), BYTES),
  }
end

local OWN_CPU = "build/bench/own_cpu"
local PIPELINE = ("head -c %d /dev/zero | cat | wc -c"):format(BYTES)

local function flat(name, program, script)
  return peer(name, program, ("%s %d %d"):format(script, FIRST, LAST))
end

--- Who exchanges messages, or hands connections over: the scripts of that name,
--- and the program in C where there is one.
local function talkers(script, c, arguments)
  local path, list = "bench/peers/" .. script, {}
  if c then list[1] = peer("C", "build/bench/" .. script, arguments) end
  for _, one in ipairs {
    { "luv", lua, "_luv.lua " },
    { "Node", node, "_node.js " },
    { "Bun", bun, "_node.js " },
    { "ours", "bin/orrery", "_orrery.lua " },
  } do
    list[#list + 1] = peer(one[1], one[2], path .. one[3] .. arguments)
  end
  return list
end

--- Both processes on one core.
local function pinned(contenders)
  for _, one in ipairs(contenders) do
    if not taskset then one.command, one.missing = nil, "no taskset" end
    one.command = one.command and taskset .. " -c 0 " .. one.command
  end
  return contenders
end

--- Messages to the child, then in another run messages from it.
local function both_ways(count, size)
  local down = talkers("messages", true, ("down %d %d"):format(count, size))
  local up = talkers("messages", true, ("up %d %d"):format(count, size))
  for i, one in ipairs(down) do
    one.command = one.command and "sh -c "
      .. harness.quote(one.command .. " && " .. up[i].command)
  end
  return down
end

--- With our own a second time, for a shorter string.
local function with_small(contenders)
  local shorter = both_ways(1, LONG // 8)
  local ours = shorter[#shorter]
  ours.name = "ours, 8 MiB"
  contenders[#contenders + 1] = ours
  return contenders
end

--- Of both directions, the slower one.
local function slower(figures)
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

-- Rows ------------------------------------------------------------------------

local PLAIN = {}

local function few_fds()
  local fds = harness.fds()
  if fds < ALIVE + 100 then return ("only %d fds are allowed"):format(fds) end
end

local function little_memory()
  local mib = harness.available_memory()
  if mib and mib < HEAP + 1024 then
    return ("only %d MiB are free"):format(mib)
  end
end

local rows = {
  {
    id = "spawn",
    title = "spawn",
    text = "parent CPU of a start and exit of /bin/true, us",
    rounds = 7,
    figures = { "cpu_us_per_op" },
    contenders = {
      starts("C", 600, TRUE, PLAIN),
      starts("luv", 600, TRUE, PLAIN),
      starts("Node", 600, TRUE, PLAIN),
      starts("ours", 600, TRUE, PLAIN),
      starts("ours, task style", 600, TRUE, PLAIN),
    },
    goals = {
      { of = "ours", over = "C", most = 1.5 },
      { of = "ours, task style", over = "C", most = 1.5 },
    },
  },
  {
    id = "heap",
    title = "spawn, 2 GiB heap",
    text = "the same with 2 GiB of touched memory in the parent, us",
    obstacle = little_memory,
    rounds = 5,
    figures = { "cpu_us_per_op" },
    contenders = {
      starts("C", 500, TRUE, { heap = HEAP }),
      starts("luv", 15, TRUE, { heap = HEAP }),
      starts("Node", 15, TRUE, { heap = HEAP }),
      starts("ours", 500, TRUE, { heap = HEAP }),
      starts("ours", 500, TRUE, PLAIN, "ours, without"),
    },
    goals = { { of = "ours", over = "ours, without", most = 1.2 } },
  },
  {
    id = "alive",
    title = "spawn, 5000 children",
    text = "the same with 5000 children alive, us",
    obstacle = few_fds,
    rounds = 5,
    figures = { "cpu_us_per_op" },
    contenders = {
      starts("C", 500, TRUE, { alive = ALIVE }),
      starts("luv", 40, TRUE, { alive = ALIVE }),
      starts("Node", 40, TRUE, { alive = ALIVE }),
      starts("ours", 500, TRUE, { alive = ALIVE }),
      starts("ours", 500, TRUE, PLAIN, "ours, without"),
    },
    goals = { { of = "ours", over = "ours, without", most = 1.2 } },
  },
  {
    id = "rate",
    title = "starts a second",
    text = "of a program without libc, one at a time, wall clock",
    rounds = 7,
    figures = { "per_second" },
    contenders = {
      starts("C", 2000, NOTHING, PLAIN),
      starts("luv", 1500, NOTHING, PLAIN),
      starts("Node", 1000, NOTHING, PLAIN),
      starts("Bun", 2000, NOTHING, PLAIN),
      starts("Bun, child_process", 2000, NOTHING, PLAIN),
      starts("ours", 2000, NOTHING, PLAIN),
      starts("ours, task style", 2000, NOTHING, PLAIN),
    },
    goals = {
      { of = "ours", over = "Bun", least = 1.2 },
      { of = "ours", over = "Bun, child_process", least = 1.2 },
    },
  },
  {
    id = "exec",
    title = "exec",
    text = 'parent CPU of exec("echo hi"), us',
    rounds = 7,
    figures = { "cpu_us_per_op" },
    contenders = {
      peer("C", "build/bench/exec", EXECS .. " pipe"),
      peer("C, event loop", "build/bench/exec", EXECS .. " loop"),
      peer("luv", lua, "bench/peers/exec_luv.lua " .. EXECS),
      peer("io.popen", lua, "bench/peers/exec_popen.lua " .. EXECS),
      peer("Python", python, "bench/peers/exec_python.py " .. EXECS),
      peer("Node", node, "bench/peers/exec_node.js " .. EXECS),
      peer("Bun", bun, "bench/peers/exec_bun.js " .. EXECS),
      peer("Bun, child_process", bun, "bench/peers/exec_node.js " .. EXECS),
      peer("ours", "bin/orrery", "bench/peers/exec_orrery.lua exec " .. EXECS),
      peer("ours, sh", "bin/orrery",
        "bench/peers/exec_orrery.lua sh " .. EXECS),
    },
    goals = {
      { of = "ours", over = "C", most = 2.2 },
      { of = "ours, sh", over = "C", most = 2.2 },
    },
  },
  {
    id = "pipeline",
    title = "pipeline, ms",
    text = "own CPU of head | cat | wc with 2 GiB",
    rounds = 7,
    figures = { "cpu_ms" },
    reference = "sh",
    contenders = {
      peer("sh", OWN_CPU, "sh -c " .. harness.quote(PIPELINE)),
      peer("sh, nothing to do", OWN_CPU, "sh -c :"),
      peer("ours", "bin/orrery", "bench/peers/pipeline_orrery.lua " .. BYTES),
      peer("ours, whole process", OWN_CPU,
        "bin/orrery bench/peers/pipeline_orrery.lua " .. BYTES),
      peer("ours, nothing to do", OWN_CPU, "bin/orrery -e ''"),
    },
    goals = {
      { of = "ours", over = "sh", difference = true, most = 5 },
      { of = "ours, whole process", over = "sh", difference = true, most = 5 },
    },
  },
  {
    id = "flat",
    title = "flat",
    text = ('memory after %d run("true"), and its growth until %d, KiB')
      :format(FIRST, LAST),
    rounds = 3,
    figures = { "heap_kib", "heap_growth_kib", "rss_kib", "rss_growth_kib" },
    reference = false,
    contenders = {
      flat("luv", lua, "bench/peers/flat_luv.lua"),
      flat("Node", node, "--expose-gc bench/peers/flat_node.js"),
      flat("ours", "bin/orrery", "bench/peers/flat_orrery.lua"),
    },
    goals = {
      {
        title = "flat, heap growth, KiB",
        of = "ours",
        figure = "heap_growth_kib",
        most = 64,
      },
      {
        title = "flat, RSS growth, KiB",
        of = "ours",
        figure = "rss_growth_kib",
        most = 1024,
      },
    },
  },
  {
    id = "read",
    title = "read 2 GiB",
    text = "parent CPU of reading a child's output, ms for each GiB",
    rounds = 7,
    figures = { "cpu_ms_per_gib" },
    contenders = {
      reads("C", "build/bench/read"),
      reads("luv", lua .. " bench/peers/read_luv.lua"),
      reads("ours", "bin/orrery bench/peers/read_orrery.lua"),
    },
    goals = { { of = "ours", over = "luv", most = 1 } },
  },
  {
    id = "startup",
    title = "orrery -e ''",
    text = "CPU, user and system, then wall clock, of a start and exit, us",
    rounds = 7,
    figures = { "child_cpu_us_per_op", "wall_us_per_op" },
    reference = "lua5.4 -e ''",
    contenders = {
      starts("C", 100, lua .. " -e ''", PLAIN, "lua5.4 -e ''"),
      starts("C", 100, "bin/orrery -e ''", PLAIN, "orrery -e ''"),
    },
    goals = {
      { of = "orrery -e ''", over = "lua5.4 -e ''", most = 3 },
      {
        title = "orrery -e '', wall",
        of = "orrery -e ''",
        over = "lua5.4 -e ''",
        figure = "wall_us_per_op",
        most = 3,
      },
    },
  },
  {
    id = "forking",
    title = "fork",
    text = "ms until a child answers a message; memory of an idle one, KiB",
    rounds = 7,
    figures = { "wall_ms", "rss_kib", "private_kib" },
    reference = "luv",
    contenders = talkers("forking", false, "21"),
    goals = {
      { of = "ours", over = "luv", most = 1.3 },
      {
        title = "fork, RSS",
        of = "ours",
        over = "luv",
        figure = "rss_kib",
        most = 1.5,
      },
      {
        title = "fork, private, KiB",
        of = "ours",
        figure = "private_kib",
        most = 1024,
      },
    },
  },
  {
    id = "roundtrip",
    title = "round trips a second",
    text = "one message in flight, both processes on one core",
    rounds = 7,
    figures = { "roundtrip_per_second" },
    contenders = pinned(talkers("messages", true, "roundtrip 30000")),
    goals = { { of = "ours", over = "C", least = 0.7 } },
  },
  {
    id = "oneway",
    title = "messages a second",
    text = '{id=i, name="zfpx"} to a child, from it, and the slower of these',
    rounds = 7,
    figures = { "down_per_second", "up_per_second", "per_second" },
    derive = slower,
    contenders = both_ways(200000, 0),
    goals = {
      { of = "ours", over = "Bun", figure = "per_second", least = 1.5 },
      { of = "ours", over = "Node", figure = "per_second", least = 1.5 },
      { of = "ours", over = "luv", figure = "per_second", least = 1.5 },
    },
  },
  {
    id = "oneway",
    title = "strings of 1 KiB",
    text = "MB a second in the slower direction",
    rounds = 7,
    figures = { "mb_per_second" },
    derive = slower,
    contenders = both_ways(100000, 1024),
    goals = { { of = "ours", over = "C", least = 0.25 } },
  },
  {
    id = "oneway",
    title = "strings of 64 KiB",
    text = "MB a second in the slower direction",
    rounds = 7,
    figures = { "mb_per_second" },
    derive = slower,
    contenders = both_ways(3000, 65536),
    goals = { { of = "ours", over = "C", least = 0.5 } },
  },
  {
    id = "oneway",
    title = "one string of 64 MiB",
    text = "ms in the slower direction, and the most memory of each side, MiB",
    rounds = 5,
    figures = { "ms", "ms_per_mib", "parent_peak_mib", "child_peak_mib" },
    derive = slower,
    contenders = with_small(both_ways(1, LONG)),
    goals = {
      {
        title = "64 MiB or 8, for each",
        of = "ours",
        over = "ours, 8 MiB",
        figure = "ms_per_mib",
        most = 1.5,
      },
      {
        title = "64 MiB, parent, MiB",
        of = "ours",
        figure = "parent_peak_mib",
        most = 192,
      },
      {
        title = "64 MiB, child, MiB",
        of = "ours",
        figure = "child_peak_mib",
        most = 192,
      },
    },
  },
  {
    id = "handles",
    title = "handle",
    text = "CPU of both for a connection accepted here, answered there, us",
    rounds = 7,
    figures = { "cpu_us_per_op" },
    contenders = talkers("handles", true, "3000"),
    goals = { { of = "ours", over = "C", most = 1.5 } },
  },
}

-- The run ---------------------------------------------------------------------

local function build()
  if not io.open("build/orrery/core.so") then
    io.stderr:write("bench: run me from the project's root after make build\n")
    os.exit(2)
  end
  local cc = os.getenv("CC") or "cc"
  local compile = cc .. " -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra "
  harness.build("mkdir -p build/bench")
  for _, name in ipairs { "spawn", "read", "exec", "own_cpu", "messages",
    "handles", "connect" } do
    harness.build(("%s -o build/bench/%s bench/peers/%s.c"):format(compile,
      name, name))
  end
  harness.build(compile .. "-ffreestanding -fno-stack-protector -static "
    .. "-nostdlib -o build/bench/nothing bench/peers/nothing.c")
end

--- The rows asked for, or all.
local function chosen()
  local wanted, known, out = {}, {}, {}
  for _, row in ipairs(rows) do known[row.id] = true end
  for _, id in ipairs(arg) do
    wanted[id] = true
    if not known[id] then
      io.stderr:write("bench: no row ", id, "\n")
      os.exit(2)
    end
  end
  for _, row in ipairs(rows) do
    if #arg == 0 or wanted[row.id] then out[#out + 1] = row end
  end
  return out
end

--- Measures a row and prints it. Adds its goals to `verdicts`.
local function run(row, verdicts)
  print(("%s: %s"):format(row.title, row.text))
  harness.measure(row.contenders, row.rounds, row.obstacle and row.obstacle(),
    row.derive)
  for _, figure in ipairs(row.figures) do
    harness.print_figure(row.contenders, figure,
      row.reference == nil and "C" or row.reference)
  end
  for _, goal in ipairs(row.goals) do
    goal.figure = goal.figure or row.figures[1]
    table.insert(verdicts, harness.verdict(row.title, row.contenders, goal))
  end
end

local verdicts = {}
local asked = chosen()
build()
io.stdout:setvbuf("line")
for _, row in ipairs(asked) do run(row, verdicts) end
print(("%-24s %-34s %7s   %-7s"):format("row", "figure: medians", "", "goal"))
for _, line in ipairs(verdicts) do print(line) end
