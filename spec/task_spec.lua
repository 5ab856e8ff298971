local helper = require "spec.helper"
local events = require "orrery.events"
local fixture = require "spec.fixture.tasks"
local steps = require "spec.fixture.steps"
local task = require "orrery.task"

local run, closing, waiter = helper.run, fixture.closing, fixture.waiter

describe("task.deadline", function()
  it("gives the results in time, and nil, ETIMEDOUT after "
    .. "cancelling", function()
    run(function()
      local ended
      local function slow()
        local _ <close> = closing(function() ended = true end)
        task.sleep(1000000)
      end
      assert.same({ 1, 2 },
        { task.deadline(100000, function() return 1, 2 end) })
      local result, err = task.deadline(5, slow)

      assert.is_nil(result)
      assert.equal("ETIMEDOUT", err.code)
      assert.is_true(ended)
    end)
  end)

  it("raises fn's error, and goes with its caller when that is "
    .. "cancelled", function()
    run(function()
      assert.same({ false, "x" },
        { pcall(task.deadline, 1000, function() error("x", 0) end) })
      local ended
      local t = waiter(function()
        task.deadline(100000, function()
          local _ <close> = closing(function()
            task.sleep(1)
            ended = true
          end)
          task.sleep(1000000)
        end)
      end)
      t:cancel()
      t:join()
      assert.is_true(ended)
    end)
  end)
end)

describe("task.all and race", function()
  it("give results in order, and the first", function()
    run(function()
      local function slow(ms, value)
        return function()
          task.sleep(ms)
          return value
        end
      end
      assert.same({ "a", "b" }, task.all { slow(5, "a"), slow(1, "b") })
      assert.equal("quick",
        task.race { slow(100000, "slow"), slow(1, "quick") })
    end)
  end)

  it("fault C10: give a plain list, in which nil is a hole", function()
    run(function()
      local function nothing() end
      local function word() return "word" end

      assert.same({}, task.all {})
      assert.same({ nil, "word" }, task.all { nothing, word })
      assert.same({ "word" }, task.all { word, nothing })
    end)
  end)

  it("fault E3: take names as well, and give results by them", function()
    run(function()
      local function of(value) return function() return value end end

      assert.same({ a = 1, b = 2 }, task.all { a = of(1), b = of(2) })
      assert.same({ "x", "y", c = "z", [0] = "o" },
        task.all { of "x", of "y", c = task.go(of "z"), [0] = of "o" })
      assert.same({ "x", nil, "y" }, task.all { of "x", nil, of "y" })
      assert.equal("x", task.race { a = of "x", b = function()
        task.sleep(1000000)
      end })
    end)
  end)

  it("fault E3: name an item that was called already", function()
    run(function()
      assert.is_true(task.sleep(1))
      for _, fn in ipairs { task.all, task.race } do
        local _, first = pcall(fn, { task.sleep(1), print })
        local _, named = pcall(fn, { print, a = 5 })

        assert.matches("item 1 is a boolean: .* in a function", first)
        assert.matches('item "a" is a number: ', named)
      end
    end)
  end)

  it("fault C8: take as many steps for each task, however many", function()
    run(function()
      local growth = steps.growth(function(n)
        local fns = {}
        for i = 1, n do fns[i] = function() return i end end
        assert.equal(n, task.all(fns)[n])
        fns[n] = function() error("last", 0) end
        assert.same({ false, "last" }, { pcall(task.all, fns) })
      end)
      assert.is_true(growth < 6, "grows by " .. growth)
    end)
  end)

  it("cancel and await the rest after an error or a winner", function()
    run(function()
      local cleaned = 0
      local function loser()
        local _ <close> = closing(function()
          task.sleep(1)
          cleaned = cleaned + 1
        end)
        task.sleep(1000000)
      end
      local ok, err = pcall(task.all, { loser, function()
        task.sleep(1)
        error("first", 0)
      end, loser })
      assert.same({ false, "first" }, { ok, err })
      assert.equal(2, cleaned)
      assert.equal(1, task.race { loser, function()
        task.sleep(1)
        return 1
      end })
      assert.equal(3, cleaned)
    end)
  end)

  it("start nothing where they may not wait", function()
    run(function()
      local emitter, ran = events.new(), false
      emitter:on("x", function() task.all { function() ran = true end } end)
      assert.is_false((pcall(emitter.emit, emitter, "x")))
      task.sleep(1)
      assert.is_false(ran)
    end)
  end)

  it("raise for what is no task", function()
    run(function()
      assert.is_false((pcall(task.all, { 5 })))
      assert.is_false((pcall(task.race, {})))
      assert.is_false((pcall(task.all, 5)))
    end)
  end)
end)
