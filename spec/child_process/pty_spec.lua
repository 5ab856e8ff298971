local helper = require "spec.helper"
local orrery = require "orrery"

local run, spawn = helper.run, orrery.spawn
local core = orrery.core

--- Starts a command line of sh's on a terminal.
local function on_terminal(line, opts)
  opts = opts or {}
  opts.stdio = opts.stdio or "pty"
  return spawn("sh", { "-c", line }, opts)
end

--- Reads until the text has the pattern. Returns the text. [w]
local function await(pty, pattern)
  local text = ""
  while not text:find(pattern) do
    text = text .. assert(pty:read(nil, 10000), text)
  end
  return text
end

describe("stdio = 'pty' #spawn", function()
  it("ours does better 25: gives a child a terminal that is its own",
    function()
    run(function()
      local child = on_terminal("for fd in 0 1 2; do test -t $fd && echo $fd; "
        .. "done; stty size; echo own >/dev/tty")

      assert.equal("0\r\n1\r\n2\r\n24 80\r\nown\r\n", child.pty:read_all())
      assert.equal(0, child:wait())
    end)
  end)

  it("is one stream, under the names of the fds that it is", function()
    run(function()
      local all = on_terminal("true")
      local some = on_terminal("true", { stdio = { "ignore", "pty", "pipe" } })
      local none = on_terminal("true", { stdio = "pipe" })
      local last = on_terminal("test -t 2",
        { stdio = { "ignore", "ignore", "pty" } })

      assert.is_true(all.pty == all.stdin and all.pty == all.stdout)
      assert.is_nil(all.stderr)
      assert.equal(all.pty, all.stdio[1])
      assert.is_nil(some.stdin)
      assert.equal(some.pty, some.stdout)
      assert.is_true(some.stderr ~= nil and some.stderr ~= some.pty)
      assert.is_nil(none.pty)
      assert.is_true(last.pty ~= nil and last.stderr == nil)
      for _, child in ipairs { all, some, none, last } do
        assert.equal(0, child:wait())
        for _, one in pairs(child.stdio) do one:destroy() end
        if child.pty then child.pty:destroy() end
      end
    end)
  end)

  it("has the size that its entries say", function()
    run(function()
      local size = { pty = true, rows = 50, cols = 132 }
      for _, stdio in ipairs { size, { "pty", size, { pty = true, rows = 50 } },
        { nil, size, "stdout" } } do
        local result = orrery.sh("stty size <&1", { stdio = stdio })
        assert.equal("50 132\r\n", result.stdout, result.stderr)
      end
    end)
  end)

  it("raises for sizes that cannot be, or are not the same", function()
    for message, stdio in pairs {
      ["'rows' must be an integer from 1 to 65535, got number 0"] =
        { pty = true, rows = 0 },
      ["'cols' must be an integer from 1 to 65535, got number 65536"] =
        { { pty = true, cols = 65536 } },
      ["'pty' must be true, got"] = { { pty = 1 } },
      ["unknown field \"row\"; did you mean 'rows'?"] =
        { pty = true, row = 1 },
      ["fd 2: all share one terminal, which has 25 rows already, not 30"] =
        { { pty = true, rows = 25 }, "pty", { pty = true, rows = 30 } },
    } do
      local ok, err = pcall(spawn, "true", {}, { stdio = stdio })
      assert.is_false(ok)
      assert.matches("^spec/child_process/pty_spec.lua:%d+: spawn: option "
        .. "'stdio'", err)
      assert.truthy(err:find(message, 1, true), err)
    end
  end)

  it("makes the child the leader of a session, whose group is signalled",
    function()
    run(function()
      local child = on_terminal("sleep 1000 & echo $!; wait")
      local grandchild = tonumber(await(child.pty, "\n"):match("%d+"))
      child:kill_tree("SIGKILL")

      assert.same({ 137, "SIGKILL" }, { child:wait() })
      helper.await_end(grandchild)
      child.pty:destroy()
    end)
  end)

  it("ends the start where there is no terminal to control", function()
    run(function()
      local null <close> = core.open("/dev/null", "r+")
      local fd = null:fileno()
      local ok, errno, stage = core.spawn("true", { "true" }, { fd, fd, fd },
        nil, { setsid = true, terminal = 0 })

      assert.same({ core.errnos.ENOTTY, "setsid" }, { errno, stage })
      assert.is_nil(ok)
    end)
  end)

  it("leaves nothing of a failed start", function()
    run(function()
      local child = spawn("/no/such", {}, { stdio = "pty" })
      local log = helper.record(child, { "error", "close" })

      assert.is_nil(child.pty:read())
      assert.is_false(child.stdin:write("x"))
      local ok, err = child.pty:resize(1, 1)
      helper.await_close(child)
      assert.same({ nil, "ERR_STREAM_DESTROYED" }, { ok, err.code })
      assert.equal("error close", helper.names(log))
    end)
  end)
end)

describe("a terminal", function()
  it("passes Ctrl-C on as SIGINT", function()
    run(function()
      local child = on_terminal("echo ready; exec sleep 1000")
      await(child.pty, "ready")
      child.pty:write("\3")

      assert.same({ 130, "SIGINT" }, { child:wait() })
      child.pty:destroy()
    end)
  end)

  it("lets a shell have jobs", function()
    run(function()
      local child <close> = spawn("sh", { "-i" },
        { stdio = "pty", env = { PS1 = "$ ", PATH = os.getenv("PATH") } })
      await(child.pty, "%$ $")
      child.pty:write("sh -c 'echo go''n; exec sleep 1000'\n")
      await(child.pty, "gon\r\n")
      child.pty:write("\26") -- Ctrl-Z
      await(child.pty, "%$ $")
      child.pty:write("jobs; kill -9 %1; exec sh -c 'exit 7'\n")

      assert.matches("1.*Stopped.*sleep 1000", child.pty:read_all())
      assert.equal(7, child:wait())
    end)
  end)

  it("tells the child when it is resized", function()
    run(function()
      local child = on_terminal("trap 'stty size; exit' WINCH; echo ready; "
        .. "while :; do sleep 0.01; done")
      await(child.pty, "ready\r\n")

      assert.is_true(child.pty:resize(33, 77))
      assert.equal("33 77\r\n", child.pty:read_all())
      assert.equal(0, child:wait())
    end)
  end)

  it("raises for a size that cannot be", function()
    run(function()
      local child = on_terminal("true")
      for _, bad in ipairs { { 0, 1 }, { 1, 65536 }, { 1.5, 1 }, { "1", 1 },
        {} } do
        local ok, err = pcall(child.pty.resize, child.pty, bad[1], bad[2])
        assert.is_false(ok)
        assert.matches("^spec/.*resize: the number of %l+ must be an integer "
          .. "from 1 to 65535, got ", err)
      end
      child.pty:destroy()
      child:wait()
    end)
  end)

  it("hangs up when its stream is closed", function()
    run(function()
      local child = on_terminal("echo ready; exec sleep 1000")
      await(child.pty, "ready")
      child.pty:close()

      assert.same({ 129, "SIGHUP" }, { child:wait() })
    end)
  end)

  it("is at its end, without an error, when nobody has it open", function()
    run(function()
      local child = on_terminal("echo last")
      local log = helper.record(child, { "spawn", "exit", "close" })
      local text = ""
      for _, name in ipairs { "end", "error" } do
        child.pty:on(name, function() log[#log + 1] = { name } end)
      end
      child.pty:on("data", function(chunk) text = text .. chunk end)
      helper.await_close(child)

      assert.equal("last\r\n", text)
      assert.equal("spawn exit close", (helper.names(log):gsub("end ", "")))
      assert.equal(4, #log)
      assert.equal("close", log[4][1])
    end)
  end)

  it("keeps what was written before the exit", function()
    run(function()
      local child = on_terminal("seq 100")
      child:wait()

      assert.matches("^1\r\n.*\n100\r\n$", child.pty:read_all())
    end)
  end)

  it("keeps what was read ahead, as a socket does", function()
    run(function()
      for _, kind in ipairs { "pty", "socket" } do
        local child = on_terminal("echo hi >&0; exec <&-; read line <&3",
          { stdio = { kind, "ignore", "inherit", "socket" } })
        local _, err = child.stdin:read_exactly(100)
        child.stdio[3]:finish("\n")
        child:wait()

        assert.equal("ERR_STREAM_PREMATURE_CLOSE", err.code)
        assert.matches("^hi\r?\n$", child.stdin:read())
        helper.await_close(child)
        child.stdio[3]:destroy()
      end
    end)
  end)

  it("gets all of what is typed, however slowly it is read", function()
    run(function()
      local result = orrery.sh("stty -echo; wc -c",
        { stdio = "pty", input = (("x"):rep(99) .. "\n"):rep(10000) })

      assert.matches("1000000\r\n$", result.stdout:sub(-100))
    end)
  end)

  it("holds nothing up that does not read", function()
    run(function()
      local child = on_terminal("exec sleep 1000")
      local failed
      child.pty:write(("x\n"):rep(500000), function(err) failed = err end)
      orrery.sleep(1)
      child:kill()
      child:wait()
      helper.await_close(child)
      child.pty:destroy()
      helper.eventually(function() return failed end)

      assert.matches("^E[IC]", failed.code)
    end)
  end)

  it("loses nothing of what is shown", function()
    run(function()
      local plain = orrery.sh("seq 150000").stdout
      local shown = orrery.sh("seq 150000", { stdio = "pty" }).stdout

      assert.is_true(shown == plain:gsub("\n", "\r\n"))
    end)
  end)
end)

describe("what runs programs", function()
  it("takes a terminal, whose input is at its end", function()
    run(function()
      local quiet = { "-c", "stty -echo; cat" }

      assert.equal("", orrery.run("cat", {}, { stdio = "pty" }).stdout)
      assert.equal("a\r\nb",
        orrery.sh("cat", { stdio = { "pipe", "pty", "pty" }, input = "a\nb" })
        .stdout)
      for _, input in ipairs { "a\n", "a\nb", "" } do
        local result = orrery.run("sh", quiet, { stdio = "pty", input = input })
        local count = #input:gsub("\n", "\r\n")
        assert.equal(input:gsub("\n", "\r\n"), result.stdout:sub(-count))
        assert.is_true(result.ok and not result.stdio_incomplete)
      end
    end)
  end)

  it("does not wait for a grandchild that holds the terminal", function()
    run(function()
      local result = orrery.sh("trap '' HUP; sleep 1000 & echo $!",
        { stdio = "pty", stdio_grace = 10 })
      local grandchild = tonumber(result.stdout:match("%d+"))

      assert.is_true(result.ok and result.stdio_incomplete)
      assert.is_true(core.process():kill(grandchild, core.signals.SIGKILL))
      helper.await_end(grandchild)
    end)
  end)

  it("takes one for exec and for a fork with a channel", function()
    run(function()
      local shown
      orrery.exec("test -t 1 && echo yes", { stdio = "pty" },
        function(_, stdout) shown = stdout end)
      local child = helper.fork("process.send { process.stdin.is_tty, "
        .. "process.stdout.is_tty } process.disconnect() print 'bye'",
        { stdio = "pty" })

      assert.same({ true, true }, child:receive(10000))
      assert.equal("bye\r\n", child.pty:read_all())
      helper.eventually(function() return shown end)
      assert.equal("yes\r\n", shown)
      helper.await_close(child)
    end)
  end)

  it("raises where nothing reads the terminal meanwhile", function()
    for name, args in pairs {
      spawn_sync = { "true", {}, { stdio = "pty" } },
      exec_sync = { "true", { stdio = { "pty" } } },
      exec_file_sync = { "true", {}, { stdio = { { pty = true } } } },
      pipeline = { { { "true" }, stdin = { pty = true } } },
    } do
      local ok, err = pcall(orrery[name], table.unpack(args))

      assert.is_false(ok)
      assert.matches("^spec/.*" .. name .. ": option 'stdi", err)
    end
  end)
end)
