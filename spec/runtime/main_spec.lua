local helper = require "spec.helper"

--- Runs a program that has `orrery`, and gives what it prints. [w]
local function printed(code)
  local result = helper.lua('local orrery = require "orrery" ' .. code)
  return result.stdout
end

describe("orrery.main", function()
  it("runs what is left after the task, and then gives its results", function()
    helper.run(function()
      assert.equal("later\n1\tnil\t2\n", printed [[
        print(orrery.main(function(...)
          orrery.after(1, function() print "later" end)
          return ...
        end, 1, nil, 2))]])
    end)
  end)

  it("gives nil, err for a task that failed or was cancelled", function()
    helper.run(function()
      assert.equal("caught\tmine\nnil\tmine\n", printed [[
        orrery.process.on("uncaught_exception", function(e)
          print("caught", e)
        end)
        print(orrery.main(function() error("mine", 0) end))]])
      assert.equal("ECANCELED\n", printed [[
        local _, err = orrery.main(function()
          require "orrery.task".current():cancel()
          orrery.sleep(1)
        end)
        print(err.code)]])
    end)
  end)

  it("raises where the task waits for what can no longer come", function()
    helper.run(function()
      assert.matches("^false\tmain: the main task waits at .*:3 for what can",
        printed [[
          print(pcall(orrery.main, function()

            orrery.events.new():wait_for "never"
          end))]])
    end)
  end)

  it("raises in a task, whose loop is running already", function()
    helper.run(function()
      assert.matches("main: the loop is running already", printed [[
        orrery.main(function() print(pcall(orrery.main, print)) end)]])
    end)
  end)

  it("makes errors in luv's own callbacks uncaught errors", function()
    helper.run(function()
      assert.equal("caught\traw\n", printed [[
        orrery.process.on("uncaught_exception", function(e)
          print("caught", e)
        end)
        orrery.main(function()
          local timer = require "luv".new_timer()
          timer:start(0, 0, function() timer:close() error("raw", 0) end)
        end)]])
    end)
  end)
end)
