local helper = require "spec.helper"
local process = require "orrery".process

local run = helper.run

describe("process", function()
  it("measures time", function()
    local before = process.hrtime()
    local passed = process.hrtime(before)

    assert.equal("integer", math.type(before[1]))
    assert.is_true(passed[1] == 0 and passed[2] >= 0 and passed[2] < 1e9)
    assert.equal("integer", math.type(process.hrtime_ns()))
    assert.is_false((pcall(process.hrtime, 5)))
    assert.is_false((pcall(process.hrtime, { "x" })))
  end)

  it("tells its memory in bytes", function()
    local usage = process.memory_usage()

    for _, name in ipairs { "rss", "heap_total", "heap_used", "external" } do
      assert.equal("integer", math.type(usage[name]), name)
    end
    assert.is_true(usage.rss > 1000000 and usage.heap_used > 10000)
    run(function() -- a sanitizer's malloc tells nothing
      local result = helper.cli({ "-e", [[
        local usage = require "orrery".process.memory_usage()
        print(usage.heap_total >= usage.heap_used,
          usage.heap_used < 1500000)]] },
        { env_extend = { LD_PRELOAD = false } })
      assert.equal("true\ttrue\n", result.stdout) -- without the ballast
    end)
  end)
end)
