local helper = require "spec.helper"
local fixture = require "spec.fixture.tasks"
local task = require "orrery.task"

local run, closing, waiter = helper.run, fixture.closing, fixture.waiter
local scope = task.scope

describe("scope", function()
  it("returns fn's results once its tasks are cancelled and awaited", function()
    run(function()
      local cleaned
      local a, b = scope(function(s)
        s:go(function()
          local _ <close> = closing(function()
            task.sleep(2)
            cleaned = true
          end)
          task.sleep(1000000)
        end)
        task.sleep(1)
        return 1, 2
      end)

      assert.same({ 1, 2, true }, { a, b, cleaned })
    end)
  end)

  it("raises the first failure of a task, after cancelling body and "
    .. "siblings", function()
    run(function()
      local cancelled = 0
      local ok, err = pcall(scope, function(s)
        s:go(function()
          local _ <close> = closing(function() cancelled = cancelled + 1 end)
          task.sleep(1000000)
        end)
        s:go(function()
          task.sleep(1)
          error("first", 0)
        end)
        local _ <close> = closing(function() cancelled = cancelled + 1 end)
        task.sleep(1000000)
      end)

      assert.same({ false, "first", 2 }, { ok, err, cancelled })
    end)
  end)

  it("goes with its caller when that is cancelled", function()
    run(function()
      local child
      local t = waiter(function()
        scope(function(s)
          child = s:spawn("sleep", { "1000" }, { stdio = "ignore" })
          task.sleep(1000000)
        end)
      end)
      t:cancel()
      t:join()

      assert.equal("cancelled", t.status)
      assert.equal("SIGTERM", child.signal_code)
    end)
  end)

  it("raises its body's error, not that of a clean-up", function()
    run(function()
      local ok, err = pcall(scope, function(s)
        s:go(function()
          local _ <close> = closing(function() error("clean-up", 0) end)
          task.sleep(1000000)
        end)
        task.sleep(1)
        error("body", 0)
      end)

      assert.same({ false, "body" }, { ok, err })
    end)
  end)

  it("runs programs, and refuses them when it is closed", function()
    run(function()
      local kept
      local text = scope(function(s)
        kept = s
        return s:run("echo", { "hi" }).stdout .. s:run({ "echo", "ho" }).stdout
      end)

      assert.equal("hi\nho\n", text)
      assert.is_false((pcall(kept.go, kept, print)))
      assert.is_false((pcall(kept.spawn, kept, "true")))
    end)
  end)

  it("cancels all by s:cancel", function()
    run(function()
      local result, err = scope(function(s)
        s:go(function() task.sleep(1000000) end)
        s:cancel("enough")
        task.sleep(1000000)
      end)

      assert.is_nil(result)
      assert.equal("enough", err.reason)
    end)
  end)
end)
