local helper = require "spec.helper"
local orrery = require "orrery"
local core = require "orrery.core"

local run, fork, await_close = helper.run, helper.fork, helper.await_close

describe("the channel", function()
  it("ends by the child's death, with the messages before it, and calls all "
    .. "back", function()
    run(function()
      local child = fork [[
        for i = 1, 1000 do process.send(i) end
        process.channel:flush()
        process.kill(process.pid, "SIGKILL")]]
      local got, called = 0, 0
      child:on("message", function() got = got + 1 end)
      for _ = 1, 100 do
        child:send(("x"):rep(10000), function() called = called + 1 end)
      end
      await_close(child)

      assert.equal("SIGKILL", child.signal_code)
      assert.is_true(got > 0)
      helper.eventually(function() return called == 100 end)
    end)
  end)

  it("delivers all of a child that is reaped before anything "
    .. "was read", function()
    run(function()
      local child = fork "for i = 1, 20 do process.send(i) end"
      local got = 0
      while child:kill(0) do
        core.poll({}, {}, 1)
        require "orrery.child_process.reaper".reap()
      end
      child:on("message", function() got = got + 1 end)
      await_close(child)

      assert.equal(20, got)
    end)
  end)

  it("with ref and unref says whether the loop waits for it", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local child = orrery.spawn("sleep", {"30"},
          {stdio = {"ignore", "ignore", "ignore", "ipc"}})
        child:unref()
        print(require "luv".run "nowait", require "luv".loop_alive())
        child.channel:unref()
        require "luv".run()
        child:kill()
        print "ended"]])

      assert.matches("ended\n$", result.stdout)
    end)
  end)

  it("is no grandchild's: its fd and variables stay with the child", function()
    run(function()
      local child = fork [[
        process.send(orrery.sh(
          "ls -l /proc/self/fd | grep -c socket; "
            .. "env | grep -c CHANNEL").stdout)]]

      assert.equal("0\n0\n", child:receive(5000))
      await_close(child)
    end)
  end)

  it("of spawn with ipc says so where the program has none", function()
    run(function()
      local child = orrery.spawn("true")
      local ok, err = pcall(child.send, child, 1)

      assert.is_false(ok)
      assert.matches("send: there is no channel", err)
      assert.is_nil(orrery.process.send)
      await_close(child)
    end)
  end)
end)
