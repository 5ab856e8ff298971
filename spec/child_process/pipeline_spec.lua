local helper = require "spec.helper"
local orrery = require "orrery"
local task = require "orrery.task"

local pipeline, run = orrery.pipeline, helper.run

describe("pipeline #spawn", function()
  it("joins programs, and gives the last one's output and "
    .. "all results", function()
    run(function()
      local result = pipeline {
        { "printf", "b\\na\\nb\\n" }, { "sort" }, { "uniq", "-c" },
        max_buffer = 1000,
      }

      assert.is_true(result.ok)
      assert.matches("^%s*1 a\n%s*2 b\n$", result.stdout)
      assert.equal(3, #result.stages)
      assert.equal("printf b\\na\\nb\\n | sort | uniq -c", result.command)
    end)
  end)

  it("takes stdin as a string, a file, a stream or nothing", function()
    run(function()
      assert.equal("3000000\n", pipeline { { "cat" }, { "wc", "-c" },
        stdin = ("x"):rep(3000000) }.stdout)
      assert.matches("^MIT", pipeline { { "cat" }, { "head", "-1" },
        stdin = { file = "LICENSE" } }.stdout)
      local child = orrery.spawn("echo", { "streamed" })
      assert.equal("streamed\n",
        pipeline { { "cat" }, { "cat" }, stdin = child.stdout }.stdout)
      child:wait()
      for _, stream in pairs(child.stdio) do stream:destroy() end
      assert.equal("0\n", pipeline { { "cat" }, { "wc", "-c" } }.stdout)
    end)
  end)

  it("is ok only when all stages are, but forgives an earlier "
    .. "one's SIGPIPE", function()
    run(function()
      local first = pipeline { { "false" }, { "cat" } }
      local last = pipeline { { "echo" }, { "sh", "-c", "cat; exit 3" } }
      local broken = pipeline { { "yes" }, { "head", "-1" } }

      assert.is_false(first.ok)
      assert.same({ false, 3 }, { last.ok, last.code })
      assert.same({ true, "y\n", "SIGPIPE" },
        { broken.ok, broken.stdout, broken.stages[1].signal })
    end)
  end)

  it("moves much data, none of it through here", function()
    run(function()
      local result = pipeline {
        { "head", "-c", "200000000", "/dev/zero" }, { "cat" }, { "wc", "-c" },
      }

      assert.equal("200000000\n", result.stdout)
    end)
  end)

  it("gives nil, err where a stage cannot start, and stops "
    .. "the others", function()
    run(function()
      local result, err = pipeline { { "sleep", "1000" }, { "no-such-program" },
        { "cat" } }

      assert.is_nil(result)
      assert.equal("ENOENT", err.code)
      assert.same({}, helper.children())
    end)
  end)

  it("ends by its timeout, and with its task", function()
    run(function()
      local result = pipeline { { "sleep", "1000" }, { "cat" }, timeout = 10 }
      assert.same({ false, true }, { result.ok, result.timed_out })
      local t = task.go(pipeline, { { "sleep", "1000" }, { "sleep", "1000" } })
      task.sleep(1)
      t:cancel()
      t:join()
      assert.same({}, helper.children())
    end)
  end)

  it("gathers the stderr of all", function()
    run(function()
      local result = pipeline { { "sh", "-c", "echo 1 >&2" },
        { "sh", "-c", "echo 2 >&2" } }

      assert.equal("1\n2\n", result.stderr)
    end)
  end)

  it("tells of the whole what is true of a stage", function()
    run(function()
      local cut = pipeline { { "sh", "-c", "yes >&2" }, { "cat" },
        max_buffer = 10 }
      local held = pipeline { { "sh", "-c", "sleep 1000 >&- & echo $!" },
        { "cat" },
        stdio_grace = 10 }
      orrery.process.kill(tonumber(held.stdout), "SIGKILL")

      assert.same({ false, true, true, false, 0 },
        { cut.ok, cut.truncated, cut.killed, cut.forced, cut.code })
      assert.same({ true, true, false, false },
        { held.ok, held.stdio_incomplete, held.killed, held.truncated })
    end)
  end)

  it("fault E1: raises by check if a stage fails, or cannot start", function()
    run(function()
      local _, lost = pcall(pipeline, { { "true" }, { "nosuch" },
        check = true })
      local _, failed = pcall(pipeline,
        { { "sh", "-c", "echo why >&2; exit 3" }, { "cat" }, check = true })

      assert.same({ "ENOENT", "nosuch" }, { lost.code, lost.path })
      assert.matches("^sh %-c .*: exit code 3\nwhy\n$", tostring(failed))
      assert.equal(2, #failed.result.stages)
      assert.is_true(pipeline { { "true" }, check = true }.ok)
    end)
  end)

  it("names the stage that is missing, and the option that is wrong", function()
    run(function()
      for what, bad in pairs {
        ["stage 2 must be"] = { { "printf", "a" }, nil, { "wc", "-c" } },
        ["stage 1 must be"] = { nil, { "wc", "-c" } },
        ["option 'stdin' must be"] = { { "cat" }, stdin = true },
        ["option 'stdin' must be a string"] = { { "cat" },
          stdin = { file = 5 } },
        ["unknown option \"stdio\""] = { { "cat" }, stdio = "pipe" },
        ["unknown option 0"] = { { "cat" }, [0] = { "cat" } },
      } do
        local ok, err = pcall(function()
          local result = pipeline(bad)
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/child_process/pipeline_spec.lua:%d+: pipeline: "
          .. what, err)
      end
    end)
  end)

  it("raises for what is no pipeline, at the caller's line", function()
    run(function()
      for _, bad in ipairs { 5, {}, { "ls" }, { { 5 } },
        { { "ls" }, tiemout = 1 } } do
        local ok, err = pcall(function()
          local result = pipeline(bad)
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/child_process/pipeline_spec.lua:%d+: pipeline: ",
          err)
      end
    end)
  end)
end)
