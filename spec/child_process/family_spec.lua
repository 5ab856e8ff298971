--- Families that are hard to end: spec/fixture/family.c. Each way to end one is
--- tried once, and those that are #long only by `busted --run=all`.
---
---     FAMILY_RUNS=20 busted --run=all spec/child_process/family_spec.lua
---
--- tries each 20 times, with 200 members also in those tests that otherwise
--- have a few. While you change what ends families, run this file in a pid
--- namespace, which nothing can leave, below an init that reaps:
---
---     unshare -pf --mount-proc --kill-child build/orrery/orrery-keeper init \
---       /usr/bin/timeout timeout -s KILL 600

local uv = require "luv"
local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run

local RUNS = tonumber(os.getenv("FAMILY_RUNS")) or 1
local MANY, FEW = 200, RUNS > 1 and 200 or 20
local SLOWLY = 3 -- members, where there are 2 s in which they fork each ms
local BUDGET = 20000 -- forks

local program -- the path of the fixture, which nothing else has

local kinds = { "still", "forks", "flees" }

--- Without a keeper, who has no environment any more is not found; and what
--- walks has one of 200 shares of the CPUs, unless root runs it, with which it
--- wins slowly.
local roads = {
  { "a keeper", { contain = "keeper" }, "clear", most = MANY },
  { "a walk", {}, most = FEW },
}
if core.features().cgroup then
  table.insert(roads, { "a group", { contain = "cgroup" }, "clear",
    most = MANY })
end

--- The pids of all members that live.
local function members()
  local list = {}
  local scan = uv.fs_scandir("/proc")
  for name in function() return (uv.fs_scandir_next(scan)) end do
    local pid = tonumber(name)
    if pid and uv.fs_readlink("/proc/" .. name .. "/exe") == program then
      list[#list + 1] = pid
    end
  end
  return list
end

--- A file with the budget; closed, it is removed, with all that live off it.
local function budget()
  local path = helper.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(string.pack("<i8", BUDGET), ("\0"):rep(4088))
  file:close()
  return setmetatable({ path = path }, { __close = function()
    for _ = 1, 100 do
      local left = members()
      if #left == 0 then break end
      for _, pid in ipairs(left) do core.process():kill(pid, 9) end
    end
    os.remove(path)
  end })
end

--- How many forks nobody has made.
local function left_of(shared)
  local file = assert(io.open(shared.path, "rb"))
  local left = string.unpack("<i8", file:read(8))
  file:close()
  return left
end

local function options(road, more)
  local opts = { stdio = { "ignore", "pipe", "inherit" } }
  for _, from in ipairs { road[2], more or {} } do
    for name, value in pairs(from) do opts[name] = value end
  end
  return opts
end

local function arguments(kind, count, shared, road)
  return { kind, tostring(count), shared.path, road[3] }
end

--- Waits until all members are there. [w]
local function await(child)
  assert.equal("ready\n", child.stdout:read())
  return child
end

--- Starts a family. [w]
local function start(kind, count, shared, road)
  return await(orrery.spawn(program, arguments(kind, count, shared, road),
    options(road)))
end

--- How a family is ended: what it is called, how many there are, and what does
--- it. All of a family has ended when that returns. [w]
local endings = {
  { "stop without grace", MANY, function(...)
    assert.equal("number", type(start(...):stop({ grace = 0 }).duration))
  end },
  { "stop, though SIGTERM is ignored #long", FEW, function(...)
    assert.is_true(start(...):stop({ grace = 20 }).forced)
  end },
  { "kill_tree with SIGKILL #long", FEW, function(...)
    local child = start(...)
    assert.is_true(child:kill_tree("SIGKILL"))
    child:wait()
    helper.eventually(function() return #members() == 0 end)
  end },
  { "its <close> #long", SLOWLY, function(...)
    local child <close> = start(...) -- luacheck: ignore
  end },
  { "the end of its scope #long", SLOWLY, function(kind, count, shared, road)
    orrery.scope(function(s)
      await(s:spawn(program, arguments(kind, count, shared, road),
        options(road)))
    end)
  end },
  { "the timeout of run #long", FEW, function(kind, count, shared, road)
    local result = orrery.run(program, arguments(kind, count, shared, road),
      options(road, { timeout = 500, kill_signal = "SIGKILL" }))
    assert.is_true(result.timed_out)
  end },
}

describe("a family that is hard to end #spawn", function()
  setup(function()
    program = uv.fs_realpath(helper.tmpname())
    local built = assert(orrery.run("cc", { "-std=c11", "-D_GNU_SOURCE",
      "-o", program, "spec/fixture/family.c" }))
    assert.equal("", built.stderr)
  end)

  teardown(function() os.remove(program) end)

  for _, road in ipairs(roads) do
    for _, ending in ipairs(endings) do
      for _, kind in ipairs(kinds) do
        it(("is ended by %s, by %s: %s"):format(ending[1], road[1], kind),
          function()
            for _ = 1, RUNS do
              run(function()
                local shared <close> = budget()
                ending[3](kind, math.min(ending[2], road.most), shared, road)

                assert.same({}, members())
                assert.is_true(left_of(shared) > 0)
                helper.eventually(function() -- the keeper ends last
                  return next(helper.children()) == nil
                end)
              end, 60000)
            end
          end)
      end
    end
  end
end)
