local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local process, run, script = orrery.process, helper.run, helper.script

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
      assert.equal(("2\t%s\ta\tb c\t%s\ta\tb c\n"):format(path, dir),
        result.stdout)
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
      function() process.stdout:write(5) end,
      function() process.stdout:finish(5) end,
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
        print(usage.heap_total >= usage.heap_used,
          usage.heap_used < 1500000)]] },
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

  it("next_tick runs in order, before events, and loses none after "
    .. "an error", function()
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

      assert.equal("first\t1\tnil\t3\ncaught\ttick\nlast\nnested\ntimer\n",
        result.stdout)
    end)
  end)
end)
