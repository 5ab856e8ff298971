local helper = require "spec.helper"
local orrery = require "orrery"

local process, run = orrery.process, helper.run

describe("process", function()
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

  it("counts messages that wait to be sent as external memory", function()
    run(function()
      local before = process.memory_usage().external
      local child = helper.raw_peer "core.poll({}, {}, 60000)"
      child:send(("x"):rep(4000000))
      local meanwhile = process.memory_usage().external
      child:kill("SIGKILL")
      helper.await_close(child)

      assert.is_true(meanwhile >= before + 3000000)
      helper.eventually(function()
        return process.memory_usage().external <= before
      end)
    end)
  end)

  it("L126: tells what memory is left, and how much it may use", function()
    local available = process.available_memory()
    local most = process.constrained_memory()

    assert.equal("integer", math.type(available))
    assert.is_true(available > 0)
    assert.equal("integer", math.type(most))
    assert.is_true(most == 0 or available <= most)
  end)
end)
