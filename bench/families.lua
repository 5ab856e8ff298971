--- The rows of `make bench` about families: what it takes to keep them, and to
--- end them.

local contenders = require "bench.contenders"
local machine = require "bench.machine"

local built, script, starts = contenders.built, contenders.script,
  contenders.starts

local MEMBERS = 200
local MANY = 1000
local OTHERS = 5000
local STARTS = 600
local IDLE = 10 -- s

local cgroup = machine.cgroup()
-- What families are held against: the kernel's own way, where it may be gone.
local best = cgroup and "C, cgroup.kill" or "C, kill"

local function ends(name, road)
  return script(name, "orrery", "family_orrery.lua",
    ("%s %d"):format(road, MEMBERS))
end

local function contains(name, road)
  return script(name, "orrery", "contain_orrery.lua",
    ("%s %d build/bench/nothing"):format(road, STARTS))
end

--- Has the program of a contender run beside OTHERS other processes.
local function among_others(name, contender)
  local command = contender.command
  return built(name, "family", ("crowd %d %s"):format(OTHERS, command or ""))
end

local function in_cgroup()
  if cgroup then return built(best, "family", ("end %d %s"):format(MEMBERS,
    cgroup)) end
  return { name = "C, cgroup.kill", missing = "no cgroup v2 may be written to" }
end

--- @type Row[]
return {
  {
    id = "family_end",
    title = "end of a family",
    text = ("ms until %d daemons (setsid, double fork) have gone; CPU of ours "
      .. "and of a keeper"):format(MEMBERS),
    rounds = 7,
    figures = { "wall_ms", "cpu_ms" },
    reference = best,
    contenders = {
      in_cgroup(),
      built("C, kill", "family", ("end %d"):format(MEMBERS)),
      ends("ours, cgroup", "cgroup"),
      ends("ours, keeper", "keeper"),
      ends("ours, walk", "walk"),
    },
    goals = {
      { of = "ours, cgroup", over = best, most = 1.5 },
      { of = "ours, keeper", over = best, most = 2 },
      { of = "ours, walk", over = best, most = 4 },
    },
  },
  {
    id = "family_crowd",
    title = "family, 5000 others",
    text = ("the same by a walk, beside %d other processes"):format(OTHERS),
    rounds = 7,
    figures = { "wall_ms", "cpu_ms" },
    reference = "ours, walk",
    contenders = {
      ends("ours, walk", "walk"),
      among_others("ours, walk, others", ends("", "walk")),
    },
    goals = {
      { of = "ours, walk, others", over = "ours, walk", most = 1.3 },
    },
  },
  {
    id = "contain",
    title = "contain",
    text = "CPU of all, and wall clock, of a start and exit without libc, us; "
      .. "memory of an idle keeper, KiB",
    rounds = 7,
    figures = { "all_cpu_us_per_op", "wall_us_per_op", "rss_kib", "pss_kib" },
    contenders = {
      starts("C", STARTS, "nothing"),
      contains("ours, bare", "bare"),
      contains("ours, cgroup", "cgroup"),
      contains("ours, keeper", "keeper"),
    },
    goals = {
      { of = "ours, cgroup", over = "ours, bare", most = 4 },
      { of = "ours, keeper", over = "ours, bare", most = 4 },
      {
        title = "keeper, RSS, KiB",
        of = "ours, keeper",
        figure = "rss_kib",
        most = 32,
      },
    },
  },
  {
    id = "turn",
    title = "longest turn",
    text = "ms of the loop's longest turn while families are ended by a walk, "
      .. "without waiting; and of all",
    rounds = 5,
    figures = { "cpu_ms", "wall_ms", "all_ms" },
    reference = false,
    contenders = {
      script("one of 1000", "orrery", "turn_orrery.lua",
        ("1 %d"):format(MANY)),
      script("100 at once", "orrery", "turn_orrery.lua", "100 2"),
    },
    goals = {
      { of = "one of 1000", most = 5 },
      { of = "100 at once", most = 5 },
    },
  },
  {
    id = "idle",
    title = "idle",
    text = ("wake-ups in %d s with 100 children, 10 of them contained, a "
      .. "channel and a server"):format(IDLE),
    rounds = 3,
    figures = { "wake_ups", "wake_ups_of_all" },
    reference = false,
    contenders = {
      script("ours", "orrery", "idle_orrery.lua", IDLE),
    },
    goals = {
      { of = "ours", most = 0 },
      {
        title = "idle, all processes",
        of = "ours",
        figure = "wake_ups_of_all",
        most = 0,
      },
    },
  },
}
