local process = require "orrery".process

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

  it("L126: tells what it has used", function()
    local usage = process.resource_usage()
    local count = 0
    for name, value in pairs(usage) do
      count = count + 1
      assert.equal("integer", math.type(value), name)
      assert.is_true(value >= 0, name)
    end
    assert.equal(16, count)
    assert.is_true(usage.max_rss >= 1000000 and usage.user_cpu_time > 0)
  end)

  it("L126: tells its CPU time, and what was added to it", function()
    local before = process.cpu_usage()
    local x = 0
    repeat x = x + 1 until x % 1000 == 0
      and process.cpu_usage(before).user + process.cpu_usage(before).system > 0
    local added = process.cpu_usage(before)
    local after = process.cpu_usage()

    assert.is_true(added.user + before.user <= after.user)
    assert.is_true(added.system + before.system <= after.system)
    for _, bad in ipairs { 5, {}, { user = "1", system = 2 }, { user = 1 } } do
      assert.is_false((pcall(process.cpu_usage, bad)))
    end
  end)

  it("L126: tells the exit code that stands for a signal", function()
    assert.equal(143, process.signal_exit_code("SIGTERM"))
    assert.equal(130, process.signal_exit_code("int"))
    assert.equal(137, process.signal_exit_code(9))
    assert.is_false((pcall(process.signal_exit_code, "SIGNONE")))
  end)
end)
