local helper = require "spec.helper"
local clock = require "orrery.runtime.clock"

describe("the clock", function()
  it("fires many deadlines in order, and forgets what is stopped", function()
    helper.run(function()
      local fired, entries = {}, {}
      for i = 1, 200 do
        local ms = (i * 37) % 23
        entries[i] = clock.after(ms,
          function() fired[#fired + 1] = entries[i].due end)
      end
      for i = 1, 200, 2 do entries[i]:stop() end
      helper.eventually(function() return #fired == 100 end)

      for i = 2, 100 do assert.is_true(fired[i - 1] <= fired[i]) end
    end)
  end)

  it("is never due early, and never beyond the end of all times", function()
    local before = clock.now()

    assert.is_true(clock.due_in(5) >= before + 5)
    assert.equal(math.maxinteger, clock.due_in(math.maxinteger))
  end)

  it("does not fire what is stopped in the tick of another one", function()
    helper.run(function()
      local fired = 0
      local one, two
      one = clock.after(1, function() fired = fired + 1 two:stop() end)
      two = clock.after(1, function() fired = fired + 1 one:stop() end)
      local after = false
      clock.after(2, function() after = true end)
      helper.eventually(function() return after end)

      assert.equal(1, fired)
    end)
  end)

  it("keeps the loop alive only for deadlines that are referenced", function()
    helper.run(function()
      local result = helper.lua([[
        local clock = require "orrery.runtime.clock"
        clock.after(1000000, print):set_ref(false)
        local stopped = clock.after(1000000, print)
        stopped:stop()
        stopped:stop()
        clock.after(1, function() print "fired" end)
        require "luv".run()]])

      assert.equal("fired\n", result.stdout)
    end)
  end)
end)
