local clock = require "orrery.runtime.clock"
local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"

local spawn_sync = orrery.spawn_sync
local exec_sync, exec_file_sync = orrery.exec_sync, orrery.exec_file_sync

local function keys(t)
  local list = {}
  for key in pairs(t) do list[#list + 1] = key end
  table.sort(list)
  return table.concat(list, " ")
end

describe("spawn_sync #spawn", function()
  it("D50: runs to the end: status, output, cwd", function()
    local result = spawn_sync("sh", { "-c", "pwd; echo err >&2; exit 3" },
      { cwd = "/" })

    assert.same({ 3, "/\n", "err\n" },
      { result.status, result.stdout, result.stderr })
    assert.same({ "/\n", "err\n" }, result.output)
    assert.is_nil(result.signal)
    assert.equal("output pid status stderr stdout", keys(result))
  end)

  it("D50: tells why it could not start", function()
    local result = spawn_sync("foo123", { "a" })

    assert.equal("error output", keys(result))
    assert.same({ "ENOENT", "foo123" },
      { result.error.code, result.error.path })
  end)

  it("D50: tells the signal that ended it", function()
    local result = spawn_sync { "sh", "-c", "kill -9 $$" }

    assert.equal("SIGKILL", result.signal)
    assert.is_nil(result.status)
    assert.equal("SIGRTMIN+0", spawn_sync { "sh", "-c", "kill -34 $$" }.signal)
    assert.equal("SIGRTMIN+6", spawn_sync { "sh", "-c", "kill -40 $$" }.signal)
  end)

  it("D50: raises for a channel, whose messages nobody could take", function()
    local ok, err = pcall(function()
      local result = orrery.spawn_sync("true", {},
        { stdio = { "pipe", "ipc" } })
      return result
    end)

    assert.is_false(ok)
    assert.matches(
      "^spec/child_process/sync_spec.lua:%d+: spawn_sync: .*ERR_IPC_SYNC_FORK",
      err)
  end)

  it("D51: takes input, and raises for what is no string", function()
    assert.equal("hello", spawn_sync("cat", {}, { input = "hello" }).stdout)
    assert.equal("", spawn_sync("cat", {}, { input = "" }).stdout)
    assert.equal("", spawn_sync("cat").stdout)
    local large = ("x"):rep(500000)
    assert.equal(large, spawn_sync("cat", {}, { input = large }).stdout)
    assert.equal(0, spawn_sync("true", {}, { input = large }).status)
    local ok, err = pcall(function()
      local result = spawn_sync("cat", {}, { input = 5 })
      return result
    end)
    assert.is_false(ok)
    assert.matches(
      "^spec/child_process/sync_spec.lua:%d+: spawn_sync: option 'input'", err)
  end)

  it("raises for input that has no pipe to go through", function()
    for name, fn in pairs { spawn_sync = spawn_sync, exec_sync = exec_sync,
      exec_file_sync = exec_file_sync } do
      local ok, err = pcall(function()
        local result = fn("cat", { input = "x", stdio = { "ignore", "pipe" } })
        return result
      end)
      assert.is_false(ok)
      assert.matches("^spec/child_process/sync_spec.lua:%d+: " .. name
        .. ": option 'input'", err)
    end
    assert.equal("in",
      spawn_sync("cat", { input = "in", stdio = "pipe" }).stdout)
  end)

  it("reads what is there after the exit, also without any grace", function()
    for _ = 1, 20 do
      local result = spawn_sync("head", { "-c", "200000", "/dev/zero" },
        { stdio_grace = 0 })
      assert.equal(200000, #result.stdout)
    end
  end)

  it("takes the longest times that there are", function()
    local result = spawn_sync("sh", { "-c", "sleep 0.02; echo out" },
      { timeout = math.maxinteger, stdio_grace = math.maxinteger })

    assert.same({ 0, "out\n" }, { result.status, result.stdout })
    assert.is_nil(result.error)
    local late = spawn_sync("sh", { "-c", "(sleep 0.05; echo late) & exit" },
      { stdio_grace = math.maxinteger })
    assert.equal("late\n", late.stdout)
  end)

  it("D52: ends at the timeout by kill_signal, and by SIGKILL what "
    .. "ignores it", function()
    local result = spawn_sync("sleep", { "1000" }, { timeout = 20 })
    assert.same({ "ETIMEDOUT", "SIGTERM" },
      { result.error.code, result.signal })
    local usr = spawn_sync("sleep", { "1000" },
      { timeout = 20, kill_signal = "SIGUSR1" })
    assert.equal("SIGUSR1", usr.signal)
    local stubborn = spawn_sync("sh",
      { "-c", "trap '' TERM; while :; do sleep 0.01; done" }, { timeout = 50 })
    assert.same({ "ETIMEDOUT", "SIGKILL" },
      { stubborn.error.code, stubborn.signal })
    assert.is_nil(spawn_sync("true", {}, { timeout = 100000 }).error)
  end)

  it("D53: cuts at max_buffer, to the byte, and keeps what came", function()
    local result = spawn_sync("yes", {}, { max_buffer = 10 })

    assert.same({ 10, "ENOBUFS" }, { #result.stdout, result.error.code })
    assert.is_nil(spawn_sync("printf", { "12345" }, { max_buffer = 5 }).error)
    assert.equal(3000000, #spawn_sync("head", { "-c", "3000000", "/dev/zero" },
      { max_buffer = math.huge }).stdout)
  end)

  it("reads extra fds, and honours stdio", function()
    local result = spawn_sync("sh", { "-c", "echo three >&3; echo out" },
      { stdio = { "ignore", "ignore", "inherit", "pipe" } })

    assert.equal("three\n", result.output[3])
    assert.is_nil(result.stdout)
  end)

  it("does not wait for a grandchild that keeps the output open", function()
    local result = spawn_sync("sh", { "-c", "sleep 1000 & echo $!" },
      { stdio_grace = 10 })
    orrery.process.kill(tonumber(result.stdout), "SIGKILL")

    assert.equal(0, result.status)
  end)

  it("loses no exit of a child of the loop", function()
    local exited
    orrery.spawn("true", {}, { stdio = "ignore" }):on("exit", function(code)
      exited = code
    end)
    for _ = 1, 5 do assert.equal(0, spawn_sync("true").status) end
    helper.run(function() helper.eventually(function() return exited end) end)

    assert.equal(0, exited)
  end)

  it("works where waiting is forbidden: in a listener, a sort, a "
    .. "coroutine", function()
    local text
    table.sort({ 1, 2 }, function() text = exec_sync("echo sorted") end)
    assert.equal("sorted\n", text)
    assert.equal("hi\n",
      coroutine.wrap(function() return exec_sync("echo hi") end)())
  end)
end)

describe("exec_sync and exec_file_sync #spawn", function()
  it("D54: give stdout, or nil and the result as an error", function()
    assert.equal("hi\n", exec_sync("echo hi"))
    assert.equal("$HOME\n", exec_file_sync("echo", { "$HOME" }))
    local none, err = exec_file_sync("sh", { "-c", "echo out; exit 4" })
    assert.is_nil(none)
    assert.same({ 4, 4, "out\n", "sh -c echo out; exit 4" },
      { err.code, err.status, err.stdout, err.cmd })
    local _, missing = exec_sync("true", { shell = "/no/such/shell" })
    assert.equal("ENOENT", missing.code)
    local _, late = exec_sync("sleep 100", { timeout = 10 })
    assert.equal("ETIMEDOUT", late.code)
  end)

  it("D55: take a shell as an option", function()
    assert.equal("/bin/sh\n", exec_file_sync("echo $0", {}, { shell = true }))
    assert.equal("a;b\n", exec_file_sync("echo", { "a;b" }, { shell = true }))
    assert.equal(127,
      spawn_sync("no-such-command", {}, { shell = true }).status)
  end)
end)

describe("a deadline of the sync family #spawn", function()
  it("fault A11: is not kept by a program that has ended in time", function()
    local poll, held = core.poll, false
    core.poll = function(...)
      local from = clock.now()
      while not held do
        held = clock.now() > from + 100
        for _, state in pairs(helper.children()) do
          held = held and state == "Z"
        end
      end
      return poll(...)
    end
    local result = spawn_sync("true", {}, { timeout = 100 })
    core.poll = poll

    assert.is_nil(result.error)
    assert.equal(0, result.status)
  end)
end)
