--- What an engine leaves that is killed, or that ends, at any moment: nothing
--- that was to die with it, and nobody stopped.

local helper = require "spec.helper"
local orphans = require "spec.fixture.orphans"
local orrery = require "orrery"

local run = helper.run

local DEATHS = tonumber(os.getenv "ORRERY_DEATHS") or 5 -- of each kind
local TIME = 600000 -- ms for all of one kind
local GRACE = 300

local seed = tonumber(os.getenv "ORRERY_SEED") or os.time()

--- The ways to start a child, as text of options.
local ROADS = {
  bare = "",
  keeper = "contain = 'keeper', ",
}
if orrery.core.features().cgroup then ROADS.group = "contain = 'cgroup', " end

--- Starts 100 children that are to die with us, with daemons if they have
--- `contain`. Prints a line for each.
local STARTS = [[
  local options = {%s stdio = "ignore", die_with_parent = true}
  for i = 1, 100 do
    if options.contain then
      orrery.spawn(FAMILY, {"still", "2", FILE}, options)
    else
      orrery.spawn("sleep", {"1000"}, options)
    end
    print(i)
  end
  orrery.sleep(100000)]]

--- Starts 50 families whose daemons ignore SIGTERM, and stops all at once.
local STOPS = [[
  local children = {}
  for i = 1, 50 do
    children[i] = orrery.spawn(FAMILY, {"still", "2", FILE}, {%s
      stdio = {"ignore", "pipe", "inherit"}})
  end
  for _, child in ipairs(children) do assert(child.stdout:read()) end
  if %q == "asked" then print "stopping" end
  for _, child in ipairs(children) do
    orrery.go(child.stop, child, {grace = %d})
  end
  orrery.sleep(1)
  print "asked"
  orrery.sleep(100000)]]

--- Ends an engine DEATHS times: nobody may be left. [w]
local function kill_often(code, moment)
  local built <close> = orphans.build()
  math.randomseed(seed)
  for _ = 1, DEATHS do
    local ended, _, left = built:of(code, moment())
    assert.same({ 9, "" }, { ended, left }, ("seed %d"):format(seed))
  end
end

describe("an engine that is killed #chaos", function()
  for road, options in pairs(ROADS) do
    it("ours does better 9: in the middle of 100 starts leaves nobody that was "
      .. "to die with it: " .. road, function()
      run(function()
        kill_often(STARTS:format(options), function()
          return { line = math.random(99), us = math.random(0, 2000) }
        end)
      end, TIME)
    end)

    it("in the middle of 50 stops has them finished: " .. road, function()
      run(function()
        kill_often(STOPS:format(options, "", GRACE), function()
          return { us = math.random(0, 1500 * GRACE) }
        end)
      end, TIME)
    end)

    it("while it asks for 50 stops leaves nobody stopped: " .. road, function()
      run(function()
        if road ~= "bare" then
          options = options .. "die_with_parent = true, "
        end
        kill_often(STOPS:format(options, "asked", 100000), function()
          return { us = math.random(0, 20000), release = true }
        end)
      end, TIME)
    end)
  end
end)

-- Each ends an engine after the line "ready": what it runs, or is sent, and how
-- it ends then.
local ENDINGS = {
  exit = { code = "process.exit(3)", ended = -3 },
  error = { code = "io.stderr = io.tmpfile() error 'x'", ended = -1 },
  SIGTERM = { code = "orrery.sleep(100000)", signal = 15, ended = 15 },
  SIGINT = { code = "orrery.sleep(100000)", signal = 2, ended = 2 },
}

--- Runs code, then what ends it; nobody may be left. [w]
local function ends_alone(ending, before, after)
  local built <close> = orphans.build()
  local ended, _, left = built:of(
    ("%s print 'ready' %s %s"):format(before, ending.code, after or ""),
    { signal = ending.signal or 0 })
  assert.same({ ending.ended, "" }, { ended, left })
end

describe("an engine that ends #spawn", function()
  for how, ending in pairs(ENDINGS) do
    it("has a stop finished that is under way: " .. how, function()
      run(function()
        for _, options in pairs(ROADS) do
          ends_alone(ending, ([[
            local child = orrery.spawn(FAMILY, {"still", "3", FILE},
              {%s stdio = {"ignore", "pipe", "inherit"}})
            child.stdout:read()
            orrery.go(child.stop, child, {grace = 100})
            orrery.sleep(1)]]):format(options))
        end
      end, 60000)
    end)

    it("kills the families of its scopes: " .. how, function()
      run(function()
        for road, options in pairs(ROADS) do
          -- What ends by a signal leaves to others what is not contained.
          if road ~= "bare" or not ending.signal then
            ends_alone(ending, ([[
              orrery.scope(function(scope)
                local child = scope:spawn(FAMILY, {"still", "3", FILE},
                  {%s stdio = {"ignore", "pipe", "inherit"}})
                child.stdout:read()]]):format(options), "end)")
          end
        end
      end, 60000)
    end)
  end

  it("passes a signal on to all of a contained family", function()
    run(function()
      local built <close> = orphans.build()
      local ended, _, left = built:of([[
        local child = orrery.spawn("sh", {"-c", "setsid sh -c '"
          .. "exec 2>/dev/null; trap \"echo got it >$0; exit\" TERM; "
          .. "echo ready; while :; do sleep 0.01; done' " .. FILE .. " &"},
          {contain = "keeper", die_with_parent = true,
            stdio = {"ignore", "pipe", "inherit"}})
        child.stdout:read()
        child:wait()
        print "ready"
        orrery.sleep(100000)]], { signal = 15 })
      local file <close> = io.open(built.file)

      assert.same({ 15, "" }, { ended, left })
      assert.matches("^got it\n", file:read("a"))
    end, 60000)
  end)

  it("leaves a contained family that is not to die with it, and the keeper "
    .. "goes with the last of it", function()
    run(function()
      local built <close> = orphans.build()
      local ended, count, left = built:of([[
        local child = orrery.spawn("sh", {"-c", "setsid sh -c '"
          .. "echo ready; cat <&3; sleep 0.2; echo survived >$0' " .. FILE
          .. " & exec sleep 0.1"}, {contain = "keeper",
            stdio = {"ignore", "pipe", "inherit", "pipe"}})
        child.stdout:read()
        print "ready"
        orrery.sleep(100000)]], {})
      local file <close> = io.open(built.file)

      assert.same({ 9, "", 1 }, { ended, left, count }) -- the keeper
      assert.matches("^survived\n", file:read("a"))
    end, 60000)
  end)
end)
