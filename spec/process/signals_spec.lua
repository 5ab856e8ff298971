local helper = require "spec.helper"
local fixture = require "spec.fixture.children"
local orrery = require "orrery"

local process, run, script = orrery.process, helper.run, helper.script

local function signalled(signal, code)
  local child = orrery.spawn(helper.orrery, { "-e", [[
    local orrery = require "orrery"
    local process = orrery.process
    local uv = require "luv"
    ]] .. code .. [[
    process.stdout:write("ready\n")
    local keep = uv.new_timer()
    keep:start(100000, 0, print)]] },
    { env_extend = helper.env(), stdio = { "ignore", "pipe", "inherit" } })
  local lines = child.stdout:lines()
  assert.equal("ready", lines())
  child:kill(signal)
  local text = child.stdout:read_all()
  return text, child:wait()
end

describe("process signals", function()
  it("H101: restore the default when the last listener goes", function()
    run(function()
      local _, code, signal = signalled("SIGINT", [[
        local function listener() print "not reached" end
        process.on("SIGINT", listener)
        process.off("SIGINT", listener)
        process.on("SIGINT", listener)
        process.remove_all("SIGINT")]])

      assert.same({ 130, "SIGINT" }, { code, signal })
    end)
  end)

  it("H102: call each listener with name and number", function()
    run(function()
      local text, code = signalled("SIGUSR2", [[
        process.on("SIGUSR2", function(...) print("one", ...) end)
        process.once("sigusr2",
          function(...) print("two", ...) process.exit(4) end)]])

      assert.equal("one\tSIGUSR2\t12\ntwo\tSIGUSR2\t12\n", text)
      assert.equal(4, code)
    end)
  end)

  it("H102: can be listened to again, and be removed in exit", function()
    run(function()
      local text, code = signalled("SIGTERM", [[
        process.on("SIGTERM", function() print "old" end)
        process.remove_all("SIGTERM")
        local dispose = process.on("SIGTERM", function()
          print "new"
          process.exit(3)
        end)
        process.on("exit",
          function() dispose() process.remove_all("SIGTERM") end)]])

      assert.equal("new\n", text)
      assert.equal(3, code)
    end)
  end)

  it("can be waited for, which holds the loop", function()
    run(function()
      local child = orrery.spawn(helper.orrery, { "-e", [[
        local process = require "orrery".process
        require "orrery".after(20,
          function() process.kill(process.pid, "SIGUSR1") end)
        print(process.wait_for("SIGUSR1"))]] },
        { env_extend = helper.env(), stdio = { "ignore", "pipe", "inherit" } })
      local text = child.stdout:read_all()

      assert.equal(0, child:wait())
      assert.equal("SIGUSR1\t10\n", text)
    end)
  end)

  it("do not hold the loop", function()
    run(function()
      assert.equal(0, script('process.on("SIGTERM", print)').code)
    end)
  end)

  it("raise for signals that cannot be caught", function()
    for _, name in ipairs { "SIGKILL", "SIGSTOP" } do
      local ok, err = pcall(process.on, name, print)
      assert.is_false(ok)
      assert.matches("cannot be caught %(EINVAL%)", err)
    end
  end)

  it("kill by default, and the parent sees the signal", function()
    run(function()
      local _, code, signal = signalled("SIGHUP", "")

      assert.same({ 129, "SIGHUP" }, { code, signal })
    end)
  end)
end)

describe("process.kill #spawn", function()
  it("E60: checks its arguments", function()
    for _, bad in ipairs { "x", {}, 0 / 0, 1.5, "io" } do
      local ok, err = pcall(function() return (process.kill(bad, 0)) end)
      assert.is_false(ok)
      assert.matches("kill: the pid must be an integer", err)
    end
    assert.is_false((pcall(process.kill, process.pid, "test")))
    assert.is_false((pcall(process.kill, process.pid, {})))
    local ok, err = process.kill(process.pid, 987)
    assert.is_nil(ok)
    assert.equal("EINVAL", err.code)
    assert.is_true(process.kill(process.pid, 0))
    assert.is_true(process.kill(tostring(process.pid), 0))
    assert.is_true(process:kill(process.pid, 0))
    assert.is_true(process.kill(0, 0))
  end)

  it("E61: asks whether a process is alive", function()
    run(function()
      local child = fixture.sleeper()
      assert.is_true(process.kill(child.pid, 0))
      child:stop()

      local ok, err = process.kill(child.pid, 0)
      assert.is_nil(ok)
      assert.equal("ESRCH", err.code)
    end)
  end)

  it("E62: ends a process that is in a busy loop", function()
    run(function()
      local child = orrery.spawn(helper.orrery, { "-e",
        "io.write('busy') io.stdout:flush() while true do end" },
        { env_extend = helper.env(), stdio = { "ignore", "pipe", "inherit" } })
      child.stdout:read()
      process.kill(child.pid)

      assert.same({ 143, "SIGTERM" }, { child:wait() })
      child.stdout:destroy()
    end)
  end)
end)
