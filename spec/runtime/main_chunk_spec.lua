local helper = require "spec.helper"

--- Runs a program of plain Lua's that has `orrery`, to its end. [w]
local function host(code)
  return helper.lua('local orrery = require "orrery" ' .. code)
end

describe("an uncaught error in a host", function()
  it("fault A7: is raised from the wait of the main chunk", function()
    helper.run(function()
      local result = host [[
        local child = orrery.spawn("sh", {"-c", "exit 3"}, {stdio = "ignore"})
        child:on("exit", function(code) error({code}) end)
        local ok, err = pcall(child.wait, child)
        print(ok, err[1], child:wait())
        orrery.go(error, "of a task", 0)
        print(pcall(orrery.sleep, 60000))
        orrery.events.new():emit("error", "of an emitter")
        print(pcall(orrery.events.new().emit, nil, "error"))]]

      assert.equal("false\t3\t3\nfalse\tof a task\n",
        result.stdout:match("^.-task\n"))
      assert.matches("^orrery: uncaught error: of an emitter\n", result.stderr)
      assert.equal(0, result.code)
    end)
  end)

  it("fault A7: is reported where nothing waits, and ends nothing", function()
    helper.run(function()
      local result = host [[
        orrery.go(error, "lone", 0)
        require "luv".run()
        orrery.go(error, "one", 0)
        orrery.go(error, "two", 0)
        print(pcall(orrery.run, "true"))
        print(orrery.run("echo", {"on"}).stdout)]]

      assert.equal("false\tone\non\n\n", result.stdout)
      assert.matches("^orrery: uncaught error: lone\nstack traceback:.*"
        .. "orrery: uncaught error: two\n", result.stderr)
      assert.equal(0, result.code)
    end)
  end)

  it("fault A7: goes to the listeners first, and theirs the same way",
    function()
      helper.run(function()
        local result = host [[
          local entry = orrery.process.on("uncaught_exception", print)
          orrery.go(error, "mine", 0)
          print(orrery.sleep(1))
          entry()
          orrery.process.on("uncaught_exception", function()
            error("the listener's", 0)
          end)
          orrery.go(error, "mine", 0)
          print(pcall(orrery.sleep, 60000))]]

        assert.equal("mine\ttask\ntrue\nfalse\tthe listener's\n", result.stdout)
        assert.equal("", result.stderr)
      end)
    end)

  it("leaves nothing of the wait behind", function()
    helper.run(function()
      local result = host [[
        local emitter = orrery.events.new()
        orrery.go(error, "mine", 0)
        print(pcall(emitter.wait_for, emitter, "x", 60000))
        print(emitter:listener_count("x"), require "luv".loop_alive())]]

      assert.equal("false\tmine\n0\tfalse\n", result.stdout)
    end)
  end)

  it("ends the process in orrery.main, and not after it", function()
    helper.run(function()
      local result = host [[
        orrery.main(function() end)
        orrery.go(error, "mine", 0)
        print(pcall(orrery.sleep, 60000))
        orrery.main(function()
          orrery.go(error, "last", 0)
          orrery.sleep(60000)
        end)]]

      assert.equal("false\tmine\n", result.stdout)
      assert.matches("^orrery: uncaught error: last\n", result.stderr)
      assert.equal(1, result.code)
    end)
  end)
end)
