local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"
local reaper = require "orrery.child_process.reaper"

local spawn, run = orrery.spawn, helper.run

describe("reaping #spawn", function()
  it("works where SIGCHLD was ignored when we started", function()
    run(function()
      local result = assert(orrery.sh("trap '' CHLD; exec "
        .. helper.interpreter .. [[ -e '
          print(require "orrery".spawn("sh", {"-c", "exit 6"}):wait())']],
        { env_extend = helper.env() }))

      assert.equal("6\n", result.stdout)
    end)
  end)

  it("works beside luv's own children and io.popen", function()
    run(function()
      local uv = require "luv"
      local luv_code
      local handle
      handle = uv.spawn("sh", { args = { "-c", "exit 9" } }, function(code)
        luv_code = code
        handle:close()
      end)
      local ours = spawn("sh", { "-c", "exit 8" }, { stdio = "ignore" })
      local pipe = io.popen("exit 7")

      assert.equal(8, ours:wait())
      helper.eventually(function() return luv_code end)
      assert.equal(9, luv_code)
      assert.equal(7, select(3, pipe:close()))
    end)
  end)

  it("unref lets the loop end before the child, ref brings it back", function()
    run(function()
      local result = helper.lua([[
        local spawn = require "orrery".spawn
        local child = spawn("sleep", {"1000"},
          {stdio="ignore", die_with_parent=true})
        child:unref()
        require "luv".run()
        local quick = spawn("true", {}, {stdio="ignore"}):unref():ref()
        quick:on("exit", function() print "seen" end)
        require "luv".run()]])

      assert.equal("seen\n", result.stdout)
    end)
  end)

  it("reaps each of 500 children that end at once", function()
    run(function()
      local left = 500
      for _ = 1, left do
        spawn("/bin/true", {}, { stdio = "ignore" }):on("exit", function()
          left = left - 1
        end)
      end
      helper.eventually(function() return left == 0 end, 20000)

      assert.same({}, helper.children())
    end)
  end)

  it("a throwing listener loses no other child's exit", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local seen, caught = 0, 0
        orrery.process.on("uncaught_exception",
          function() caught = caught + 1 end)
        for i = 1, 10 do
          orrery.spawn("true", {}, {stdio="ignore"}):on("exit", function()
            seen = seen + 1
            error("listener")
          end)
        end
        require "luv".run()
        print(seen, caught)]])

      assert.equal("10\t10\n", result.stdout)
    end)
  end)
end)


describe("the reaper", function()
  it("tells a child that is watched, once, and forgets it", function()
    local told = 0
    local spawned = assert(core.spawn("true", { "true" }, { -1, -1, -1 }))
    reaper.watch(spawned, { on_reaped_ = function() told = told + 1 end })
    while select(3, spawned:status()) do reaper.reap() end
    reaper.reap()

    assert.equal(1, told)
    assert.equal(0, (spawned:status()))
  end)

  it("takes in what nothing watches, and leaves its status", function()
    local spawned = assert(core.spawn("false", { "false" }, { -1, -1, -1 }))
    while select(3, spawned:status()) do reaper.reap() end

    assert.equal(1, (spawned:status()))
  end)

  it("opens once", function()
    assert.is_true(reaper.open())
    assert.is_true(reaper.open())
  end)

  it("keeps the loop alive for children that are not unref'd", function()
    helper.run(function()
      local child = orrery.spawn("sleep", { "100" }, { stdio = "ignore" })
      child:unref():unref()
      child:ref():ref()
      child:kill("SIGKILL")

      assert.equal(137, (child:wait()))
    end)
  end)
end)
