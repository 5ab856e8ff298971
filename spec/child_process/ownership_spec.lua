local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run

local sleeping = { "sleep", "1000" }

describe("a child of a scope or task", function()
  it("is stopped when its owner ends", function()
    run(function()
      local children = {}
      orrery.scope(function(s)
        children[1] = s:spawn(sleeping, { stdio = "ignore" })
      end)
      orrery.go(function()
        local own = { stdio = "ignore", scope = orrery.task.current() }
        children[2] = orrery.spawn(sleeping, own)
      end):join()

      for i = 1, 2 do
        children[i]:wait()
        assert.equal("SIGTERM", children[i].signal_code)
      end
    end)
  end)

  it("is killed when this process exits", function()
    run(function()
      local result = helper.lua [[
        local orrery = require "orrery"
        orrery.main(function()
          orrery.scope(function(s)
            local child = s:spawn("sleep", {"1000"},
              {stdio="ignore", die_with_parent=false})
            io.write(child.pid)
            orrery.process.exit()
          end)
        end)]]

      helper.await_end(tonumber(result.stdout))
    end)
  end)

  it("is started by arguments that are checked like spawn's", function()
    run(function()
      orrery.scope(function(s)
        for _, misuse in ipairs {
          function() s:spawn("ls", {}, 5) end,
          function() s:spawn({ "ls" }, {}, {}) end,
          function() s:run("ls", { x = 1, "-l" }) end,
          function() s:fork("x.lua", 5) end,
        } do
          local ok, err = pcall(misuse)

          assert.is_false(ok)
          assert.matches("^spec/child_process/ownership_spec.lua:%d+: ", err)
        end
      end)
    end)
  end)
end)
