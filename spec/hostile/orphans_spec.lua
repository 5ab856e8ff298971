--- Orphans of a family that do not tell whose they are.

local helper = require "spec.helper"
local members = require "spec.fixture.members"
local orrery = require "orrery"

local run = helper.run

local start, await_all = members.start_kind, members.await_all

for _, road in ipairs(members.roads) do
  describe("the end of a family by the " .. road[1], function()
    it("is that of orphans that are loading a program, and have no environment",
      function()
        run(function()
          local program <close> = members.program "members"
          for _ = 1, 5 do
            local child, pids = start(road, program, "loader", 11)
            local keeper = members.keeper(child)

            assert.is_true(child:kill_tree("SIGKILL"))
            await_all(pids)
            assert.equal(137, child:wait())
            if keeper then members.await_reaped(keeper) end
          end
        end)
      end)

    it("is that of an orphan that has written over its environment", function()
      run(function()
        local program <close> = members.program "members"
        local child, pids = start(road, program, "wiped", 2)

        assert.equal(137, members.stop(child, { grace = 0 }).code)
        await_all(pids)
      end)
    end)
  end)
end

describe("child:stop by the walk", function()
  it("takes nobody for a member by an address that is not random", function()
    run(function()
      local program <close> = members.program "members"
      local child = members.start({ "walk", {} }, "setarch",
        { "-R", program[1], "wiped" })
      local pids = members.read(child, 2)
      local orphan = pids[1] == child.pid and pids[2] or pids[1]

      child:stop { grace = 0 }
      assert.is_true(orrery.process.kill(orphan, "SIGKILL"))
      helper.await_end(orphan)
    end)
  end)
end)
