local helper = require "spec.helper"
local events = require "orrery.events"
local task = require "orrery.task"

describe("events", function()
  it("calls listeners in order, with the arguments, and says if there were any",
    function()
      local e, log = events.new(), {}
      e:on("x", function(...) log[#log + 1] = { "second", ... } end)
      e:prepend("x", function(...) log[#log + 1] = { "first", ... } end)

      assert.is_true(e:emit("x", 1, nil, 3))
      assert.is_false(e:emit("y"))
      assert.same({ { "first", 1, nil, 3 }, { "second", 1, nil, 3 } }, log)
    end)

  it("removes by off, by the disposer and at the end of its block", function()
    local e, count = events.new(), 0
    local function listener() count = count + 1 end
    local dispose = e:on("x", listener)
    e:on("x", listener)
    e:off("x", listener)
    assert.equal(1, e:listener_count("x"))
    dispose()
    dispose()
    assert.equal(0, e:listener_count("x"))
    do
      local _ <close> = e:on("x", listener)
      assert.same({ listener }, e:listeners("x"))
    end

    e:emit("x")
    assert.equal(0, count)
  end)

  it("calls once-listeners once, also where they emit again", function()
    local e, count = events.new(), 0
    e:once("x", function()
      count = count + 1
      e:emit("x")
    end)
    e:emit("x")

    assert.equal(1, count)
  end)

  it("walks a snapshot: what a listener changes counts from the next emit",
    function()
      local e, log = events.new(), {}
      local dispose
      e:on("x", function()
        log[#log + 1] = "a"
        dispose()
        e:once("x", function() log[#log + 1] = "new" end)
      end)
      dispose = e:on("x", function() log[#log + 1] = "b" end)
      e:emit("x")
      assert.same({ "a", "b" }, log)
      e:remove_all("x")
      assert.equal(0, e:listener_count("x"))
      e:on("y", print)
      e:remove_all()
      assert.equal(0, e:listener_count("y"))
    end)

  it("raises what a listener raises", function()
    local e = events.new()
    e:on("x", function() error("from a listener", 0) end)

    assert.same({ false, "from a listener" }, { pcall(e.emit, e, "x") })
  end)

  it("makes an error without a listener an uncaught exception", function()
    helper.run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        orrery.process.on("uncaught_exception", function(err)
          print("caught", err)
        end)
        local e = orrery.events.new()
        e:emit("error", "x")
        e:on("error", function(err) print("heard", err) end)
        e:emit("error", "y")]])

      assert.equal("caught\tx\nheard\ty\n", result.stdout)
    end)
  end)

  it("raises for events and listeners that are none", function()
    local e = events.new()
    for _, args in ipairs { { 5, print }, { "x", 5 }, { "x" }, {} } do
      local ok, err = pcall(function() return (e:on(args[1], args[2])) end)
      assert.is_false(ok)
      assert.matches("^spec/events_spec.lua", err)
    end
  end)

  it("wait_for gives the arguments, or nil and ETIMEDOUT", function()
    helper.run(function()
      local e = events.new()
      task.go(function() e:emit("x", 1, 2) end)
      assert.same({ 1, 2 }, { e:wait_for("x") })
      local result, err = e:wait_for("x", 1)

      assert.is_nil(result)
      assert.equal("ETIMEDOUT", err.code)
      assert.equal(0, e:listener_count("x"))
    end)
  end)

  it("each iterates over all that comes, and leaves no listener", function()
    helper.run(function()
      local e, seen = events.new(), {}
      task.go(function()
        for i = 1, 3 do e:emit("x", i, -i) end
        task.sleep(1)
        e:emit("x", 4, -4)
      end)
      for a, b in e:each("x") do
        seen[#seen + 1] = a + b == 0 and a
        if a == 4 then break end
      end

      assert.same({ 1, 2, 3, 4 }, seen)
      assert.equal(0, e:listener_count("x"))
    end)
  end)

  it("fault E2: each goes on after an event without arguments, or "
    .. "with nil first",
    function()
      helper.run(function()
        local e, seen = events.new(), {}
        task.go(function()
          e:emit "x"
          e:emit("x", nil)
          e:emit("x", nil, "SIGTERM")
          e:emit("x", "end")
        end)
        for a, b in e:each("x") do
          seen[#seen + 1] = { a, b }
          if a == "end" then break end
        end

        assert.same({ { true }, { false }, { false, "SIGTERM" }, { "end" } },
          seen)
      end)
    end)
end)
