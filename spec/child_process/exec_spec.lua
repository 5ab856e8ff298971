local helper = require "spec.helper"
local orrery = require "orrery"
local task = require "orrery.task"

local exec, exec_file, run = orrery.exec, orrery.exec_file, helper.run

--- Calls fn(…, cb) and waits for what the callback gets.
local function result_of(fn, ...)
  local got, child
  local args = table.pack(...)
  args[args.n + 1] = function(...)
    assert.is_nil(got)
    got = table.pack(...)
  end
  child = fn(table.unpack(args, 1, args.n + 1))
  helper.eventually(function() return got end, 15000)
  task.sleep(0)
  return got[1], got[2], got[3], child
end

describe("exec_file #spawn", function()
  it("C40: reports an exit code with the command and its stderr", function()
    run(function()
      local err, stdout, stderr = result_of(exec_file, "sh",
        { "-c", "echo out; echo err >&2; exit 42" })

      assert.equal(
        "Command failed: sh -c echo out; echo err >&2; exit 42\nerr\n",
        err.message)
      assert.same({ 42, false, "out\n", "err\n" },
        { err.code, err.killed, err.stdout, err.stderr })
      assert.is_nil(err.signal)
      assert.same({ "out\n", "err\n" }, { stdout, stderr })
    end)
  end)

  it("C40: takes a shell as an option, and arguments in all orders", function()
    run(function()
      local _, text = result_of(exec_file, "echo $0", {}, { shell = true })
      assert.equal("/bin/sh\n", text)
      assert.is_nil((result_of(exec_file, "true")))
      assert.is_nil((result_of(exec_file, "true", {})))
      assert.is_nil((result_of(exec_file, "true", nil, {})))
      assert.is_nil((result_of(exec_file, { "true" })))
      for _, args in ipairs { { 5 }, { "true", 5 }, { "true", {}, 5 },
        { "true", {}, {}, 5 }, { "true", {}, { max_buffer = -1 } },
        { "true", print, {} }, { "true", {}, print, {} } } do
        local ok, why = pcall(function()
          local child = exec_file(table.unpack(args, 1, 4))
          return child
        end)
        assert.is_false(ok)
        assert.matches("^spec/child_process/exec_spec.lua:%d+: exec_file: ",
          why)
      end
    end)
  end)

  it("C41: reports a file that is missing; exec says 127 for "
    .. "a command", function()
    run(function()
      local err, out, errout, child = result_of(exec_file, "does-not-exist",
        { "x" })
      assert.same({ "ENOENT", "does-not-exist x", "", "" },
        { err.code, err.cmd, out, errout })
      assert.is_nil(child.pid)
      assert.is_false(err.killed)
      local shell, _, _, running = result_of(exec, "does-not-exist")
      assert.equal(127, shell.code)
      assert.equal("integer", math.type(running.pid))
    end)
  end)
end)

describe("exec #spawn", function()
  it("C42: gives bytes as they are", function()
    run(function()
      local err, text = result_of(exec, "printf 'a\\377\\000b'")

      assert.is_nil(err)
      assert.equal("a\255\0b", text)
    end)
  end)

  it("C43: cuts at max_buffer, to the byte, each stream by itself", function()
    run(function()
      local err, text = result_of(exec, "echo hello world", { max_buffer = 5 })
      assert.equal("hello", text)
      assert.equal("ERR_CHILD_PROCESS_STDIO_MAXBUFFER", err.code)
      assert.equal("stdout maxBuffer length exceeded", err.message)
      assert.is_nil((result_of(exec, "printf hello; printf hello >&2",
        { max_buffer = 5 })))
      local second = result_of(exec, "echo hello >&2", { max_buffer = 5 })
      assert.equal("stderr maxBuffer length exceeded", second.message)
      local MIB = 1024 * 1024
      assert.is_nil((result_of(exec, "head -c " .. MIB .. " /dev/zero")))
      local over, cut = result_of(exec, "head -c " .. MIB + 1 .. " /dev/zero")
      assert.is_table(over)
      assert.equal(MIB, #cut)
      local none, all = result_of(exec, "head -c " .. 2 * MIB .. " /dev/zero",
        { max_buffer = math.huge })
      assert.is_nil(none)
      assert.equal(2 * MIB, #all)
    end)
  end)

  it("C44: ends at the timeout by kill_signal, and not before "
    .. "its time", function()
    run(function()
      local err = result_of(exec_file, "sleep", { "100" }, { timeout = 10 })
      assert.same({ true, "SIGTERM", "sleep 100" },
        { err.killed, err.signal, err.cmd })
      assert.is_nil(err.code)
      local killed = result_of(exec_file, "sleep", { "100" },
        { timeout = 10, kill_signal = "SIGKILL" })
      assert.equal("SIGKILL", killed.signal)
      assert.is_nil((result_of(exec, "true", { timeout = 100000 })))
    end)
  end)

  it("C44: ends a child that ignores SIGTERM by SIGKILL, once", function()
    run(function()
      local capture = require "orrery.child_process.capture"
      local child = orrery.spawn("sh",
        { "-c", "trap '' TERM; echo; while :; do sleep 0.01; done" },
        { stdio = { "ignore", "pipe", "inherit" } })
      child.stdout:read()
      local capturing = capture.start(child, { timeout = 10 }, 1000)
      capturing.grace_ = 20
      local code, signal = capturing:await()

      assert.same({ 137, "SIGKILL", true }, { code, signal, capturing.forced })
    end)
  end)

  it("C45: calls back once where the child was killed by "
    .. "somebody else", function()
    run(function()
      local err = result_of(exec, "kill -9 $$")

      assert.same({ "SIGKILL", false }, { err.signal, err.killed })
      assert.is_nil(err.code)
    end)
  end)

  it("C46: works where the streams are destroyed or were "
    .. "never there", function()
    run(function()
      local got
      local child = exec("echo x; sleep 0.02",
        function(...) got = table.pack(...) end)
      child.stdout:destroy()
      child.stderr:destroy()
      helper.eventually(function() return got end)
      assert.same({ "", "" }, { got[2], got[3] })
      local err, out = result_of(exec, "true", { stdio = "ignore" })
      assert.is_nil(err)
      assert.equal("", out)
    end)
  end)

  it("C47: honours cwd and env", function()
    run(function()
      assert.equal("/\n", select(2, result_of(exec, "pwd", { cwd = "/" })))
      assert.equal("bar\n", select(2, result_of(exec, "echo $FOO",
        { env_extend = { FOO = "bar" } })))
      local err = result_of(exec, "pwd", { cwd = "/does/not/exist" })
      assert.same({ "ENOENT", "chdir" }, { err.code, err.stage })
    end)
  end)

  it("C48: is run for tasks: a result with the output, and the "
    .. "child's end", function()
    run(function()
      local result = orrery.sh("echo 42; exit 3")

      assert.same({ "42\n", 3 }, { result.stdout, result.code })
    end)
  end)

  it("C49: is ended by its scope", function()
    run(function()
      local owner = task.go(task.sleep, 100000)
      local err
      exec("sleep 100", { scope = owner }, function(e) err = e end)
      task.sleep(1)
      owner:cancel()
      helper.eventually(function() return err end)

      assert.equal("SIGTERM", err.signal)
    end)
  end)

  it("has a stdin to write to, and a child in a task too", function()
    run(function()
      local text
      local child = exec("cat", function(_, out) text = out end)
      child.stdin:finish("through")
      helper.eventually(function() return text end)

      assert.equal("through", text)
    end)
  end)

  it("shares its output with who listens, from then on", function()
    run(function()
      local done, late
      local command = "echo one; echo ready >&2; read x; echo two"
      local child = exec(command, function(err, out)
        done = { err, out }
      end)
      assert.equal("ready\n", child.stderr:wait_for("data"))
      child.stdout:on("data", function(chunk) late = (late or "") .. chunk end)
      child.stdin:write("\n")
      helper.await_close(child)

      assert.matches("two\n$", late)
      helper.eventually(function() return done end)
      assert.same({ nil, "one\ntwo\n" }, done)
    end)
  end)

  it("gives its output to another child, who expects it to block", function()
    run(function()
      local done
      local first = exec("echo one; read x; echo two",
        function() done = true end)
      local second = orrery.spawn("sh", { "-c", "read a; echo $a >&2; cat" },
        { stdio = { first.stdout, "pipe", "pipe" } })
      assert.equal("one\n", second.stderr:read())
      first.stdin:write("go on\n")

      assert.equal("two\n", second.stdout:read_all())
      assert.equal(0, second:wait())
      first.stdout:resume()
      helper.await_close(first)
      helper.eventually(function() return done end)
    end)
  end)

  it("has streams that are over where they are asked for afterwards", function()
    run(function()
      local _, stdout, _, child = result_of(exec, "echo out")

      assert.equal("out\n", stdout)
      assert.is_true(child.stdout.closed and child.stderr.closed
        and child.stdin.closed)
      assert.is_nil(child.stdout:read())
      assert.is_false(child.stdin:write("late"))
    end)
  end)

  it("ours does better 6: does not wait for a grandchild that keeps stdout "
    .. "open", function()
    run(function()
      local err, pid = result_of(exec, "sleep 1000 & echo $!",
        { stdio_grace = 10 })
      orrery.process.kill(tonumber(pid), "SIGKILL")

      assert.is_nil(err)
    end)
  end)

  it("raises for what comes after the callback", function()
    run(function()
      for _, args in ipairs { { "true", print, { timeout = 1 } },
        { "true", {}, print, "x" }, { "true", print, print } } do
        local ok, why = pcall(function()
          local child = exec(table.unpack(args))
          return child
        end)
        assert.is_false(ok)
        assert.matches(
          "exec_spec.lua:%d+: exec: nothing may follow the callback",
          why)
      end
    end)
  end)

  it("loses no output where a handler holds the loop up, and reaps", function()
    run(function()
      local _ <close> = task.every(10, function()
        orrery.spawn_sync("sleep", { "0.1" })
      end)
      local got = {}
      for i = 1, 6 do
        exec(("sleep 0.0%d; echo hi"):format(2 * i), { stdio_grace = 50 },
          function(err, out) got[#got + 1] = err or out end)
      end
      helper.eventually(function() return #got == 6 end, 15000)

      assert.equal(("hi\n"):rep(6), table.concat(got))
    end)
  end)

  it("does not count time in which the loop was held up as grace", function()
    run(function()
      local path, out = helper.tmpname(), nil
      os.remove(path)
      local child = exec(
        ("(until [ -e %s ]; do sleep 0.01; done; echo late) &"):format(path),
        { stdio_grace = 400 }, function(_, text) out = text end)
      child:wait()
      task.sleep(1)
      orrery.spawn_sync("sleep", { "0.5" })
      io.open(path, "w"):close()
      helper.eventually(function() return out end)

      assert.equal("late\n", out)
      os.remove(path)
    end)
  end)

  it("calls back where the child's own error listeners raise, or go", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        orrery.process.on("uncaught_exception",
          function(e) print("uncaught", e) end)
        local function show(err) print("called back", err.code) end
        orrery.exec_file("/no/such", show):on("error",
          function() error("mine", 0) end)
        orrery.exec_file("/no/such", show):remove_all("error")
        orrery.exec_file("/no/such", show):prepend("error",
          function() error("first", 0) end)
        require "luv".run()]])

      local lines = {}
      for line in result.stdout:gmatch("[^\n]+") do lines[#lines + 1] = line end
      table.sort(lines)
      assert.same({ "called back\tENOENT", "called back\tENOENT",
        "called back\tENOENT",
        "uncaught\tfirst", "uncaught\tmine" }, lines)
    end)
  end)

  it("makes an error in a callback an uncaught exception", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        orrery.process.on("uncaught_exception",
          function(e) print("caught", e) end)
        orrery.exec("true", function() error("in the callback", 0) end)
        require "luv".run()]])

      assert.equal("caught\tin the callback\n", result.stdout)
    end)
  end)
end)
