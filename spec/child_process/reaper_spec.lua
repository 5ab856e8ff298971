local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"
local reaper = require "orrery.child_process.reaper"

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
