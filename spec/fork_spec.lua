local helper = require "spec.helper"
local orrery = require "orrery"
local channel = require "orrery.channel"
local core = require "orrery.core"
local uv = require "luv"

local run = helper.run

--- Forks a script given as text; `process` and `orrery` are there for it.
local function fork(code, opts, args)
  local path = helper.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("local orrery = require 'orrery' local process = orrery.process ", code)
  file:close()
  opts = opts or {}
  local env = helper.env()
  opts.env_extend = opts.env_extend or { LD_PRELOAD = env.LD_PRELOAD }
  local child = orrery.fork(path, args, opts)
  child:once("close", function() os.remove(path) end)
  return child
end

--- A process that holds the other end of a channel, and runs a Lua program that
--- has its fd, 3, as `peer` (an orrery.fd) and no more of Orrery.
local function raw_peer(code, opts)
  opts = opts or {}
  opts.stdio = { "ignore", "inherit", "inherit", "ipc" }
  opts.env_extend = helper.env()
  return orrery.spawn("lua5.4", { "-e",
    "local core = require 'orrery.core' local peer = core.adopt(3) " .. code }, opts)
end

local function await_close(child)
  if not child.closed_ then child:wait_for("close", 10000) end
end

local ECHO = "process.on('message', function(m, h) process.send(m, h) end)"

after_each(function()
  assert.equal(channel.counts.given, channel.counts.called,
    "callbacks of send that were not called")
end)

describe("fork", function()
  it("F63: exchanges messages, changes no argument, ends with exit 0", function()
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
        { { a = { b = io.stdout } }, "message%.a%.b: a userdata cannot be sent" },
        { { { coroutine.create(print) } }, "message%[1%]%[1%]: a thread cannot" },
        { { [{}] = 1 }, "message: keys must be strings or numbers, not a table" },
      } do
        local ok, err = pcall(function()
          local sent = child:send(case[1])
          return sent
        end)
        assert.is_false(ok)
        assert.matches("^spec/fork_spec.lua:%d+: .*" .. case[2], err)
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

  it("F64: checks script, arguments and options, at the caller's line", function()
    for _, case in ipairs {
      { "the script must be a string", 5 },
      { "the script must not be an empty string", "" },
      { "the arguments must be a list of strings", "x.lua", 5 },
      { "argument 1 must be a string", "x.lua", { {} } },
      { "unknown option \"slient\"; did you mean 'silent'", "x.lua", {}, { slient = true } },
      { "options must be a table", "x.lua", {}, 5 },
      { "'serialization' must be \"msgpack\" or \"json\"", "x.lua", {},
        { serialization = "advanced" } },
      { "'max_message' must be an integer of bytes", "x.lua", {}, { max_message = 0 } },
    } do
      local ok, err = pcall(function()
        local child = orrery.fork(case[2], case[3], case[4])
        return child
      end)
      assert.is_false(ok)
      assert.matches("^spec/fork_spec.lua:%d+: fork: ", err)
      assert.truthy(err:find(case[1], 1, true), err)
    end
  end)

  it("F64: takes options as second argument, and the caller's environment", function()
    run(function()
      local env = { LD_PRELOAD = helper.env().LD_PRELOAD, MINE = "1", PATH = "/bin" }
      local child = fork("process.send { os.getenv('MINE'), process.argv[1] or 'none' }",
        { env = env, env_extend = {} })

      assert.same({ "1", "none" }, child:receive(5000))
      assert.equal(0, child:wait())
      await_close(child)
    end)
  end)

  it("F65: runs another interpreter, and hands exec_argv to generations", function()
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

  it("F68: emits message, disconnect, exit and close once, close last", function()
    run(function()
      local child = fork "process.send 'hello'"
      local log = helper.record(child, { "spawn", "message", "disconnect", "exit", "close" })
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
        orrery.fork(path):on("close", function(code) print("closed", code) os.remove(path) end)
        require "luv".run()]])

      assert.equal("closed\t0\n", result.stdout)
    end)
  end)

  it("F72: disconnect is asynchronous, once on each side, and ends the child", function()
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

  it("F73: what starts with NODE_ is Node's own over json, fooNODE_ is not", function()
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

  it("F75: calls back without error, and delivers though the child ends", function()
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

  it("F76: send after the end is false and calls back, without an error event", function()
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

  it("F77: send is true, then false above the mark, then there is drain", function()
    run(function()
      for _, serialization in ipairs { "msgpack", "json" } do
        local child = fork([[
          orrery.go(function()
            process.request("go on")
            process.on("message", function() end)
          end)]], { serialization = serialization })
        local go_on, sent = true, 0
        assert.is_true(child:send "first")
        while go_on do
          go_on = child:send(("x"):rep(10000))
          sent = sent + 1
        end
        child:handle(function() return 1 end)

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
        { { 1, "" }, "ERR_INVALID_HANDLE_TYPE" }, { { 1, {} }, "ERR_INVALID_HANDLE_TYPE" },
        { { 1, nil, "x" }, "options must be a table" }, { { 1, nil, 0 }, "options must be" },
        { { 1, nil, { keep = 1 } }, "did you mean 'keep_open'" },
        { { 1, nil, nil, 5 }, "the callback must be a function" },
        { { 1, io.stdout }, "ERR_INVALID_HANDLE_TYPE" },
      } do
        local ok, err = pcall(function()
          local sent = child:send(table.unpack(case[1], 1, 4))
          return sent
        end)
        assert.is_false(ok)
        assert.matches("^spec/fork_spec.lua:%d+: send: ", err)
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

  it("F80: large binary messages arrive whole, and one after the other", function()
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

  it("F81: hostile headers, garbage and nesting end the channel, not us", function()
    run(function()
      for _, case in ipairs {
        { "'\\xff\\xff\\xff\\xff\\0\\0\\0\\0'", "EMSGSIZE" },
        { "'\\1\\0\\0\\0\\0\\0\\0\\0\\xc1'", "EPROTO" },
        { "'\\1\\0\\0\\0\\1\\0\\0\\0\\1'", "EPROTO" }, -- a request without an id
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
      for _, line in ipairs { "", "not json", '{"a":', "[1]]", "\xff", ("["):rep(200) } do
        local child = raw_peer(("peer:write(%q .. '\\n')"):format(line),
          { serialization = "json" })
        local log = helper.record(child, { "disconnect", "message", "error" })
        await_close(child)

        assert.equal(1, #log)
        assert.equal("EPROTO", log[1][2].code)
      end
    end)
  end)

  it("F82: hands search paths down, in another directory, and no variables", function()
    run(function()
      local child = fork([[
        process.send { path = package.path, cwd = process.cwd(),
          left = os.getenv "ORRERY_FORK" or os.getenv "ORRERY_CHANNEL_FD" or "nothing",
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

describe("messages", function()
  it("keep their types over MessagePack", function()
    run(function()
      local child = fork(ECHO)
      for _, value in ipairs {
        9, 9.0, -1.5, math.maxinteger, math.mininteger, math.huge, "", "\0\xff", true,
        false, orrery.null, { 1, 2, { 3 } }, { a = { b = orrery.null } }, { [3] = "x" },
        { 1, 2, x = 3 },
      } do
        child:send(value)
        local back = child:receive(5000)
        assert.same(value, back)
        assert.equal(math.type(value), math.type(back))
      end
      child:disconnect()
      await_close(child)
    end)
  end)

  it("wait for the first listener, in order", function()
    run(function()
      local child = fork "for i = 1, 100 do process.send(i) end"
      child:wait()
      local got = {}
      child:on("message", function(m) got[#got + 1] = m end)
      helper.eventually(function() return #got == 100 end)

      for i = 1, 100 do assert.equal(i, got[i]) end
      await_close(child)
    end)
  end)

  it("do not pile up where nobody listens: the writer feels it", function()
    run(function()
      local child = fork [[
        local n = 0
        while process.send(("x"):rep(10000)) do n = n + 1 end
        process.handle(function() return n end)
        process.on("drain", function() n = -1 end)]]
      helper.eventually(function() return #child.channel.inbox > 50 end)
      orrery.sleep(20)
      assert.is_true(#child.channel.inbox < 400)
      local seen = 0
      child:on("message", function() seen = seen + 1 end)

      helper.eventually(function() return child:request("how many", 5000) == -1 end)
      child:disconnect()
      await_close(child)
      assert.is_true(seen > 13)
    end)
  end)

  it("are each sent to one of two tasks that receive", function()
    run(function()
      local child = fork "process.on('message', function(m) process.send(m) end)"
      local got = {}
      local function take()
        local message = child:receive(5000)
        got[#got + 1] = message
      end
      local a, b = orrery.go(take), orrery.go(take)
      child:send(1)
      child:send(2)
      a:join()
      b:join()

      table.sort(got)
      assert.same({ 1, 2 }, got)
      local none, err = child:receive(5)
      assert.is_nil(none)
      assert.equal("ETIMEDOUT", err.code)
      child:disconnect()
      await_close(child)
    end)
  end)

  it("above max_message are refused here, and end the channel of who sends them", function()
    run(function()
      local child = fork(ECHO, { max_message = 1000 })
      local err
      assert.is_false(child:send(("x"):rep(1000), function(e) err = e end))
      helper.eventually(function() return err end)
      assert.equal("EMSGSIZE", err.code)
      assert.is_true(child:send(("x"):rep(990)))
      assert.equal(990, #child:receive(5000))
      child:disconnect()
      await_close(child)

      local hostile = raw_peer("peer:write('\\xff\\7\\0\\0' .. ('\\0'):rep(3000))",
        { max_message = 1000 })
      assert.equal("EMSGSIZE", hostile:wait_for("disconnect", 5000).code)
      await_close(hostile)
    end)
  end)

  it("are flushed at exit, also much, also by process.exit", function()
    run(function()
      for _, ending in ipairs { "", "process.exit(0)", "os.exit(0)" } do
        local child = fork("for i = 1, 40 do process.send(('x'):rep(20000)) end " .. ending)
        for _ = 1, 40 do assert.equal(20000, #assert(child:receive(5000))) end
        assert.equal(0, child:wait())
        await_close(child)
      end
    end)
  end)

  it("of a child that does not end, sent to who does not read, end at exit", function()
    run(function()
      local started = uv.hrtime()
      local result = helper.lua([[
        local orrery = require "orrery"
        local child = orrery.spawn("sleep", {"30"}, {stdio = {"ignore", "ignore", "ignore", "ipc"}})
        for i = 1, 50 do child:send(("x"):rep(100000)) end
        orrery.go(function() child:kill() orrery.process.exit(3) end)
        require "luv".run()]])

      assert.equal(3, result.code)
      assert.is_true((uv.hrtime() - started) / 1e9 < 10)
    end)
  end)

  it("to a peer that never reads are refused at 64 MiB, with ENOBUFS", function()
    run(function()
      local child = orrery.spawn("sleep", { "30" },
        { stdio = { "ignore", "ignore", "ignore", "ipc" } })
      local block, err = ("x"):rep(1024 * 1024), nil
      for _ = 1, 70 do child:send(block, function(e) err = err or e end) end
      helper.eventually(function() return err end)

      assert.equal("ENOBUFS", err.code)
      child:kill("SIGKILL")
      await_close(child)
    end)
  end)
end)

describe("request", function()
  it("gives the handler's results, nils among them, and runs it as a task", function()
    run(function()
      local child = fork [[
        process.handle(function(x)
          orrery.sleep(1)
          if x == "nothing" then return end
          return x, nil, { x }, nil
        end)]]

      assert.same({ 5, nil, { 5 }, nil, n = 4 }, table.pack(child:request(5, 5000)))
      assert.equal(0, select("#", child:request("nothing", 5000)))
      child:disconnect()
      await_close(child)
    end)
  end)

  it("works both ways at once, out of order, over json as well", function()
    run(function()
      for _, serialization in ipairs { "msgpack", "json" } do
        local child = fork([[
          process.handle(function(n)
            if n == 1 then process.request("wait", 5000) end
            return -n
          end)]], { serialization = serialization })
        local first = orrery.go(function() return child:request(1, 5000) end)
        assert.equal(-2, child:request(2, 5000))
        assert.equal("running", first.status)
        child:handle(function() return "done" end)

        assert.equal(-1, first:join(5000))
        child:disconnect()
        await_close(child)
      end
    end)
  end)

  it("gives nil, err: the handler's error, ENOSYS, what cannot travel, the end", function()
    run(function()
      local child = fork [[
        process.on("message", function()
          process.handle(function(what)
            if what == "raise" then error("no way", 0) end
            if what == "code" then error(setmetatable({ code = "EX", message = "m" },
              { __tostring = function() return "m" end })) end
            if what == "function" then return print end
            if what == "exit" then process.exit(0) end
          end)
          process.send "ready"
        end)]]
      local function ask(what)
        local result, err = child:request(what, 5000)
        assert.is_nil(result)
        return err.code, err.message
      end

      assert.equal("ENOSYS", (ask("anything")))
      child:send "install"
      assert.equal("ready", child:receive(5000))
      local _, text = ask("raise")
      assert.equal("no way", text)
      assert.equal("EX", (ask("code")))
      _, text = ask("function")
      assert.matches("cannot be sent: message%[1%]: a function", text)
      assert.equal("ERR_IPC_CHANNEL_CLOSED", (ask("exit")))
      await_close(child)
    end)
  end)

  it("times out alone: a late answer hurts nobody", function()
    run(function()
      local child = fork "process.handle(function(ms) orrery.sleep(ms) return ms end)"
      local result, err = child:request(50, 1)

      assert.is_nil(result)
      assert.equal("ETIMEDOUT", err.code)
      assert.equal(60, child:request(60, 5000))
      child:disconnect()
      await_close(child)
    end)
  end)
end)

describe("the channel", function()
  it("ends by the child's death, with the messages before it, and calls all back", function()
    run(function()
      local child = fork [[
        for i = 1, 1000 do process.send(i) end
        process.channel:flush()
        process.kill(process.pid, "SIGKILL")]]
      local got, called = 0, 0
      child:on("message", function() got = got + 1 end)
      for _ = 1, 100 do
        child:send(("x"):rep(10000), function() called = called + 1 end)
      end
      await_close(child)

      assert.equal("SIGKILL", child.signal_code)
      assert.is_true(got > 0)
      helper.eventually(function() return called == 100 end)
    end)
  end)

  it("delivers all of a child that is reaped before anything was read", function()
    run(function()
      local child = fork "for i = 1, 20 do process.send(i) end"
      local got = 0
      while child:kill(0) do core.poll({}, {}, 1) require "orrery.child".reap() end
      child:on("message", function() got = got + 1 end)
      await_close(child)

      assert.equal(20, got)
    end)
  end)

  it("with ref and unref says whether the loop waits for it", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local child = orrery.spawn("sleep", {"30"}, {stdio = {"ignore", "ignore", "ignore", "ipc"}})
        child:unref()
        print(require "luv".run "nowait", require "luv".loop_alive())
        child.channel:unref()
        require "luv".run()
        child:kill()
        print "ended"]])

      assert.matches("ended\n$", result.stdout)
    end)
  end)

  it("is no grandchild's: its fd and variables stay with the child", function()
    run(function()
      local child = fork [[
        process.send(orrery.sh("ls -l /proc/self/fd | grep -c socket; env | grep -c CHANNEL").stdout)]]

      assert.equal("0\n0\n", child:receive(5000))
      await_close(child)
    end)
  end)

  it("of spawn with ipc says so where the program has none", function()
    local ok, err = pcall(function()
      local child = orrery.spawn("true")
      local sent = child:send(1)
      return sent
    end)
    assert.is_false(ok)
    assert.matches("send: there is no channel", err)
    assert.is_nil(orrery.process.send)
    run(function() orrery.sleep(20) end)
  end)
end)
