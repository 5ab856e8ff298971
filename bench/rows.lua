--- What `make bench` measures: the rows, as data.

local harness = require "bench.harness"
local contenders = require "bench.contenders"
local machine = require "bench.machine"

local built, script = contenders.built, contenders.script
local starts, talkers = contenders.starts, contenders.talkers
local both_ways = contenders.both_ways

local HEAP = 2048 -- MiB
local ALIVE = 5000
local BYTES = 2 << 30
local EXECS = 400
local LONG = 64 << 20 -- bytes of a string
local FIRST, LAST = 1000, 10000 -- runs, after which memory is looked at

local PIPELINE = ("head -c %d /dev/zero | cat | wc -c"):format(BYTES)
local READ = ("%d %s -c %d /dev/zero"):format(BYTES, harness.find "head", BYTES)
local FLAT = ("%d %d"):format(FIRST, LAST)

local function few_fds()
  local fds = harness.fds()
  if fds < ALIVE + 100 then return ("only %d fds are allowed"):format(fds) end
end

local function little_memory()
  local mib = machine.available_memory()
  if mib and mib < HEAP + 1024 then
    return ("only %d MiB are free"):format(mib)
  end
end

--- Adds our own a second time, with a shorter string.
local function with_small(list)
  local shorter = both_ways(1, LONG // 8)
  local ours = shorter[#shorter]
  ours.name = "ours, 8 MiB"
  list[#list + 1] = ours
  return list
end

--- @class Row
--- @field id string what ROW names
--- @field title string
--- @field text string what the figures are, and their units
--- @field rounds integer how often each contender runs, if there is time
--- @field rounds_run integer? how often it did
--- @field figures string[] those that are shown
--- @field reference string|false? what all are compared with: "C" if it is nil
--- @field obstacle nil|fun(): string? tells why this cannot be measured here
--- @field derive nil|fun(figures: table<string, number>) adds to those of a run
--- @field contenders Contender[]
--- @field goals Goal[]

--- @class Goal holds `of`, `of / over` or `of - over` against a bound
--- @field of string a contender
--- @field over string? another one
--- @field difference boolean? of - over
--- @field figure string? the row's first one if it is nil
--- @field title string? what is looked at, if the row's title does not tell
--- @field most number?
--- @field least number?

--- @type Row[]
local rows = {
  {
    id = "spawn",
    title = "spawn",
    text = "parent CPU of a start and exit of /bin/true, us",
    rounds = 7,
    figures = { "cpu_us_per_op" },
    contenders = {
      starts("C", 600, "true"),
      starts("Go", 600, "true"),
      starts("luv", 300, "true"),
      starts("Node", 200, "true"),
      starts("ours", 600, "true"),
      starts("ours, task style", 600, "true"),
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
      starts("C", 300, "true", { heap = HEAP }),
      starts("luv", 8, "true", { heap = HEAP, rounds = 1 }),
      starts("Node", 8, "true", { heap = HEAP, rounds = 1 }),
      starts("ours", 300, "true", { heap = HEAP }),
      starts("ours", 300, "true", { title = "ours, without" }),
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
      starts("C", 300, "true", { alive = ALIVE }),
      starts("luv", 40, "true", { alive = ALIVE, rounds = 1 }),
      starts("Node", 40, "true", { alive = ALIVE, rounds = 1 }),
      starts("ours", 300, "true", { alive = ALIVE }),
      starts("ours", 300, "true", { title = "ours, without" }),
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
      starts("C", 2000, "nothing"),
      starts("Go", 1000, "nothing"),
      starts("luv", 1000, "nothing"),
      starts("Node", 500, "nothing"),
      starts("Bun", 2000, "nothing"),
      starts("Bun, child_process", 2000, "nothing"),
      starts("ours", 2000, "nothing"),
      starts("ours, task style", 2000, "nothing"),
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
      built("C", "exec", EXECS .. " pipe"),
      built("C, event loop", "exec", EXECS .. " loop"),
      built("Go", "exec_go", EXECS),
      script("luv", "lua", "exec_luv.lua", EXECS),
      script("io.popen", "lua", "exec_popen.lua", EXECS),
      script("Python", "python", "exec_python.py", EXECS),
      script("Node", "node", "exec_node.js", EXECS // 2),
      script("Bun", "bun", "exec_bun.js", EXECS),
      script("Bun, child_process", "bun", "exec_node.js", EXECS),
      script("ours", "orrery", "exec_orrery.lua", "exec " .. EXECS),
      script("ours, sh", "orrery", "exec_orrery.lua", "sh " .. EXECS),
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
      built("sh", "own_cpu", "sh -c " .. harness.quote(PIPELINE)),
      built("sh, nothing to do", "own_cpu", "sh -c :"),
      script("ours", "orrery", "pipeline_orrery.lua", BYTES),
      built("ours, whole process", "own_cpu",
        "bin/orrery bench/peers/pipeline_orrery.lua " .. BYTES),
      built("ours, nothing to do", "own_cpu", "bin/orrery -e ''"),
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
    rounds = 2,
    figures = { "heap_kib", "heap_growth_kib", "rss_kib", "rss_growth_kib" },
    reference = false,
    contenders = {
      script("luv", "lua", "flat_luv.lua", FLAT),
      script("Node", "node", "flat_node.js", FLAT),
      script("ours", "orrery", "flat_orrery.lua", FLAT),
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
      built("C", "read", READ),
      script("luv", "lua", "read_luv.lua", READ),
      script("ours", "orrery", "read_orrery.lua", READ),
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
      starts("C", 100, contenders.programs.lua .. " -e ''",
        { title = "lua5.4 -e ''" }),
      starts("C", 100, "bin/orrery -e ''", { title = "orrery -e ''" }),
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
    contenders = talkers("forking", "21", false),
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
    contenders = contenders.pinned(talkers("messages", "roundtrip 30000",
      true)),
    goals = { { of = "ours", over = "C", least = 0.7 } },
  },
  {
    id = "oneway",
    title = "messages a second",
    text = '{id=i, name="zfpx"} to a child, from it, and the slower of these',
    rounds = 7,
    figures = { "down_per_second", "up_per_second", "per_second" },
    derive = contenders.slower,
    contenders = both_ways(200000, 0),
    goals = {
      { of = "ours", over = "Bun", figure = "per_second", least = 1.5 },
      { of = "ours", over = "Node", figure = "per_second", least = 1.5 },
      { of = "ours", over = "luv", figure = "per_second", least = 1.5 },
    },
  },
  {
    id = "oneway_1k",
    title = "strings of 1 KiB",
    text = "MB a second in the slower direction",
    rounds = 7,
    figures = { "mb_per_second" },
    derive = contenders.slower,
    contenders = both_ways(100000, 1024),
    goals = { { of = "ours", over = "C", least = 0.25 } },
  },
  {
    id = "oneway_64k",
    title = "strings of 64 KiB",
    text = "MB a second in the slower direction",
    rounds = 7,
    figures = { "mb_per_second" },
    derive = contenders.slower,
    contenders = both_ways(3000, 65536),
    goals = { { of = "ours", over = "C", least = 0.5 } },
  },
  {
    id = "oneway_64m",
    title = "one string of 64 MiB",
    text = "ms in the slower direction, and the most memory of each side, MiB",
    rounds = 5,
    figures = { "ms", "ms_per_mib", "parent_peak_mib", "child_peak_mib" },
    derive = contenders.slower,
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
    contenders = talkers("handles", "3000", true),
    goals = { { of = "ours", over = "C", most = 1.5 } },
  },
  {
    id = "short",
    title = "short connection",
    text = "CPU of a server for a connection: accept, read, write, close, us",
    rounds = 7,
    figures = { "cpu_us_per_op" },
    contenders = talkers("short", "10000", true),
    goals = { { of = "ours", over = "C", most = 1.6 } },
  },
}

for _, row in ipairs(require "bench.families") do rows[#rows + 1] = row end
for _, row in ipairs(require "bench.http") do rows[#rows + 1] = row end
for _, row in ipairs(require "bench.cluster") do rows[#rows + 1] = row end
return rows
