local helper = require "spec.helper"
local orrery = require "orrery"

local run, fork, await_close = helper.run, helper.fork, helper.await_close

--- Takes what a child sends up to "enough", and lets it answer then.
local function take_all(child)
  repeat
    local message = child:receive(10000)
  until message == "enough"
  child:send("answer now")
end

describe("request", function()
  it("gives the handler's results, nils among them, and runs it "
    .. "as a task", function()
    run(function()
      local child = fork [[
        process.handle(function(x)
          orrery.sleep(1)
          if x == "nothing" then return end
          return x, nil, { x }, nil
        end)]]

      assert.same({ 5, nil, { 5 }, nil, n = 4 },
        table.pack(child:request(5, 5000)))
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

  it("gives nil, err: the handler's error, ENOSYS, what cannot "
    .. "travel, the end", function()
    run(function()
      local child = fork [[
        process.on("message", function()
          process.handle(function(what)
            if what == "raise" then error("no way", 0) end
            if what == "code" then
              error(setmetatable({ code = "EX", message = "m" },
                { __tostring = function() return "m" end }))
            end
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

  it("fails where the answer is behind more than may wait, and the rest goes "
    .. "on", function()
    run(function()
      local child = fork [[
        orrery.go(function()
          local _, err = process.request("go on?")
          local bytes = 0
          while bytes < 20 * 1024 * 1024 do
            bytes = bytes + #process.receive()
          end
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
      helper.eventually(
        function() return child.channel_.receiving_ == "paused" end)
      assert.equal("running", asked.status)
      take_all(child)

      assert.equal("late", asked:join(5000))
      child:disconnect()
      await_close(child)
    end)
  end)

  it("times out alone: a late answer hurts nobody", function()
    run(function()
      local child =
        fork "process.handle(function(ms) orrery.sleep(ms) return ms end)"
      local result, err = child:request(50, 1)

      assert.is_nil(result)
      assert.equal("ETIMEDOUT", err.code)
      assert.equal(60, child:request(60, 5000))
      child:disconnect()
      await_close(child)
    end)
  end)
end)
