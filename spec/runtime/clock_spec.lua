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
end)
