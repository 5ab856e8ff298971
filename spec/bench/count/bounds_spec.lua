local bounds = require "bench.count.bounds"

local function lines(text) return text:gmatch "[^\n]+" end

describe("bench.count.bounds", function()
  local all = bounds.read(lines "# of one\n \nspawn  calls 14.5 # room")

  it("reads a bound a line", function()
    assert.same({ ["spawn calls"] = 14.5 }, all)
  end)

  it("refuses a line that is none", function()
    assert.error_matches(function() bounds.read(lines "spawn calls") end,
      "not a bound: spawn calls")
  end)

  it("names what is above its bound, has none, or was not counted", function()
    assert.same({}, bounds.check(all, "spawn", { calls = 14.5 }))
    assert.same({ "spawn calls: 15.00, the bound is 14.5" },
      bounds.check(all, "spawn", { calls = 15 }))
    assert.same({ "spawn faults: 3.00, and no bound" },
      bounds.check(all, "spawn", { faults = 3 }))
    assert.same({ "spawn calls: not counted" },
      bounds.check(all, "spawn", { calls = false }))
  end)
end)
