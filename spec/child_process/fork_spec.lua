local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local run, fork, await_close = helper.run, helper.fork, helper.await_close
local raw_peer = helper.raw_peer

local ECHO = "process.on('message', function(m, h) process.send(m, h) end)"

describe("fork", function()
  it("F63: exchanges messages, changes no argument, ends "
    .. "with exit 0", function()
    run(function()
      local args = { "a", "b" }
      local child = fork([[
        local args = { ... }
        process.on("message", function(m)
          process.send { got = m, args = args }
          process.disconnect()
        end)]], nil, args)
      assert.is_true(child.connected)
      assert.is_true(child:send { hello = "world" })
      local message = child:receive(5000)

      assert.same({ got = { hello = "world" }, args = { "a", "b" } }, message)
      assert.same({ "a", "b" }, args)
      assert.equal(0, child:wait())
      await_close(child)
      assert.is_false(child.connected)
      assert.is_nil(child.channel)
    end)
  end)

  it("F63: raises for a missing message and for what cannot be sent", function()
    run(function()
      local child = fork "process.on('message', print)"
      for _, case in ipairs {
        { nil, "a message is missing %(ERR_MISSING_ARGS%)" },
        { print, "message: a function cannot be sent" },
        { { a = { b = io.stdout } },
          "message%.a%.b: a userdata cannot be sent" },
        { { { coroutine.create(print) } },
          "message%[1%]%[1%]: a thread cannot" },
        { { [{}] = 1 },
          "message: keys must be strings, numbers or booleans, not a table" },
      } do
        local ok, err = pcall(function()
          local sent = child:send(case[1])
          return sent
        end)
        assert.is_false(ok)
        assert.matches("^spec/child_process/fork_spec.lua:%d+: .*" .. case[2],
          err)
      end
      local cycle = {}
      cycle.inner = { cycle }
      local ok, err = pcall(child.send, child, cycle)
      assert.is_false(ok)
      assert.matches("message%.inner%[1%].*contains itself", err)
      child:disconnect()
      await_close(child)
    end)
  end)

  it("F64: checks script, arguments and options, at the "
    .. "caller's line", function()
    for _, case in ipairs {
      { "the script must be a string", 5 },
      { "the script must not be an empty string", "" },
      { "the arguments must be a list of strings", "x.lua", 5 },
      { "argument 1 must be a string", "x.lua", { {} } },
      { "unknown option \"slient\"; did you mean 'silent'", "x.lua", {},
        { slient = true } },
      { "options must be a table", "x.lua", {}, 5 },
      { "'serialization' must be \"msgpack\" or \"json\"", "x.lua", {},
        { serialization = "advanced" } },
      { "'max_message' must be an integer of bytes", "x.lua", {},
        { max_message = 0 } },
    } do
      local ok, err = pcall(function()
        local child = orrery.fork(case[2], case[3], case[4])
        return child
      end)
      assert.is_false(ok)
      assert.matches("^spec/child_process/fork_spec.lua:%d+: fork: ", err)
      assert.truthy(err:find(case[1], 1, true), err)
    end
  end)

  it("F64: takes options as second argument, and the caller's "
    .. "environment", function()
    run(function()
      local env = { LD_PRELOAD = helper.env().LD_PRELOAD, MINE = "1",
        PATH = "/bin" }
      local child =
        fork("process.send { os.getenv('MINE'), process.argv[1] or 'none' }",
        { env = env, env_extend = {} })

      assert.same({ "1", "none" }, child:receive(5000))
      assert.equal(0, child:wait())
      await_close(child)
    end)
  end)

  it("F65: runs another interpreter, and hands exec_argv to "
    .. "generations", function()
    run(function()
      local link = helper.tmpname()
      os.remove(link)
      local name = link:match("^(.*)/") .. "/lua-" .. uv.os_getpid()
      uv.fs_symlink(assert(uv.exepath()), name)
      local child = fork([[
        if ... == "inner" then
          process.send(process.exec_argv)
        else
          local inner = orrery.fork(process.script, { "inner" })
          process.send(inner:receive(5000))
          inner:wait()
        end]], { exec_path = name, exec_argv = { "-W" } })

      assert.same({ "-W" }, child:receive(10000))
      assert.equal(name, child.spawn_file)
      assert.equal(0, child:wait())
      await_close(child)
      os.remove(name)
    end)
  end)

  it("F66: ignores shell", function()
    run(function()
      local child = fork("process.send(1)", { shell = true })

      assert.equal(1, child:receive(5000))
      await_close(child)
    end)
  end)

  it("F67: takes stdio as a word, and a list that has ipc", function()
    run(function()
      for _, word in ipairs { "pipe", "ignore", "inherit" } do
        local child = fork("process.send 'up' io.write '' process.disconnect()",
          { stdio = word })
        assert.equal("up", child:receive(5000))
        assert.equal(word == "pipe", child.stdout ~= nil)
        await_close(child)
      end
      for _, bad in ipairs { "33", { "pipe" }, { "ipc", "ipc" } } do
        local ok, err = pcall(orrery.fork, "x.lua", {}, { stdio = bad })
        assert.is_false(ok)
        assert.matches("option 'stdio'", err)
      end
    end)
  end)

  it("B33: pipes stdio where silent, and not otherwise", function()
    run(function()
      local silent = fork("print 'hello'", { silent = true })
      local loud = fork("process.disconnect()")

      assert.equal("hello\n", silent.stdout:read_all())
      assert.is_nil(loud.stdout)
      await_close(silent)
      await_close(loud)
    end)
  end)

  it("B30: has the channel on fd 0 or 1, too", function()
    run(function()
      for _, stdio in ipairs {
        { "ipc", "inherit", "inherit" }, { "ignore", "ipc", "inherit" },
        { "ignore", "inherit", "inherit", nil, nil, "ipc" },
      } do
        local child = fork(ECHO, { stdio = stdio })
        child:send { 1, "x" }

        assert.same({ 1, "x" }, child:receive(5000))
        child:disconnect()
        await_close(child)
      end
    end)
  end)

  it("F68: emits message, disconnect, exit and close once, "
    .. "close last", function()
    run(function()
      local child = fork "process.send 'hello'"
      local log = helper.record(child,
        { "spawn", "message", "disconnect", "exit", "close" })
      child:wait_for("close", 10000)

      local names = helper.names(log)
      assert.matches("^spawn message disconnect", names:gsub("exit ", "", 1))
      assert.matches("close$", names)
      assert.equal(5, #log)
    end)
  end)

  it("F69: a child lives by its timer and its disconnect listener", function()
    run(function()
      local child = fork [[
        process.on("disconnect", function() process.exit(7) end)
        orrery.after(1, function() process.send "timer" end)]]
      assert.equal("timer", child:receive(5000))
      assert.is_nil(child:wait(50))
      child:disconnect()

      assert.equal(7, child:wait())
      await_close(child)
    end)
  end)

  it("F70: a message listener after disconnect keeps no child alive", function()
    run(function()
      local child = fork "process.disconnect() process.on('message', print)"

      assert.equal(0, child:wait(5000))
      await_close(child)
    end)
  end)

  it("F71: of an empty script does not hold the parent", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local path = os.tmpname()
        orrery.fork(path):on("close",
          function(code) print("closed", code) os.remove(path) end)
        require "luv".run()]])

      assert.equal("closed\t0\n", result.stdout)
    end)
  end)

  it("F72: disconnect is asynchronous, once on each side, and ends "
    .. "the child", function()
    run(function()
      local child = fork [[
        process.on("disconnect", function() assert(not process.connected) end)
        process.on("message", function() end)]]
      child:send(1)
      local log = helper.record(child, { "disconnect" })
      child:disconnect()
      local during = { child.connected, #log }
      child:disconnect()

      assert.same({ false, 0 }, during)
      assert.equal(0, child:wait(5000))
      await_close(child)
      assert.equal(1, #log)
    end)
  end)

  it("F73: what starts with NODE_ is Node's own over json, "
    .. "fooNODE_ is not", function()
    run(function()
      local child = fork(ECHO, { serialization = "json" })
      child:send { cmd = "NODE_bar" }
      child:send { cmd = "fooNODE_" }
      child:send { cmd = "NODE_" }

      assert.same({ cmd = "fooNODE_" }, child:receive(5000))
      assert.same({ cmd = "NODE_" }, child:receive(5000))
      child:disconnect()
      await_close(child)
    end)
  end)

  it("F74: a listener that throws for each message loses none", function()
    run(function()
      for _, serialization in ipairs { "msgpack", "json" } do
        local child = fork([[
          local caught = 0
          process.on("uncaught_exception", function(err)
            caught = caught + 1
            if caught == 10 then process.send(err) process.disconnect() end
          end)
          process.on("message", function(m) error("thrown " .. m, 0) end)]],
          { serialization = serialization })
        for i = 1, 10 do child:send(i) end

        assert.equal("thrown 10", child:receive(5000))
        await_close(child)
      end
    end)
  end)

  it("F75: calls back without error, and delivers though the "
    .. "child ends", function()
    run(function()
      local child = fork [[
        process.send("last words", nil, nil, function(err)
          io.stderr:write(err and "bad" or "")
        end)]]

      assert.equal("last words", child:receive(5000))
      assert.equal(0, child:wait())
      await_close(child)
    end)
  end)

  it("F76: send after the end is false and calls back, without an "
    .. "error event", function()
    run(function()
      local child = fork ""
      await_close(child)
      local err
      local sent = child:send("late", function(e) err = e end)

      assert.is_false(sent)
      assert.is_nil(err)
      helper.eventually(function() return err end)
      assert.equal("ERR_IPC_CHANNEL_CLOSED", err.code)
      assert.is_false(child:send "later")
      assert.is_nil(child:disconnect())
      local message, why = child:receive()
      assert.is_nil(message)
      assert.equal("ERR_IPC_CHANNEL_CLOSED", why.code)
    end)
  end)

  it("F77: send is true, then false above the mark, then there "
    .. "is drain", function()
    run(function()
      for _, serialization in ipairs { "msgpack", "json" } do
        local child = fork([[
          orrery.go(function()
            process.stdin:read()
            process.on("message", function() end)
          end)]], { serialization = serialization,
            stdio = { "pipe", "inherit", "inherit", "ipc" } })
        local go_on, sent = true, 0
        assert.is_true(child:send "first")
        while go_on do
          go_on = child:send(("x"):rep(10000))
          sent = sent + 1
        end
        child.stdin:write("go on")

        child:wait_for("drain", 5000)
        assert.is_true(child:send "again")
        assert.is_true(sent > 12)
        child:disconnect()
        await_close(child)
      end
    end)
  end)

  it("F78: raises for bad options, handles and callbacks", function()
    run(function()
      local child = fork "process.on('message', print)"
      for _, case in ipairs {
        { { 1, "" }, "ERR_INVALID_HANDLE_TYPE" },
        { { 1, {} }, "ERR_INVALID_HANDLE_TYPE" },
        { { 1, nil, "x" }, "options must be a table" },
        { { 1, nil, 0 }, "options must be" },
        { { 1, nil, { keep = 1 } }, "did you mean 'keep_open'" },
        { { 1, nil, nil, 5 }, "the callback must be a function" },
        { { 1, io.stdout }, "ERR_INVALID_HANDLE_TYPE" },
      } do
        local ok, err = pcall(function()
          local sent = child:send(table.unpack(case[1], 1, 4))
          return sent
        end)
        assert.is_false(ok)
        assert.matches("^spec/child_process/fork_spec.lua:%d+: send: ", err)
        assert.truthy(err:find(case[2], 1, true), err)
      end
      child:disconnect()
      await_close(child)
    end)
  end)

  it("F79: a long string of wide characters arrives whole", function()
    run(function()
      for _, serialization in ipairs { "msgpack", "json" } do
        local text = ("ßüöä€🙂"):rep(50000)
        local child = fork(ECHO, { serialization = serialization })
        child:send { text = text }

        assert.is_true(text == child:receive(10000).text)
        child:disconnect()
        await_close(child)
      end
    end)
  end)

  it("F80: large binary messages arrive whole, and one after "
    .. "the other", function()
    run(function()
      local child = fork(ECHO)
      local bytes = {}
      for i = 0, 255 do bytes[i + 1] = string.char(i) end
      local block = table.concat(bytes):rep(32 * 1024) -- 8 MiB
      for i = 1, 4 do child:send { i, block } end

      for i = 1, 4 do
        local message = child:receive(20000)
        assert.equal(i, message[1])
        assert.is_true(block == message[2])
      end
      child:disconnect()
      await_close(child)
    end, 60000)
  end)

  it("F81: hostile headers, garbage and nesting end the "
    .. "channel, not us", function()
    run(function()
      for _, case in ipairs {
        { "'\\xff\\xff\\xff\\xff\\0\\0\\0\\0'", "EMSGSIZE" },
        { "'\\1\\0\\0\\0\\0\\0\\0\\0\\xc1'", "EPROTO" },
        -- a request without an id
        { "'\\1\\0\\0\\0\\1\\0\\0\\0\\1'", "EPROTO" },
        { "'\\4\\0\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0'", "EPROTO" }, -- no such set
        { "'\\4\\0\\0\\0\\3\\0\\0\\0\\0\\0\\0\\0'", "EPROTO" }, -- a set of none
        { "'\\xc8\\0\\0\\0\\0\\0\\0\\0' .. ('\\x91'):rep(200)", "EPROTO" },
        { "'\\6\\0\\0\\0\\0\\0\\0\\0\\xdd\\xff\\xff\\xff\\xff\\0'", "EPROTO" },
        { "'\\2\\0\\0\\0\\0\\0\\0\\0\\xc0\\xc0'", "EPROTO" },
        { "'not a frame at all, but text'", "EMSGSIZE" },
        { "'\\9\\0\\0\\0\\0\\0\\0\\0\\xa8cut'", "ECONNRESET" },
        { "'\\9\\0'", "ECONNRESET" },
      } do
        local child = raw_peer("peer:write(" .. case[1] .. ")")
        local log = helper.record(child, { "disconnect", "message", "error" })
        await_close(child)

        assert.equal(1, #log, case[1])
        assert.equal("disconnect", log[1][1])
        assert.equal(case[2], log[1][2].code, case[1])
      end
    end)
  end)

  it("F81: garbage over json ends the channel, not us", function()
    run(function()
      for _, line in ipairs { "", "not json", '{"a":', "[1]]", "\xff",
        ("["):rep(200) } do
        local child = raw_peer(("peer:write(%q .. '\\n')"):format(line),
          { serialization = "json" })
        local log = helper.record(child, { "disconnect", "message", "error" })
        await_close(child)

        assert.equal(1, #log)
        assert.equal("EPROTO", log[1][2].code)
      end
    end)
  end)

  it("F82: hands search paths down, in another directory, and no "
    .. "variables", function()
    run(function()
      local child = fork([[
        process.send { path = package.path, cwd = process.cwd(),
          left = os.getenv "ORRERY_FORK" or os.getenv "ORRERY_CHANNEL_FD"
            or "nothing",
          task = require "orrery.task" ~= nil }]], { cwd = "/" })
      local message = child:receive(5000)

      assert.equal("/", message.cwd)
      assert.equal("nothing", message.left)
      assert.is_true(message.task)
      await_close(child)
    end)
  end)

  it("stops a script that forks itself after 16 generations", function()
    run(function()
      local child = fork([[
        local ok, err = pcall(orrery.fork, process.script)
        if not ok then return process.send(err) end
        process.send(err:receive(20000))
        err:wait()]])

      assert.matches("16 generations of processes", child:receive(30000))
      await_close(child)
    end, 40000)
  end)

  it("runs a program that cannot start into error and close", function()
    run(function()
      local child = orrery.fork("x.lua", {}, { exec_path = "/no/such/program" })
      local log = helper.record(child, { "error", "close", "disconnect" })
      await_close(child)

      assert.equal("error close", helper.names(log))
      assert.equal("ENOENT", log[1][2].code)
      assert.is_false(child.connected)
    end)
  end)
end)
