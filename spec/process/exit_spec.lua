local helper = require "spec.helper"
local orrery = require "orrery"

local process, run, script = orrery.process, helper.run, helper.script

describe("process.exit", function()
  local cases = {
    { "process.exit_code = 42", 42 },
    { "process.exit(42)", 42 },
    { "process.exit_code = 99 process.exit(42)", 42 },
    { "process.exit_code = 42 process.exit()", 42 },
    { "process.exit_code = 99 error('x')", 1 },
    { "process.on('exit', function(c) process.exit_code = c + 5 end)", 5 },
    { "process.on('exit', function() process.exit(6) end) process.exit(7)", 6 },
    { "process.on('uncaught_exception', function() end) error('x')", 0 },
    { "process.on('uncaught_exception', function() process.exit_code = 97 end) "
      .. "error('x')", 97 },
    { "process.on('uncaught_exception', function() error('y') end) error('x')",
      7 },
    { "process.exit(256)", 0 },
    { "process.exit(-1)", 255 },
    { "os.exit(true)", 0 },
    { "os.exit(false)", 1 },
    { "os.exit(5)", 5 },
    { "orrery.go(function() process.exit(8) end) orrery.sleep(100000)", 8 },
  }
  for _, case in ipairs(cases) do
    it(("L124: gives %d for: %s"):format(case[2], case[1]), function()
      run(function() assert.equal(case[2], script(case[1]).code) end)
    end)
  end

  it("L124: emits exit once, last, without ticks after it", function()
    run(function()
      local result = script [[
        process.on("exit", function(code)
          print("exit", code)
          process.next_tick(print, "never")
          orrery.go(print, "never")
          process.exit()
        end)
        process.on("before_exit", function(code) print("before", code) end)]]

      assert.equal("before\t0\nexit\t0\n", result.stdout)
    end)
  end)

  it("emits before_exit again after each piece of work it brings", function()
    run(function()
      local result = script [[
        local left = 3
        process.on("before_exit", function()
          left = left - 1
          if left > 0 then
            orrery.after(1, function() print("work", left) end)
          end
        end)]]

      assert.equal("work\t2\nwork\t1\n", result.stdout)
    end)
  end)

  it("raises for codes that are none", function()
    for _, bad in ipairs { "x", 1.5, {}, true } do
      assert.is_false((pcall(function() process.exit_code = bad end)))
    end
    assert.is_nil(process.exit_code)
  end)

  it("flushes what C and we have buffered, in order", function()
    run(function()
      local result = script [[
        io.write("a") process.stdout:write("b")
        print("c") process.stdout:write("d")
        io.write(("x"):rep(300000))
        process.exit()]]

      assert.equal("abc\nd", result.stdout:sub(1, 5))
      assert.equal(300005, #result.stdout)
    end)
  end)

  it("ends while a thread of the pool reads stdin", function()
    run(function()
      local child = orrery.spawn(helper.orrery, { "-e", [[
        local uv = require "luv"
        local work = uv.new_work(function() io.read("a") end, function() end)
        work:queue()
        require "orrery".after(20, function() os.exit(3) end)]] },
        { env_extend = helper.env(), stdio = { "pipe", "inherit", "inherit" } })

      assert.equal(3, child:wait(10000))
      child.stdin:destroy()
    end)
  end)

  it("L125: tells the monitor first", function()
    run(function()
      local result = script [[
        process.on("uncaught_exception_monitor",
          function(e, o) print("monitor", e, o) end)
        process.on("uncaught_exception",
          function(e, o) print("handler", e, o) end)
        error("x", 0)]]

      assert.equal("monitor\tx\ttask\nhandler\tx\ttask\n", result.stdout)
      assert.equal(1, script([[
        process.on("uncaught_exception_monitor", print) error("x")]]).code)
    end)
  end)
end)
