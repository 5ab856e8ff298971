local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local process, run = orrery.process, helper.run

--- Runs a script by the CLI and returns its result.
local function script(code, opts)
  return helper.cli({ "-e", 'local orrery = require "orrery" '
    .. "local process = orrery.process " .. code }, opts)
end

--- Runs a program that prints "ready" and then gets a signal.
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

describe("process", function()
  it("says who and where we are", function()
    assert.equal(uv.os_getpid(), process.pid)
    assert.equal(uv.os_getppid(), process.ppid)
    assert.equal("linux", process.platform)
    assert.is_string(process.arch)
    assert.matches("^v%d", process.version)
    assert.equal("5.4", process.versions.lua)
    assert.matches("lua", process.exec_path)
    assert.is_true(process.uptime() >= 0)
    assert.equal(uv.cwd(), process.cwd())
    assert.equal(uv.cwd(), process:cwd())
  end)

  it("gives a script its arguments and its folder", function()
    run(function()
      local path = helper.tmpname()
      local file = io.open(path, "w")
      file:write([[local p = require "orrery".process
        print(#p.argv, p.argv[0], p.argv[1], p.argv[2], p.script_dir, ...)]])
      file:close()
      local result = helper.cli { path, "a", "b c" }
      os.remove(path)

      local dir = path:match("^(.*)/")
      assert.equal(("2\t%s\ta\tb c\t%s\ta\tb c\n"):format(path, dir), result.stdout)
    end)
  end)

  it("measures time", function()
    local before = process.hrtime()
    local passed = process.hrtime(before)

    assert.equal("integer", math.type(before[1]))
    assert.is_true(passed[1] == 0 and passed[2] >= 0 and passed[2] < 1e9)
    assert.equal("integer", math.type(process.hrtime_ns()))
    assert.is_false((pcall(process.hrtime, 5)))
    assert.is_false((pcall(process.hrtime, { "x" })))
  end)

  it("raises at the caller's line, by dot and by colon", function()
    for _, call in ipairs {
      function() process.kill("x") end, function() process:kill("x") end,
      function() process.chdir(5) end, function() process.next_tick(5) end,
      function() process.hrtime(5) end, function() process.exit("x") end,
      function() process.stdout:write(5) end, function() process.stdout:finish(5) end,
      function() process.stdout:write_wait(5) end,
      function() process.on("SIGKILL", print) end,
    } do
      local ok, err = pcall(function()
        call()
        return 1
      end)
      assert.is_false(ok)
      assert.matches("^spec/process_spec.lua:%d+: ", err)
    end
  end)

  it("tells its memory in bytes", function()
    local usage = process.memory_usage()

    for _, name in ipairs { "rss", "heap_total", "heap_used", "external" } do
      assert.equal("integer", math.type(usage[name]), name)
    end
    assert.is_true(usage.rss > 1000000 and usage.heap_used > 10000)
    run(function() -- a sanitizer's malloc tells nothing
      local result = helper.cli({ "-e", [[
        local usage = require "orrery".process.memory_usage()
        print(usage.heap_total >= usage.heap_used, usage.heap_used < 1500000)]] },
        { env_extend = { LD_PRELOAD = false } })
      assert.equal("true\ttrue\n", result.stdout) -- without the ballast
    end)
  end)

  it("changes directory, or says why not", function()
    local here = process.cwd()
    assert.is_true(process.chdir("/"))
    assert.equal("/", process.cwd())
    process.chdir(here)
    local ok, err = process.chdir("/does/not/exist")

    assert.is_nil(ok)
    assert.equal("ENOENT", err.code)
    assert.equal("chdir", err.syscall)
    assert.is_false((pcall(process.chdir, 5)))
  end)

  it("env is live, lists all, and refuses bad names", function()
    process.env.ORRERY_A = "1"
    assert.equal("1", os.getenv("ORRERY_A"))
    assert.equal("1", process.env.ORRERY_A)
    process.env.ORRERY_A = 2
    local seen = {}
    for name, value in pairs(process.env) do seen[name] = value end
    assert.equal("2", seen.ORRERY_A)
    process.env.ORRERY_A = nil
    assert.is_nil(process.env.ORRERY_A)
    for _, bad in ipairs { "a=b", "", "a\0" } do
      assert.is_false((pcall(function() process.env[bad] = "x" end)))
    end
    assert.is_false((pcall(function() process.env.A = "x\0" end)))
  end)

  it("next_tick runs in order, before events, and loses none after an error", function()
    run(function()
      local result = script [[
        process.on("uncaught_exception", function(e) print("caught", e) end)
        local uv = require "luv"
        local t = uv.new_timer()
        t:start(0, 0, function() print "timer" t:close() end)
        process.next_tick(function(...) print("first", ...) end, 1, nil, 3)
        process.next_tick(function()
          process.next_tick(print, "nested")
          error("tick", 0)
        end)
        process.next_tick(print, "last")]]

      assert.equal("first\t1\tnil\t3\ncaught\ttick\nlast\nnested\ntimer\n", result.stdout)
    end)
  end)
end)

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
        process.once("sigusr2", function(...) print("two", ...) process.exit(4) end)]])

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
        process.on("exit", function() dispose() process.remove_all("SIGTERM") end)]])

      assert.equal("new\n", text)
      assert.equal(3, code)
    end)
  end)

  it("can be waited for, which holds the loop", function()
    run(function()
      local child = orrery.spawn(helper.orrery, { "-e", [[
        local process = require "orrery".process
        require "orrery".after(20, function() process.kill(process.pid, "SIGUSR1") end)
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
    { "process.on('uncaught_exception', function() process.exit_code = 97 end) error('x')",
      97 },
    { "process.on('uncaught_exception', function() error('y') end) error('x')", 7 },
    { "process.exit(256)", 0 },
    { "process.exit(-1)", 255 },
    { "os.exit(true)", 0 },
    { "os.exit(false)", 1 },
    { "os.exit(5)", 5 },
    { "orrery.go(function() process.exit(8) end) orrery.sleep(100000)", 8 },
  }
  for _, case in ipairs(cases) do
    it(("gives %d for: %s"):format(case[2], case[1]), function()
      run(function() assert.equal(case[2], script(case[1]).code) end)
    end)
  end

  it("emits exit once, last, without ticks after it", function()
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
          if left > 0 then orrery.after(1, function() print("work", left) end) end
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
        io.write("a") process.stdout:write("b") print("c") process.stdout:write("d")
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

  it("tells the monitor first", function()
    run(function()
      local result = script [[
        process.on("uncaught_exception_monitor", function(e, o) print("monitor", e, o) end)
        process.on("uncaught_exception", function(e, o) print("handler", e, o) end)
        error("x", 0)]]

      assert.equal("monitor\tx\ttask\nhandler\tx\ttask\n", result.stdout)
      assert.equal(1, script('process.on("uncaught_exception_monitor", print) error("x")').code)
    end)
  end)
end)

describe("stdout", function()
  it("is synchronous and leaves the flags of its file alone", function()
    run(function()
      local child = orrery.spawn(helper.orrery, { "-e", [[
        local process = require "orrery".process
        for i = 1, 300 do
          io.write(("x"):rep(500))
          process.stdout:write(("y"):rep(500))
        end
        local f = io.open("/proc/self/fdinfo/1"):read("a"):match("flags:%s+(%d+)")
        process.stderr:write(tostring(tonumber(f, 8) & tonumber("4000", 8)))]] },
        { env_extend = helper.env() })
      local text = child.stdout:read_all()
      local flags = child.stderr:read_all()
      child:wait()

      assert.equal(300000, #text)
      assert.equal("0", flags)
    end)
  end)

  it("waits where somebody made it non-blocking", function()
    run(function()
      local reading, writing = orrery.core.pipe()
      local pipe = uv.new_pipe(false)
      pipe:open(writing:take()) -- luv sets O_NONBLOCK
      local child = orrery.spawn(helper.orrery, { "-e",
        'require "orrery".process.stdout:write(("x"):rep(1000000))' },
        { env_extend = helper.env(), stdio = { "ignore", pipe, "inherit" } })
      pipe:close()
      local reader = require "orrery.stream".new(reading, "pipe", "r")

      assert.equal(1000000, #reader:read_all())
      assert.equal(0, child:wait())
    end)
  end)
end)
