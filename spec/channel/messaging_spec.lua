local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local run, fork, await_close = helper.run, helper.fork, helper.await_close
local raw_peer = helper.raw_peer

local ECHO = "process.on('message', function(m, h) process.send(m, h) end)"

describe("messages", function()
  it("keep their types over MessagePack", function()
    run(function()
      local child = fork(ECHO)
      for _, value in ipairs {
        9, 9.0, -1.5, math.maxinteger, math.mininteger, math.huge, "", "\0\xff",
        true, false, orrery.null, { 1, 2, { 3 } }, { a = { b = orrery.null } },
        { [3] = "x" },
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

  it("reach the listeners there are, as these come and go", function()
    run(function()
      local child = fork "for i = 1, 50 do process.send(i) end"
      local got, second = {}, 0
      local function note(m) got[#got + 1] = m end
      local first
      first = child:on("message", function(m)
        note(m)
        if m == 10 then
          child:once("message", function() second = second + 1 end)
        end
        if m == 20 then
          first()
          child:on("message", note)
        elseif m == 15 then
          first()
          orrery.process.next_tick(
            function() first = child:on("message", first.fn) end)
        end
      end)
      helper.eventually(function() return #got == 50 end)

      for i = 1, 50 do assert.equal(i, got[i]) end
      assert.equal(1, second)
      await_close(child)
    end)
  end)

  it("sent by a listener that then throws go out when the turn ends", function()
    run(function()
      local child = fork [[
        process.on("uncaught_exception", function() end)
        process.on("message", function(m) process.send(m) error("thrown") end)]]
      for i = 1, 3 do
        child:send(i)
        assert.equal(i, child:receive(5000))
      end
      child:disconnect()
      await_close(child)
    end)
  end)

  it("do not pile up where nobody listens: the writer feels it", function()
    run(function()
      local child = fork([[
        local n = 400
        for i = 1, n do process.send(("x"):rep(10000)) end
        process.handle(function() return n end)
        process.on("drain", function() n = -1 end)
        print "sent"]], { silent = true })
      assert.equal("sent\n", child.stdout:read(nil, 5000))
      child.stdout:resume()
      helper.eventually(
        function() return child.channel_.receiving_ == "paused" end)
      local waiting = child.channel.waiting_
      assert.is_true(waiting > 50 and waiting < 150)
      local seen = 0
      child:on("message", function() seen = seen + 1 end)

      helper.eventually(
        function() return child:request("how many", 5000) == -1 end)
      child:disconnect()
      await_close(child)
      assert.equal(400, seen)
    end)
  end)

  it("are each sent to one of two tasks that receive", function()
    run(function()
      local child =
        fork "process.on('message', function(m) process.send(m) end)"
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

  it("above max_message are refused here, and end the channel of who sends "
    .. "them", function()
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

      local hostile =
        raw_peer("peer:write('\\xff\\7\\0\\0' .. ('\\0'):rep(3000))",
        { max_message = 1000 })
      assert.equal("EMSGSIZE", hostile:wait_for("disconnect", 5000).code)
      await_close(hostile)
    end)
  end)

  it("are flushed at exit, also much, also by process.exit", function()
    run(function()
      for _, ending in ipairs { "", "process.exit(0)", "os.exit(0)" } do
        local child =
          fork("for i = 1, 40 do process.send(('x'):rep(20000)) end " .. ending)
        for _ = 1, 40 do assert.equal(20000, #assert(child:receive(5000))) end
        assert.equal(0, child:wait())
        await_close(child)
      end
    end)
  end)

  it("of a child that does not end, sent to who does not read, "
    .. "end at exit", function()
    run(function()
      local started = uv.hrtime()
      local result = helper.lua([[
        local orrery = require "orrery"
        local child = orrery.spawn("sleep", {"30"},
          {stdio = {"ignore", "ignore", "ignore", "ipc"}})
        for i = 1, 50 do child:send(("x"):rep(100000)) end
        orrery.go(function() child:kill() orrery.process.exit(3) end)
        require "luv".run()]])

      assert.equal(3, result.code)
      assert.is_true((uv.hrtime() - started) / 1e9 < 10)
    end)
  end)

  it("to a peer that never reads are refused at 64 MiB, "
    .. "with ENOBUFS", function()
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

  it("arrive in order where the first listener comes in the "
    .. "midst of them", function()
    run(function()
      local child = fork "for i = 1, 3000 do process.send(i) end"
      assert.equal(1, child:receive(5000))
      local got = {}
      child:on("message", function(m) got[#got + 1] = m end)
      await_close(child)

      assert.equal(2999, #got)
      for i, m in ipairs(got) do assert.equal(i + 1, m) end
    end)
  end)

  it("that have come are delivered by who leaves, though each "
    .. "listener throws", function()
    run(function()
      local code = [[
        local orrery = require "orrery"
        orrery.process.on("uncaught_exception", function() end)
        local path = os.tmpname()
        local file = io.open(path, "w")
        file:write [=[
          local p = require 'orrery'.process
          for i = 1, 6 do p.send(i) end]=]
        file:close()
        local child = orrery.fork(path)
        child:on("message", function(i)
          print(i)
          if i == 1 then child:disconnect() end
          error "no"
        end)
        child:on("disconnect", function() print "disconnect" end)
        child:on("close", function() os.remove(path) end) ]]
      local expected = "1\n2\n3\n4\n5\n6\ndisconnect\n"

      assert.equal(expected, helper.lua(code .. "require 'luv'.run()").stdout)
      assert.equal(expected, helper.cli({ "-e", code }).stdout)
    end)
  end)

  it("end with close, though a listener of disconnect throws", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local path = os.tmpname()
        local child = orrery.fork(path)
        orrery.process.on("uncaught_exception", function(err) print(err) end)
        child:on("disconnect", function() error("thrown", 0) end)
        child:on("close", function() print "closed" os.remove(path) end)
        require "luv".run()]])

      assert.equal("thrown\nclosed\n", result.stdout)
    end)
  end)
end)

describe("JSON without libjansson", function()
  local WITHOUT = [[
    package.preload["orrery.json"] = function()
      error("orrery.json needs libjansson", 0)
    end
    local orrery = require "orrery" ]]

  it("fault C9: is refused before a child is started", function()
    run(function()
      local result = helper.lua(WITHOUT .. [[
        local opts = { serialization = "json",
          stdio = { "ignore", "ignore", "ignore", "ipc" } }
        print(pcall(orrery.fork, "x.lua", {}, opts))
        print(pcall(orrery.spawn, "true", {}, opts))
        print(pcall(orrery.fork, "x.js", {}, { exec_path = "node" }))
        local children = io.open("/proc/thread-self/children"):read("a")
        print(#children, orrery.spawn("true"):wait())]])

      local refusal = "false\torrery%.json needs libjansson\n"
      assert.matches("^" .. refusal:rep(3) .. "0\t0\n$", result.stdout)
    end)
  end)

  it("fault C9: is raised in a child only by what uses the channel", function()
    run(function()
      local child = orrery.spawn(helper.interpreter, { "-e", WITHOUT .. [[
        local process = orrery.process
        print(process.connected, pcall(process.send, 1))
        process.wait_for "disconnect"
        print "gone"]] },
        { stdio = { "ignore", "pipe", "inherit", "ipc" },
          serialization = "json", env_extend = helper.env() })
      child:disconnect()
      local text = child.stdout:read_all()
      await_close(child)

      assert.matches("^true\tfalse\t[^\n]*: send: orrery%.json needs "
        .. "libjansson\ngone\n$", text)
    end)
  end)
end)
