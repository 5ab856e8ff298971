local helper = require "spec.helper"
local fixture = require "spec.fixture.children"
local orrery = require "orrery"
local task = require "orrery.task"

local spawn, run, process = orrery.spawn, helper.run, orrery.process
local sleeper, stubborn, alive =
  fixture.sleeper, fixture.stubborn, fixture.alive

describe("child:kill #spawn", function()
  it("E56: signals, sets killed but not for 0 (quirk 5), and reports the "
    .. "signal", function()
    run(function()
      local child = sleeper()
      local log = helper.record(child, { "exit" })
      assert.is_false(child.killed)
      assert.is_true(child:kill(0))
      assert.is_false(child.killed)
      assert.is_true(child:kill())
      assert.is_true(child.killed)

      assert.same({ 143, "SIGTERM" }, { child:wait() })
      child:wait_for("close")
      assert.same({ "exit", nil, "SIGTERM" }, log[1])
      assert.equal("SIGTERM", child.signal_code)
      assert.is_nil(child.exit_code)
    end)
  end)

  it("takes names in any case and numbers, and raises for others", function()
    run(function()
      for signal, name in pairs {
        sigkill = "SIGKILL", INT = "SIGINT", SIGHUP = "SIGHUP", [9] = "SIGKILL",
      } do
        local child = sleeper()
        assert.is_true(child:kill(signal))
        assert.equal(name, select(2, child:wait()))
      end
      local child <close> = sleeper()
      for _, bad in ipairs { "foo", "SIGTREM", 500, -1, 1.5, {}, true } do
        local ok, err = pcall(function() return (child:kill(bad)) end)
        assert.is_false(ok)
        assert.matches(
          "^spec/child_process/child_spec.lua:%d+: kill: unknown signal", err)
      end
    end)
  end)

  it("is false after the end, and reaches nobody else", function()
    run(function()
      local child = spawn("true", {}, { stdio = "ignore" })
      child:wait()

      assert.is_false(child:kill())
      assert.is_false(child:kill(0))
      assert.is_false(child:kill_tree("SIGKILL"))
      assert.is_false(child.killed)
    end)
  end)

  it("reaches the process group of a child that leads one", function()
    run(function()
      local child = spawn("sh", { "-c", "sleep 1000 & echo $!; wait" },
        { pgroup = true, stdio = { "ignore", "pipe", "inherit" } })
      local grandchild = tonumber(child.stdout:lines()())
      assert.is_true(alive(grandchild))
      child:kill_tree("SIGKILL")
      child:wait()
      child.stdout:destroy()

      helper.await_end(grandchild)
    end)
  end)
end)

describe("a <close> child #spawn", function()
  it("E57: is ended by SIGTERM once, and reaped", function()
    run(function()
      local child
      do
        local closing <close> = sleeper()
        child = closing
      end

      assert.equal("SIGTERM", child.signal_code)
      assert.same({}, helper.children())
    end)
  end)

  it("E57: is ended by SIGKILL where it ignores SIGTERM", function()
    run(function()
      local child
      do
        local closing <close> = stubborn()
        child = closing
      end

      assert.equal("SIGKILL", child.signal_code)
    end)
  end)

  it("is killed at once where nobody can wait, and never raises", function()
    run(function()
      local child
      local co = coroutine.wrap(function()
        local closing <close> = sleeper()
        child = closing
      end)
      co()
      child:wait()

      assert.equal("SIGKILL", child.signal_code)
    end)
  end)

  it("takes its streams along, read or not", function()
    run(function()
      local before = helper.fds()
      for _ = 1, 5 do
        local closing <close> = spawn("sleep", { "1000" })
        closing.stdout:read(1, 1)
      end
      task.sleep(1)

      assert.same(before, helper.fds())
    end)
  end)

  it("is ended when its task is cancelled", function()
    run(function()
      local child
      local t = task.go(function()
        local closing <close> = sleeper()
        child = closing
        task.sleep(100000)
      end)
      task.sleep(0)
      t:cancel()
      t:join()

      assert.equal("SIGTERM", child.signal_code)
      assert.equal("cancelled", t.status)
    end)
  end)
end)

describe("the option timeout #spawn", function()
  it("E58: ends the child by kill_signal, and has no part in an "
    .. "early exit", function()
    run(function()
      local slow = sleeper { timeout = 20, kill_signal = "SIGKILL" }
      local quick = spawn("true", {}, { timeout = 100000, stdio = "ignore" })

      assert.same({ 137, "SIGKILL" }, { slow:wait() })
      assert.equal(0, quick:wait())
    end)
  end)
end)

describe("the option scope #spawn", function()
  it("E59: stops the child when the task is cancelled, after spawn "
    .. "(quirk 7)", function()
    run(function()
      local owner = task.go(task.sleep, 100000)
      local child = sleeper { scope = owner }
      local log = helper.record(child, { "spawn", "error", "exit" })
      task.sleep(0)
      owner:cancel("reason")
      child:wait()
      child:wait_for("close")
      assert.equal("spawn exit", helper.names(log))

      local late = sleeper { scope = owner }
      assert.equal("SIGTERM", select(2, late:wait()))
    end)
  end)

  it("E59: leaves a child alone whose task ends after it", function()
    run(function()
      local owner = task.go(task.sleep, 100000)
      local child = spawn("true", {}, { scope = owner, stdio = "ignore" })
      local log = helper.record(child, { "error", "exit" })
      child:wait()
      task.sleep(0)
      owner:cancel()
      task.sleep(0)

      assert.same({ { "exit", 0 } }, log)
    end)
  end)

  it("stops the children of a scope when it ends, and awaits them", function()
    run(function()
      local child = task.current() and orrery.scope(function(s)
        return s:spawn("sleep", { "1000" }, { stdio = "ignore" })
      end)

      assert.equal("SIGTERM", child.signal_code)
      assert.same({}, helper.children())
    end)
  end)

  it("ends with the process, also by SIGKILL of it", function()
    run(function()
      local parent = spawn(helper.interpreter, { "-e", [[
        local orrery = require "orrery"
        orrery.main(function()
          orrery.scope(function(s)
            local child = s:spawn("sleep", {"1000"}, {stdio="ignore"})
            orrery.process.stdout:write(child.pid .. "\n")
            orrery.sleep(1000000)
          end)
        end)]] }, { env_extend = helper.env(),
          stdio = { "ignore", "pipe", "inherit" } })
      local pid = tonumber(parent.stdout:lines()())
      parent:kill("SIGKILL")
      parent:wait()
      parent.stdout:destroy()

      helper.await_end(pid)
    end)
  end)
end)

describe("child:stop #spawn", function()
  it("asks, waits, and says what became of it", function()
    run(function()
      local result = sleeper():stop()

      assert.equal(143, result.code)
      assert.equal("SIGTERM", result.signal)
      assert.is_false(result.forced)
      assert.is_true(result.duration >= 0)
    end)
  end)

  it("ours does better 7: forces after the grace", function()
    run(function()
      local result = stubborn():stop { grace = 30 }

      assert.same({ 137, "SIGKILL", true },
        { result.code, result.signal, result.forced })
      assert.is_true(result.duration >= 30)
    end)
  end)

  it("wakes a child that is stopped by SIGSTOP", function()
    run(function()
      local child = sleeper()
      child:kill("SIGSTOP")

      assert.equal("SIGTERM", child:stop({ grace = 20000 }).signal)
    end)
  end)

  it("gives the result of a child that has ended, and nil, err of a failed "
    .. "start",
    function()
      run(function()
        local ended = spawn("sh", { "-c", "exit 7" }, { stdio = "ignore" })
        ended:wait()
        local none, err = spawn("/no/such"):stop()

        assert.equal(7, ended:stop().code)
        assert.is_nil(none)
        assert.equal("ENOENT", err.code)
      end)
    end)

  it("says that it forced, or killed, only what it could "
    .. "signal #root", function()
    if not helper.is_root then return pending("needs root") end
    run(function()
      local dir <close> = fixture.setuid_root()
      local result = helper.lua_as(([[
        local orrery = require "orrery"
        local child = orrery.spawn("%s/program", {},
          {stdio = {"pipe", "pipe", "inherit"}})
        child.stdout:read() -- it is another user's by now
        local result = child:stop{grace = 1}
        print(result.code, result.signal, result.forced, child.killed)
        child.stdin:finish()
        print(#result.left, result.left[1] == child.pid, child:wait(10000))
      ]]):format(dir.path), { uid = 65534, gid = 65534, groups = {} })

      assert.equal("nil\tnil\tfalse\tfalse\n1\ttrue\t0\n", result.stdout)
    end)
  end)
end)

describe("child:wait #spawn", function()
  it("leaves nothing behind where it times out again and again", function()
    run(function()
      local child <close> = orrery.spawn("sleep", { "1000" })
      for _ = 1, 20 do child:wait(1) end

      assert.same({}, child.waiters_)
    end)
  end)

  it("gives nil and ETIMEDOUT, and changes nothing", function()
    run(function()
      local child <close> = sleeper()
      local code, err = child:wait(5)

      assert.is_nil(code)
      assert.equal("ETIMEDOUT", err.code)
      assert.is_true(child:kill(0))
    end)
  end)

  it("serves any number of waiters, and again", function()
    run(function()
      local child = spawn("sh", { "-c", "exit 4" }, { stdio = "ignore" })
      local codes = task.all {
        function() return (child:wait()) end,
        function() return (child:wait()) end,
      }

      assert.same({ 4, 4 }, codes)
      assert.equal(4, child:wait())
    end)
  end)
end)

describe("child.usage #spawn", function()
  it("gives CPU times and memory of a child that uses them", function()
    run(function()
      local ours =
        io.open("/proc/self/status"):read("a"):match("VmHWM:%s+(%d+)")
      local bytes = ours * 1024 + 64 * 1024 * 1024 | 0
      local result = assert(orrery.run(helper.interpreter, { "-e",
        ("local s = ('x'):rep(%d) local t = os.clock() "
        .. "while os.clock() - t < 0.05 do end"):format(bytes) }))

      assert.is_true(result.usage.user + result.usage.system >= 40000)
      assert.is_true(result.usage.max_rss > bytes)
      assert.is_true(result.usage.max_rss_exact)
    end)
  end)

  it("says where the memory is only a bound: our own peak", function()
    run(function()
      local child = spawn("true", {}, { stdio = "ignore" })
      child:wait()

      assert.is_false(child.usage.max_rss_exact)
    end)
  end)
end)

describe("lifetime #spawn", function()
  it("H99: a detached child lives on when its parent has ended", function()
    run(function()
      local result = helper.lua([[
        local child = require "orrery".spawn("sleep", {"1000"},
          {detached=true, stdio="ignore"})
        child:unref()
        print(child.pid)
        require "luv".run()]])
      local pid = tonumber(result.stdout)
      assert.equal(0, result.code)
      assert.is_true(alive(pid))
      local stat = io.open("/proc/" .. pid .. "/stat")
      local session = stat:read("a"):match("%) %a %d+ %d+ (%d+)")
      stat:close()

      assert.equal(pid, tonumber(session))
      process.kill(pid, "SIGKILL")
    end)
  end)

  it("H100: a chain of generations ends cleanly", function()
    run(function()
      local code = [[
        local n = tonumber(arg[1])
        local orrery = require "orrery"
        if n == 0 then orrery.process.exit(3) end
        local child = orrery.spawn(orrery.process.env.CLI,
          {arg[0] or "", tostring(n - 1)},
          {stdio="inherit"})
        orrery.process.exit((child:wait()))]]
      local path = helper.tmpname()
      local file = io.open(path, "w")
      file:write(code)
      file:close()
      local result = helper.cli({ path, "5" },
        { env_extend = { CLI = require "luv".cwd() .. "/bin/orrery" } })
      os.remove(path)

      assert.equal(3, result.code)
      assert.equal("", result.stderr)
    end)
  end)

  it("prints well", function()
    run(function()
      local child = sleeper()
      assert.equal(("child %d (sleep 1000): running"):format(child.pid),
        tostring(child))
      child:stop()
      assert.matches("ended by SIGTERM", tostring(child))
      local lost = spawn("/no/such")
      lost:wait()
      assert.matches("failed to start", tostring(lost))
    end)
  end)
end)
