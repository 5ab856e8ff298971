local helper = require "spec.helper"
local orrery = require "orrery"
local core = require "orrery.core"
local uv = require "luv"

local run, fork, await_close = helper.run, helper.fork, helper.await_close
local raw_peer = helper.raw_peer

local ECHO = "process.on('message', function(m, h) process.send(m, h) end)"

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

  it("reach the listeners there are, as these come and go", function()
    run(function()
      local child = fork "for i = 1, 50 do process.send(i) end"
      local got, second = {}, 0
      local function note(m) got[#got + 1] = m end
      local first
      first = child:on("message", function(m)
        note(m)
        if m == 10 then child:once("message", function() second = second + 1 end) end
        if m == 20 then
          first()
          child:on("message", note)
        elseif m == 15 then
          first()
          orrery.process.next_tick(function() first = child:on("message", first.fn) end)
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
      helper.eventually(function()
        return child.channel_.receiving == "paused"
      end)
      local waiting = child.channel.waiting
      assert.is_true(waiting > 50 and waiting < 150)
      local seen = 0
      child:on("message", function() seen = seen + 1 end)

      helper.eventually(function() return child:request("how many", 5000) == -1 end)
      child:disconnect()
      await_close(child)
      assert.equal(400, seen)
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

  it("arrive in order where the first listener comes in the midst of them", function()
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

  it("that have come are delivered by who leaves, though each listener throws", function()
    run(function()
      local code = [[
        local orrery = require "orrery"
        orrery.process.on("uncaught_exception", function() end)
        local path = os.tmpname()
        local file = io.open(path, "w")
        file:write "local p = require 'orrery'.process for i = 1, 6 do p.send(i) end"
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

--- Takes what a child sends up to "enough", and lets it answer then.
local function take_all(child)
  repeat
    local message = child:receive(10000)
  until message == "enough"
  child:send("answer now")
end

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

  it("is answered behind many messages that nobody takes yet", function()
    run(function()
      for _, serialization in ipairs { "msgpack", "json" } do
        local child = fork([[
          orrery.go(function()
            local answer = process.request("go on?")
            local count = 0
            while process.receive() ~= "end" do count = count + 1 end
            process.send { answer, count }
          end)]], { serialization = serialization })
        for _ = 1, 3000 do child:send(("x"):rep(1000)) end
        child:handle(function() return "go on" end)
        child:send "end"

        assert.same({ "go on", 3000 }, (child:receive(10000)))
        await_close(child)
      end
    end)
  end)

  it("fails where the answer is behind more than may wait, and the rest goes on", function()
    run(function()
      local child = fork [[
        orrery.go(function()
          local _, err = process.request("go on?")
          local bytes = 0
          while bytes < 20 * 1024 * 1024 do bytes = bytes + #process.receive() end
          process.send { err.code, err.message, process.request("and now?") }
        end)]]
      local mib, sent = ("x"):rep(1024 * 1024), orrery.events.new()
      child:handle(function(question)
        if question == "go on?" then sent:wait_for("all") end
        return "yes"
      end)
      for _ = 1, 20 do
        if not child:send(mib) then child:wait_for("drain", 10000) end
      end
      sent:emit("all")

      local code, message, answer = table.unpack((child:receive(10000)))
      assert.equal("ENOBUFS", code)
      assert.matches("behind 8 messages that nobody takes: listen", message)
      assert.equal("yes", answer)
      await_close(child)
    end)
  end)

  it("stays open however much others take meanwhile", function()
    run(function()
      local child = fork [[
        process.handle(function()
          process.receive()
          return "late"
        end)
        orrery.go(function()
          local mib = ("x"):rep(1024 * 1024)
          for i = 1, 20 do
            process.send(mib)
            process.request("taken?")
          end
          process.send "enough"
        end)]]
      child:handle(function() return true end)
      local asked = orrery.go(function() return child:request("slow") end)
      take_all(child)

      assert.equal("late", asked:join(5000))
      child:disconnect()
      await_close(child)
    end)
  end)

  it("stays open where others take slowly", function()
    run(function()
      local child = fork [[
        process.handle(function()
          process.receive()
          return "late"
        end)
        local mib = ("x"):rep(1024 * 1024)
        for i = 1, 20 do process.send(mib) end
        process.send "enough"]]
      local asked = orrery.go(function() return child:request("slow") end)
      assert.is_string((child:receive(10000)))
      helper.eventually(function()
        return child.channel_.receiving == "paused"
      end)
      assert.equal("running", asked.status)
      take_all(child)

      assert.equal("late", asked:join(5000))
      child:disconnect()
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
      while child:kill(0) do core.poll({}, {}, 1) require "orrery.child_process.child".reap() end
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
        process.send(orrery.sh(
          "ls -l /proc/self/fd | grep -c socket; env | grep -c CHANNEL").stdout)]]

      assert.equal("0\n0\n", child:receive(5000))
      await_close(child)
    end)
  end)

  it("of spawn with ipc says so where the program has none", function()
    run(function()
      local child = orrery.spawn("true")
      local ok, err = pcall(child.send, child, 1)

      assert.is_false(ok)
      assert.matches("send: there is no channel", err)
      assert.is_nil(orrery.process.send)
      await_close(child)
    end)
  end)
end)
