local helper = require "spec.helper"
local orrery = require "orrery"
local scheduler = require "orrery.runtime.scheduler"

local run, sh, in_task = orrery.run, orrery.sh, helper.run

-- Ignores SIGTERM, and says so by a line in a file.
local STUBBORN = "trap '' TERM; echo >>%s; exec sleep 1000"

local function line_count(path)
  local count = 0
  for _ in io.lines(path) do count = count + 1 end
  return count
end

describe("run #spawn", function()
  it("ours does better 26: waits, and collects both streams of a program",
    function()
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
      for _, name in ipairs { "timed_out", "killed", "forced",
        "stdio_incomplete",
        "truncated" } do
        assert.is_false(result[name])
      end
    end)
  end)

  it("collects from sockets, from one stream alone, and none", function()
    in_task(function()
      local words = { "sh", "-c", "echo out; echo err >&2" }
      local function both(stdio)
        local result = orrery.run(words, { stdio = stdio })
        return { result.stdout, result.stderr, result.stdio_incomplete }
      end

      assert.same({ "out\n", "err\n", false },
        both { "ignore", "socket", "socket" })
      assert.same({ "", "err\n", false }, both { "ignore", "ignore", "pipe" })
      assert.same({ "out\nerr\n", "", false },
        both { "ignore", "pipe", "stdout" })
      assert.same({ "", "", false }, both "ignore")
    end)
  end)

  it("takes a list, and tells a signal as 128+n and its name", function()
    in_task(function()
      local result = run { "sh", "-c", "kill -USR1 $$" }

      assert.same({ false, 138, "SIGUSR1" },
        { result.ok, result.code, result.signal })
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

  it("has stdin at its end also where stdio asks for a pipe", function()
    in_task(function()
      for _, stdin in ipairs { "pipe", "socket", false } do
        local result = run("cat", {}, { stdio = { stdin, "pipe", "inherit" } })
        assert.same({ true, "" }, { result.ok, result.stdout })
      end
      local given = run("cat", {}, { stdio = { "socket" }, input = "in" })
      assert.equal("in", given.stdout)
    end)
  end)

  it("raises for input that has no pipe to go through", function()
    in_task(function()
      for _, stdin in ipairs { "ignore", "inherit", { file = "/dev/null" },
        0 } do
        for name, fn in pairs { run = run, sh = sh } do
          local ok, err = pcall(function()
            local opts = { input = "x", stdio = { stdin, "pipe", "pipe" } }
            local result = name == "run" and fn("cat", {}, opts)
              or fn("cat", opts)
            return result
          end)
          assert.is_false(ok)
          assert.matches("run_spec.lua:%d+: " .. name .. ": option 'input'",
            err)
        end
      end
    end)
  end)

  it("stops at the timeout, and says so", function()
    in_task(function()
      local result = run("sleep", { "1000" }, { timeout = 20 })

      assert.same({ true, true, false, 143, "SIGTERM", false },
        { result.timed_out,
        result.killed, result.forced, result.code, result.signal, result.ok })
    end)
  end)

  it("does not wait for a grandchild that holds the output", function()
    in_task(function()
      local result = sh("echo early; sleep 1000 & echo $! >&2",
        { stdio_grace = 20 })
      orrery.process.kill(tonumber(result.stderr), "SIGKILL")

      assert.is_true(result.stdio_incomplete)
      assert.is_true(result.ok)
      assert.equal("early\n", result.stdout)
    end)
  end)

  it("does not call it timed out where the time passes after "
    .. "the exit", function()
    in_task(function()
      local result = sh("sleep 1000 & echo $!",
        { timeout = 500, stdio_grace = 900 })
      orrery.process.kill(tonumber(result.stdout), "SIGKILL")

      assert.same({ true, true, false, false },
        { result.ok, result.stdio_incomplete, result.timed_out, result.killed })
    end)
  end)

  it("calls complete output complete, also without any grace", function()
    in_task(function()
      local code = [[
        local orrery = require "orrery"
        for _ = 1, 100 do
          local result = orrery.run("head", {"-c", "200000", "/dev/zero"},
            {stdio_grace = 0})
          if result.stdio_incomplete or #result.stdout ~= 200000 then
            print(#result.stdout, result.stdio_incomplete)
          end
        end]]

      assert.equal("", helper.cli({ "-e", code }).stdout)
      assert.equal("", helper.lua(code).stdout)
    end, 60000)
  end)

  it("loses nothing of many that end together, however short "
    .. "the grace", function()
    in_task(function()
      local tasks, got = {}, 0
      for i = 1, 200 do
        tasks[i] = function()
          local result = run("echo", { "x" }, { stdio_grace = 0 })
          if result.stdout == "x\n" and not result.stdio_incomplete then
            got = got + 1
          end
        end
      end
      orrery.all(tasks)

      assert.equal(200, got)
    end)
  end)

  it("cuts output at max_buffer, exactly, and stops the child", function()
    in_task(function()
      local cut = sh("yes", { max_buffer = 12345 })
      local whole = sh("printf 12345", { max_buffer = 5 })

      assert.same({ 12345, true, false, true },
        { #cut.stdout, cut.truncated, cut.ok, cut.killed })
      assert.same({ "12345", false, true },
        { whole.stdout, whole.truncated, whole.ok })
    end)
  end)

  it("never calls cut output a success", function()
    in_task(function()
      for _ = 1, 50 do
        local result = run("head", { "-c", "100000", "/dev/zero" },
          { max_buffer = 10 })
        assert.same({ 10, true, false },
          { #result.stdout, result.truncated, result.ok })
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

  it("takes a child that ignores SIGTERM along as well, with its "
    .. "pipeline", function()
    in_task(function()
      local path = helper.tmpname()
      local command = STUBBORN:format(path)
      local tasks = {
        scheduler.go(run, "sh", { "-c", command }), scheduler.go(sh, command),
        scheduler.go(orrery.pipeline,
          { { "sh", "-c", command }, { "sh", "-c", command } }),
      }
      helper.eventually(function() return line_count(path) == 4 end)
      for _, t in ipairs(tasks) do t:cancel() end
      for _, t in ipairs(tasks) do t:join() end

      assert.same({}, helper.children())
      os.remove(path)
    end)
  end)

  it("raises for bad arguments at the caller's line", function()
    in_task(function()
      for _, args in ipairs {
        { 5 }, { "x", 5 }, { "x", {}, { timeout = -1 } },
        { "x", {}, { tiemout = 1 } },
        { "x", {}, { max_buffer = -1 } },
      } do
        local ok, err = pcall(function()
          local result = run(args[1], args[2], args[3])
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/child_process/run_spec.lua:%d+: run: ", err)
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
      assert.equal(3000000,
        #run("cat", {}, { input = ("x"):rep(3000000) }).stdout)
      assert.is_true(run("true", {}, { input = ("x"):rep(300000) }).ok)
    end)
  end)

  it("hands out a last line that has no end", function()
    in_task(function()
      local lines = {}
      sh("printf 'a\\nb'",
        { on_stdout = function(line) lines[#lines + 1] = line end })
      assert.same({ "a", "b" }, lines)
    end)
  end)

  it("raises the first error of on_stdout, when the child is reaped", function()
    in_task(function()
      local calls, mine = 0, { "mine" }
      local function refuse()
        calls = calls + 1
        error(mine)
      end
      for _, command in ipairs { "echo 1; echo 2; echo 3 >&2; exec sleep 1000",
        "echo 1; echo 2", "printf 1", "printf 1 >&2",
        "printf 1; printf 2 >&2" } do
        calls = 0
        local ok, err = pcall(sh, command,
          { on_stdout = refuse, on_stderr = refuse })
        assert.is_false(ok)
        assert.equal(mine, err)
        assert.equal(1, calls)
        assert.same({}, helper.children())
      end
    end)
  end)

  it("is cancelled whatever on_stdout raises meanwhile", function()
    in_task(function()
      local ready
      local t = scheduler.go(sh,
        "trap 'printf last; exit' TERM; echo; while :; do sleep 0.01; done",
        { on_stdout = function(line)
          ready = true
          if line == "last" then error("mine") end
        end })
      helper.eventually(function() return ready end)
      t:cancel()
      t:join()

      assert.equal("cancelled", t.status)
    end)
  end)

  it("fault E1: raises by check also if it cannot start", function()
    in_task(function()
      local function code_of(fn, ...)
        local ok, err = pcall(fn, ...)
        assert.is_false(ok)
        return err.code
      end
      local opts = { check = true, cwd = "/no/such/folder" }

      assert.equal("ENOENT", code_of(run, "nosuch", {}, { check = true }))
      assert.equal("ENOENT", code_of(run, "true", {}, opts))
      assert.equal("ENOENT", code_of(sh, "true", opts))
      orrery.scope(function(scope)
        assert.equal("ENOENT", code_of(scope.run, scope, "true", opts))
      end)
    end)
  end)

  it("raises by check unless all went well", function()
    in_task(function()
      assert.is_true(run("true", {}, { check = true }).ok)
      local ok, err = pcall(sh, "echo why >&2; exit 4", { check = true })
      assert.is_false(ok)
      assert.matches("exit code 4\nwhy", tostring(err))
      assert.equal(4, err.result.code)
      local _, slow = pcall(run, "sleep", { "100" },
        { check = true, timeout = 5 })
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

--- What a careless library does to its host, as functions: takes the exit
--- status of any child; ignores SIGCHLD, and undoes that.
local function careless()
  local path = helper.tmpname()
  assert(run("cc", { "-shared", "-fPIC", "-xc", "-", "-o", path }, { input = [[
    #include <signal.h>
    #include <sys/wait.h>
    static struct sigaction old, ignored = {.sa_handler = SIG_IGN};
    int take(void *L) { (void)L; waitpid(-1, 0, 0); return 0; }
    int ignore(void *L) {
      (void)L;
      sigaction(SIGCHLD, &ignored, &old);
      return 0;
    }
    int restore(void *L) { (void)L; sigaction(SIGCHLD, &old, 0); return 0; }]],
    check = true }))
  local take = assert(package.loadlib(path, "take"))
  local ignore = assert(package.loadlib(path, "ignore"))
  local restore = assert(package.loadlib(path, "restore"))
  os.remove(path)
  return take, ignore, restore
end

describe("an exit status that somebody else has taken #spawn", function()
  it("is told by run, sh and pipeline", function()
    in_task(function()
      local take = careless()
      for _, fn in ipairs {
        function() return run("true") end,
        function() return sh("exit 3") end,
        function() return orrery.pipeline { { "true" } } end,
      } do
        local t = scheduler.go(fn)
        scheduler.go(take)
        local result = t:join()

        assert.same({ false, "ECHILD" }, { result.ok, result.error.code })
        assert.same({}, { result.code, result.signal })
      end
    end)
  end)

  it("is a failure for check, and for exec's callback", function()
    in_task(function()
      local take = careless()
      local t = scheduler.go(pcall, run, "true", {}, { check = true })
      scheduler.go(take)
      local ok, err = t:join()
      assert.is_false(ok)
      assert.matches("^true: child %d+: its exit status was taken",
        tostring(err))
      assert.equal("ECHILD", err.result.error.code)

      local why
      orrery.exec("true", function(e) why = e end)
      take()
      helper.eventually(function() return why end)
      assert.equal("ECHILD", why.code)
      assert.is_nil(why.signal)
      assert.matches("^Command failed: true\nchild %d+: its exit status",
        why.message)
    end)
  end)

  it("is told by spawn_sync and exec_sync", function()
    in_task(function()
      local _, ignore, restore = careless()
      ignore()
      local result = orrery.spawn_sync("echo", { "out" })
      local none, err = orrery.exec_sync("true")
      restore()

      assert.same({ "ECHILD", "out\n" }, { result.error.code, result.stdout })
      assert.same({}, { result.status, result.signal })
      assert.is_nil(none)
      assert.equal("ECHILD", err.code)
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
