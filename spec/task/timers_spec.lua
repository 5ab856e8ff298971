local helper = require "spec.helper"
local task = require "orrery.task"
local uv = require "luv"

local run = helper.run

describe("after and every", function()
  it("let the loop poll, however busy their handlers are", function()
    run(function()
      local reading, writing = require "orrery.core".pipe()
      local stream = require "orrery.stream".new(reading, "pipe", "r")
      local ticks, got = 0, false
      stream:on("data", function() got = true end)
      local _ <close> = task.every(1, function()
        ticks = ticks + 1
        local busy = uv.hrtime() + 5e6
        while uv.hrtime() < busy do end -- so that the next tick is due again
        task.after(1000, print):stop()
        if ticks == 1 then writing:write("x") end
      end)
      while not got do task.sleep(1) end

      assert.is_true(ticks < 10)
      stream:destroy()
      writing:close()
    end)
  end)

  it("run handlers as tasks, which may wait", function()
    run(function()
      local log = {}
      local once = task.after(1, function()
        task.sleep(1)
        log[#log + 1] = "once"
      end)
      helper.eventually(function() return #log == 1 end)
      once:stop()
      do
        local _ <close> = task.every(1, function() log[#log + 1] = "tick" end)
        helper.eventually(function() return #log >= 4 end)
      end
      local count = #log
      task.sleep(5)
      assert.equal(count, #log)
    end)
  end)

  it("raise at the caller's line", function()
    for _, args in ipairs { { "x", print }, { -1, print }, { 1, 5 } } do
      local ok, err = pcall(function()
        local timer = task.after(args[1], args[2])
        return timer
      end)
      assert.is_false(ok)
      assert.matches("^spec/task/timers_spec.lua:%d+: after: ", err)
    end
  end)

  it("skip a tick while the handler still waits", function()
    run(function()
      local running, most = 0, 0
      local timer = task.every(1, function()
        running = running + 1
        most = math.max(most, running)
        task.sleep(5)
        running = running - 1
      end)
      task.sleep(30)
      timer:stop()
      helper.eventually(function() return running == 0 end)

      assert.equal(1, most)
    end)
  end)

  it("hold the loop, or not", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        orrery.every(100000, print):unref()
        orrery.after(1, function() print "after" end)
        require "luv".run()]])

      assert.equal("after\n", result.stdout)
    end)
  end)
end)
