local helper = require "spec.helper"
local core = require "orrery.core"
local Watcher = require "orrery.runtime.watcher"

describe("a watcher", function()
  it("calls when its fd is ready, and is closed before the fd", function()
    helper.run(function()
      local reading, writing = core.pipe()
      local seen
      local watcher
      watcher = Watcher.new(reading:fileno(), "r", function()
        seen = true
        watcher:close()
      end)
      writing:close()
      helper.eventually(function() return seen end)
      watcher:close()
      reading:close()
    end)
  end)

  it("does not call while it is stopped", function()
    helper.run(function()
      local reading, writing = core.pipe()
      local calls = 0
      local watcher = Watcher.new(reading:fileno(), "r", function()
        calls = calls + 1
      end)
      writing:write("x")
      helper.eventually(function() return calls > 0 end)
      watcher:stop()
      local before = calls
      for _ = 1, 3 do require "orrery.task".sleep(1) end
      assert.equal(before, calls)

      watcher:start()
      helper.eventually(function() return calls > before end)
      watcher:close()
      reading:close()
      writing:close()
    end)
  end)

  it("keeps the loop alive unless it is unreferenced", function()
    helper.run(function()
      local result = helper.lua([[
        local core = require "orrery.core"
        local Watcher = require "orrery.runtime.watcher"
        local reading, writing = core.pipe()
        local watcher = Watcher.new(reading:fileno(), "r", print)
        watcher:unref()
        require "luv".run()
        watcher:ref()
        print(require "luv".loop_alive())
        os.exit(0)]])

      assert.equal("true\n", result.stdout)
    end)
  end)

  it("gives the code of what luv cannot poll", function()
    helper.run(function()
      local result = helper.lua([[
        local file = require "orrery.core".open("/dev/null", "r")
        local Watcher = require "orrery.runtime.watcher"
        print(Watcher.new(file:fileno(), "r", print))]],
        { env_extend = helper.without_leak_check })

      assert.equal("nil\tEPERM\n", result.stdout)
    end)
  end)
end)
