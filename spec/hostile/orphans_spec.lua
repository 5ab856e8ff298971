--- Orphans of a family that do not tell whose they are.

local helper = require "spec.helper"
local members = require "spec.fixture.members"
local orrery = require "orrery"

local run = helper.run

local start, await_all = members.start_kind, members.await_all

-- One in a session of its own, without a living parent. Both print their pids.
local WITH_ORPHAN = [[echo $$
(setsid sh -c 'echo $$; exec sleep 1000' &)
exec sleep 1000]]

--- Has signals sent to a child's family while it is there, one after the other,
--- by so many tasks at a time. Returns the tasks. [w]
local function keep_signalling(child, count)
  local tasks = {}
  for i = 1, count do
    tasks[i] = orrery.go(function()
      while child:kill_tree("SIGWINCH") do end
      return true
    end)
  end
  orrery.sleep(5) -- so that the next request comes in the midst of those
  return tasks
end

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

    it("is that of an orphan to whom others are sending signals", function()
      run(function()
        for _ = 1, 10 do
          local child = members.start(road, "sh", { "-c", WITH_ORPHAN })
          local pids = members.read(child, 2)
          local tasks = keep_signalling(child, 8)

          assert.equal("SIGKILL", members.stop(child, { grace = 0 }).signal)
          for _, task in ipairs(tasks) do assert.is_true(task:join()) end
          assert.is_nil(members.stat(pids[2]))
        end
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
