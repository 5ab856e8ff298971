local helper = require "spec.helper"
local orrery = require "orrery"
local scheduler = require "orrery.scheduler"

local run, sh, in_task = orrery.run, orrery.sh, helper.run

describe("run #spawn", function()
  it("collects both streams of a program", function()
    in_task(function()
      local result = run("sh", { "-c", "echo out; echo err >&2; exit 3" })

      assert.equal("out\n", result.stdout)
      assert.equal("err\n", result.stderr)
      assert.same({ false, 3 }, { result.ok, result.code })
      assert.is_nil(result.signal)
      assert.equal("sh -c echo out; echo err >&2; exit 3", result.command)
      assert.is_true(result.duration > 0)
      assert.equal("integer", math.type(result.pid))
      assert.is_table(result.usage)
      for _, name in ipairs { "timed_out", "killed", "forced", "stdio_incomplete",
        "truncated" } do
        assert.is_false(result[name])
      end
    end)
  end)

  it("takes a list, and tells a signal as 128+n and its name", function()
    in_task(function()
      local result = run { "sh", "-c", "kill -USR1 $$" }

      assert.same({ false, 138, "SIGUSR1" }, { result.ok, result.code, result.signal })
    end)
  end)

  it("gives nil, err where it cannot start, with a hint at sh", function()
    in_task(function()
      local result, err = run("ls -l")
      assert.is_nil(result)
      assert.equal("ENOENT", err.code)
      assert.matches('use sh%("ls %-l"%)', err.message)
      assert.not_matches("use sh", tostring(select(2, run("/no/such"))))
    end)
  end)

  it("has stdin at its end", function()
    in_task(function() assert.equal("", run("cat").stdout) end)
  end)

  it("stops at the timeout, and says so", function()
    in_task(function()
      local result = run("sleep", { "1000" }, { timeout = 20 })

      assert.same({ true, true, false, 143, "SIGTERM", false }, { result.timed_out,
        result.killed, result.forced, result.code, result.signal, result.ok })
    end)
  end)

  it("does not wait for a grandchild that holds the output", function()
    in_task(function()
      local result = sh("echo early; sleep 1000 & echo $! >&2", { stdio_grace = 20 })
      orrery.process.kill(tonumber(result.stderr), "SIGKILL")

      assert.is_true(result.stdio_incomplete)
      assert.is_true(result.ok)
      assert.equal("early\n", result.stdout)
    end)
  end)

  it("cuts output at max_buffer, exactly, and stops the child", function()
    in_task(function()
      local cut = sh("yes", { max_buffer = 12345 })
      local whole = sh("printf 12345", { max_buffer = 5 })

      assert.same({ 12345, true, false, true },
        { #cut.stdout, cut.truncated, cut.ok, cut.killed })
      assert.same({ "12345", false, true }, { whole.stdout, whole.truncated, whole.ok })
    end)
  end)

  it("never calls cut output a success", function()
    in_task(function()
      for _ = 1, 50 do
        local result = run("head", { "-c", "100000", "/dev/zero" }, { max_buffer = 10 })
        assert.same({ 10, true, false }, { #result.stdout, result.truncated, result.ok })
      end
    end)
  end)

  it("takes its child along when it is cancelled", function()
    in_task(function()
      local t = scheduler.go(run, "sleep", { "1000" })
      helper.eventually(function() return next(helper.children()) end)
      t:cancel()
      t:join()

      assert.equal("cancelled", t.status)
      assert.same({}, helper.children())
    end)
  end)

  it("raises for bad arguments at the caller's line", function()
    in_task(function()
      for _, args in ipairs {
        { 5 }, { "x", 5 }, { "x", {}, { timeout = -1 } }, { "x", {}, { tiemout = 1 } },
        { "x", {}, { max_buffer = -1 } },
      } do
        local ok, err = pcall(function()
          local result = run(args[1], args[2], args[3])
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/run_spec.lua:%d+: run: ", err)
      end
    end)
  end)

  it("writes input, trims, and hands out lines as they come", function()
    in_task(function()
      local lines, errs = {}, {}
      local result = run("sh", { "-c", "cat; echo last >&2" }, {
        input = "one\ntwo\n\nthree\n", trim = true,
        on_stdout = function(line) lines[#lines + 1] = line end,
        on_stderr = function(line) errs[#errs + 1] = line end,
      })
      assert.same({ "one", "two", "", "three" }, lines)
      assert.same({ "last" }, errs)
      assert.equal("one\ntwo\n\nthree", result.stdout)
      assert.equal("last", result.stderr)
      assert.equal(3000000, #run("cat", {}, { input = ("x"):rep(3000000) }).stdout)
      assert.is_true(run("true", {}, { input = ("x"):rep(300000) }).ok)
    end)
  end)

  it("hands out a last line that has no end", function()
    in_task(function()
      local lines = {}
      sh("printf 'a\\nb'", { on_stdout = function(line) lines[#lines + 1] = line end })
      assert.same({ "a", "b" }, lines)
    end)
  end)

  it("raises by check unless all went well", function()
    in_task(function()
      assert.is_true(run("true", {}, { check = true }).ok)
      local ok, err = pcall(sh, "echo why >&2; exit 4", { check = true })
      assert.is_false(ok)
      assert.matches("exit code 4\nwhy", tostring(err))
      assert.equal(4, err.result.code)
      local _, slow = pcall(run, "sleep", { "100" }, { check = true, timeout = 5 })
      assert.matches("timed out", tostring(slow))
    end)
  end)

  it("runs many at once", function()
    in_task(function()
      local jobs = {}
      for i = 1, 40 do
        jobs[i] = function() return sh("echo " .. i).stdout end
      end

      local results = orrery.all(jobs)
      for i = 1, 40 do assert.equal(i .. "\n", results[i]) end
    end)
  end)
end)

describe("sh #spawn", function()
  it("runs a command line", function()
    in_task(function()
      assert.equal("2\n", sh("printf 'a\\nb\\n' | wc -l").stdout)
      assert.equal(127, sh("no-such-command").code)
      assert.is_false((pcall(sh, 5)))
    end)
  end)
end)
