local helper = require "spec.helper"
local events = require "orrery.events"
local fixture = require "spec.fixture.tasks"
local task = require "orrery.task"
local uv = require "luv"

local run, closing, waiter = helper.run, fixture.closing, fixture.waiter

describe("task.go and join", function()
  it("give results, also nil among them", function()
    run(function()
      local t = task.go(function(...) return ..., nil, "x" end, 1)

      assert.same({ 1, nil, "x" }, { t:join() })
      assert.same({ 1, nil, "x" }, { t:join() })
      assert.equal("done", t.status)
    end)
  end)

  it("re-raise the task's own error value", function()
    run(function()
      local value = { code = 1 }
      local t = task.go(function() error(value) end)
      local ok, err = pcall(t.join, t)

      assert.is_false(ok)
      assert.equal(value, err)
      assert.equal("failed", t.status)
    end)
  end)

  it("show both tracebacks of an error that nobody catches", function()
    run(function()
      local result = helper.cli { "-e", [[
        local orrery = require "orrery"
        local function deep() error("boom") end
        local function joiner(t) t:join() end
        local t = orrery.go(function() orrery.sleep(1) deep() end)
        joiner(t)]] }

      assert.equal(1, result.code)
      assert.matches("boom", result.stderr)
      assert.matches("in [%w ']*joiner", result.stderr)
      assert.matches("in [%w ']*deep", result.stderr)
    end)
  end)

  it("end a chain of 1,000 tasks that join each other", function()
    run(function()
      local last
      for _ = 1, 1000 do
        local before = last
        last = task.go(function() return before and before:join() + 1 or 1 end)
      end

      assert.equal(1000, last:join())
    end)
  end)

  it("time out without changing the task", function()
    run(function()
      local t = task.go(function()
        task.sleep(30)
        return "late"
      end)
      local result, err = t:join(1)

      assert.is_nil(result)
      assert.equal("ETIMEDOUT", err.code)
      assert.equal("late", t:join())
    end)
  end)

  it("leave an error uncaught whose joiner had given up", function()
    run(function()
      local result = helper.cli { "-e", [[
        local orrery = require "orrery"
        local t = orrery.go(function() orrery.sleep(20) error "lost" end)
        t:join(1)
        orrery.sleep(1000)]] }

      assert.equal(1, result.code)
      assert.matches("lost", result.stderr)
    end)
  end)

  it("wake those who wait in the order in which they came", function()
    run(function()
      local t, order = waiter(function() task.sleep(5) end), {}
      local joiners = {}
      for i = 1, 20 do
        joiners[i] = task.go(function()
          t:join()
          order[#order + 1] = i
        end)
      end
      task.all(joiners)

      for i = 1, 20 do assert.equal(i, order[i]) end
    end)
  end)

  it("raise where a task would wait for itself", function()
    run(function()
      local t
      t = task.go(function() return pcall(t.join, t) end)
      local ok, err = t:join()

      assert.is_false(ok)
      assert.matches("cannot wait for itself", err)
    end)
  end)

  it("make an unjoined failure uncaught at the end of the turn, a joined one "
    .. "not",
    function()
      run(function()
        local result = helper.lua([[
          local orrery = require "orrery"
          orrery.process.on("uncaught_exception", function(err, origin)
            print(err, origin)
          end)
          orrery.main(function()
            local joined = orrery.go(function() error("joined", 0) end)
            orrery.go(function() error("alone", 0) end)
            print(pcall(joined.join, joined))
          end)]])

        assert.equal("false\tjoined\nalone\ttask\n", result.stdout)
      end)
    end)

  it("refuse a coroutine.yield that is not a wait", function()
    run(function()
      local closed
      local t = task.go(function()
        local _ <close> = closing(function() closed = true end)
        coroutine.yield(1)
      end)
      local ok, err = pcall(t.join, t)

      assert.is_false(ok)
      assert.matches("coroutine.yield in a task", err)
      assert.is_true(closed)
    end)
  end)
end)

describe("waiting", function()
  it("in a main chunk ends with what it waits for, not with the "
    .. "next timer", function()
    local fired = false
    local later = task.after(3000, function() fired = true end)
    task.sleep(1)
    task.sleep(0)
    later:stop()

    assert.is_false(fired)
  end)

  it("is refused in a coroutine that is no task, and names "
    .. "orrery.go", function()
    run(function()
      local ok, err = pcall(coroutine.wrap(function() task.sleep(1) end))

      assert.is_false(ok)
      assert.matches(
        "^spec/runtime/scheduler_spec.lua:%d+: sleep waits.*orrery%.go", err)
    end)
  end)

  it("is refused where C forbids a yield, and names the _sync form", function()
    run(function()
      local ok, err = pcall(table.sort, { 1, 2, 3 },
        function() task.sleep(1) end)

      assert.is_false(ok)
      assert.matches("_sync", err)
    end)
  end)

  it("is refused in a listener, also of an emit in a task", function()
    run(function()
      local emitter = events.new()
      emitter:on("x", function() task.sleep(1) end)
      local ok, err = pcall(emitter.emit, emitter, "x")

      assert.is_false(ok)
      assert.matches("a listener may not", err)
      task.sleep(0) -- and the listener's error has not upset the count
    end)
  end)

  it("is refused in a luv callback", function()
    local why
    local timer = uv.new_timer()
    timer:start(0, 0, function()
      why = select(2, pcall(task.sleep, 1))
      timer:close()
    end)
    uv.run()

    assert.matches("a callback may not", why)
  end)

  it("runs the loop in a plain main chunk, and says when nothing "
    .. "can come", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        orrery.sleep(1)
        local t = orrery.go(function() return 5 end)
        print(t:join())
        print(pcall(orrery.events.new().wait_for, orrery.events.new(),
          "never"))]])

      assert.matches("^5\nfalse\t.*wait_for: waits for what can no longer come",
        result.stdout)
    end)
  end)
end)

describe("task:cancel", function()
  it("raises ECANCELED at the wait, and joiners get nil, err", function()
    run(function()
      local caught
      local t = waiter(function()
        local ok, err = pcall(task.sleep, 1000000)
        caught = not ok and err
        error(err, 0)
      end)
      t:cancel("tea")
      local result, err = t:join()

      assert.is_nil(result)
      assert.equal("ECANCELED", err.code)
      assert.equal("tea", err.reason)
      assert.equal(caught, err)
      assert.equal("cancelled", t.status)
    end)
  end)

  it("raises again at each later wait", function()
    run(function()
      local raised = 0
      local t = waiter(function()
        for _ = 1, 3 do
          if not pcall(task.sleep, 1000000) then raised = raised + 1 end
        end
        return "done all the same"
      end)
      t:cancel()

      assert.equal("done all the same", t:join())
      assert.equal(3, raised)
      assert.equal("done", t.status)
    end)
  end)

  it("interrupts a vararg function at once, also below pcall and by a tail "
    .. "call",
    function()
      run(function()
        local function sleeper(...) return task.sleep(1000000, ...) end
        for _, fn in ipairs {
          function(...) task.sleep(1000000, ...) end, sleeper,
          function(...) return sleeper(...) end,
          function(...)
            pcall(function(...) task.sleep(1000000, ...) end, ...)
          end,
          function()
            xpcall(function(...) task.sleep(1000000, ...) end, tostring, 1)
          end,
        } do
          for _, args in ipairs { {}, { 1, 2 } } do
            local t = task.go(fn, table.unpack(args))
            task.sleep(0)
            t:cancel()
            local _, err = t:join(2000)
            assert.is_true(err == nil or err.code == "ECANCELED")
            assert.not_equal("running", t.status)
          end
        end
      end)
    end)

  it("never starts a task that has not begun", function()
    run(function()
      local begun
      local t = task.go(function() begun = true end)
      t:cancel()
      t:join()

      assert.is_nil(begun)
      assert.equal("cancelled", t.status)
    end)
  end)

  it("does nothing to a task that has ended, or the second time", function()
    run(function()
      local t = task.go(function() return 1 end)
      t:join()
      t:cancel()
      assert.equal("done", t.status)
      local other = waiter()
      other:cancel("first")
      other:cancel("second")
      assert.equal("first", select(2, other:join()).reason)
    end)
  end)

  it("lets __close handlers wait, while the cancellation unwinds", function()
    run(function()
      local log = {}
      local t = waiter(function()
        local _ <close> = closing(function()
          task.sleep(2)
          log[#log + 1] = "outer"
        end)
        local _ <close> = closing(function()
          task.sleep(2)
          log[#log + 1] = "inner"
        end)
        task.sleep(1000000)
      end)
      t:cancel()
      t:join()

      assert.same({ "inner", "outer" }, log)
      assert.equal("cancelled", t.status)
    end)
  end)

  it("lets them wait below pcall, xpcall and functions of their own", function()
    run(function()
      local log = {}
      local function note(name)
        return closing(function()
          local function deeper() pcall(task.sleep, 1) task.sleep(1) end
          deeper()
          log[#log + 1] = name
        end)
      end
      local t = waiter(function()
        pcall(function()
          local _ <close> = note "pcall"
          task.sleep(1000000)
        end)
        xpcall(function()
          local _ <close> = note "xpcall"
          task.sleep(1000000)
        end, function(e) return e end)
        do
          local _ <close> = note "block"
        end
        log[#log + 1] = pcall(task.sleep, 1) and "slept" or "raised"
      end)
      t:cancel()
      t:join()

      assert.same({ "pcall", "xpcall", "block", "raised" }, log)
    end)
  end)

  it("does not interrupt a handler that is already waiting", function()
    run(function()
      local finished, entered
      local t = task.go(function()
        local _ <close> = closing(function()
          entered = true
          task.sleep(5)
          finished = true
        end)
        error("on its own", 0)
      end)
      helper.eventually(function() return entered end)
      t:cancel()
      pcall(t.join, t)

      assert.is_true(finished)
    end)
  end)

  it("lets handlers wait for 5 s in all, and no longer", function()
    run(function()
      local clock = require "orrery.runtime.clock"
      local after = clock.after
      clock.after = function(ms, fn) -- time runs 100 times as fast
        return after(ms // 100, fn)
      end
      local why
      local t = waiter(function()
        local _ <close> = closing(function()
          why = select(2, pcall(task.sleep, 10000000))
          why = why and select(2, pcall(task.sleep, 10000000))
        end)
        task.sleep(10000000)
      end)
      t:cancel()
      t:join()
      clock.after = after

      assert.equal("ECANCELED", why.code)
    end)
  end)

  it("unwinds an error through handlers that wait", function()
    run(function()
      local log = {}
      local t = task.go(function()
        local _ <close> = closing(function(_, err)
          task.sleep(1)
          log[#log + 1] = err
        end)
        error("boom", 0)
      end)

      assert.same({ false, "boom" }, { pcall(t.join, t) })
      assert.same({ "boom" }, log)
    end)
  end)
end)
