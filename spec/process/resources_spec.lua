local helper = require "spec.helper"

local run, script = helper.run, helper.script

describe("process.active_resources", function()
  it("L126: names what keeps the process alive", function()
    run(function()
      local result = script [[
        local server = orrery.net.create_server()
        server:listen({path = "/tmp/orrery-" .. process.pid .. ".sock"})
        local tcp = orrery.net.create_server()
        tcp:listen(0, "127.0.0.1")
        local child = orrery.spawn("sleep", {"9"}, {stdio = "ignore"})
        local cat = orrery.spawn("cat")
        cat.stdout:on("data", print)
        local aside = orrery.spawn("sleep", {"9"}, {stdio = "ignore"}):unref()
        orrery.after(5000, function() end)
        orrery.after(5000, function() end):unref()
        require "luv".new_timer():start(5000, 0, function() end)
        orrery.go(process.wait_for, "SIGUSR2")
        orrery.sleep(1)
        local names = process.active_resources()
        local pids = {[cat.pid] = true, [child.pid] = true}
        for i = 1, 2 do
          assert(pids[tonumber(names[i]:match("^child (%d+) "))], names[i])
        end
        table.sort(names, function(a, b)
          return (a:gsub("%d", "")) < (b:gsub("%d", ""))
        end)
        local text = table.concat(names, "\n")
        print((text:gsub("child %d+ ", "child "):gsub("%(fd %d+%)", "(fd N)")
          :gsub(tcp:address().port, "PORT"):gsub(process.pid, "OWN")))
        for _, one in ipairs {child, cat, aside} do one:kill("SIGKILL") end
        server:close()
        process.exit()]]

      assert.equal("child (cat)\nchild (sleep)\npipe (fd N)\n"
        .. "server 127.0.0.1:PORT\nserver /tmp/orrery-OWN.sock\n"
        .. "signal SIGUSR2\ntimer\ntimer\n", result.stdout, result.stderr)
    end)
  end)

  it("L126: is empty when nothing does", function()
    run(function()
      local result = script [[
        process.on("before_exit", function()
          print(#process.active_resources())
        end)
        orrery.run("true")]]

      assert.equal("0\n", result.stdout)
    end)
  end)

  it("names connections by the peer, channels and requests", function()
    run(function()
      local child = helper.fork [[
        process.on("message", function() end)
        local server = orrery.net.create_server(function(socket)
          socket:read()
        end)
        server:listen(0, "127.0.0.1")
        local port = server:address().port
        local socket = orrery.net.connect(port, "127.0.0.1")
        socket:on("data", print)
        local text = table.concat(process.active_resources(), "\n")
        process.send((text:gsub(":" .. port, ":PORT")))
        process.disconnect()
        socket:destroy()
        server:close()]]
      local text = child:receive(10000)
      helper.await_close(child)

      assert.matches("channel to the parent\n", text)
      assert.is_truthy(text:find("socket 127.0.0.1:PORT", 1, true))
    end)
  end)
end)
