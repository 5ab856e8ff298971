local helper = require "spec.helper"
local orrery = require "orrery"

local run, script = helper.run, helper.script

--- Runs a script that is to end itself. [w]
--- @return string output
--- @return integer|string ended the exit code, or the signal
local function ended(code, opts)
  local result = script(code, opts)
  return result.stdout, result.signal or result.code
end

describe("process.on_shutdown", function()
  it("ours does better 27: runs the hooks in reverse order, and ends by the "
    .. "signal", function()
    run(function()
      for _, signal in ipairs { "SIGINT", "SIGTERM", "SIGHUP" } do
        local text, how = ended([[
          process.on_shutdown(function(r) print("first", r) end)
          process.on_shutdown(function(r) orrery.sleep(5) print("last", r) end)
          process.on("exit", function() print "never" end)
          process.kill(process.pid, "]] .. signal .. [[")
          orrery.sleep(60000)]])

        assert.equal(("last\t%s\nfirst\t%s\n"):format(signal, signal), text)
        assert.equal(signal, how)
      end
    end)
  end)

  it("runs them at the end of a script, once", function()
    run(function()
      local text, how = ended [[
        process.on_shutdown(function(r) print("hook", r) orrery.sleep(5) end)
        process.on("before_exit", function() print "before" end)
        orrery.sleep(1)]]

      assert.equal("before\nhook\tend\nbefore\n", text)
      assert.equal(0, how)
    end)
  end)

  it("loses nothing that a hook has printed", function()
    run(function()
      local text, how = ended [[
        process.on_shutdown(function() io.write "no newline" end)
        process.kill(process.pid)
        orrery.sleep(60000)]]

      assert.equal("no newline", text)
      assert.equal("SIGTERM", how)
    end)
  end)

  it("ends with the exit code that a hook sets", function()
    run(function()
      local text, how = ended [[
        process.on_shutdown(function() process.exit_code = 3 end)
        process.on("exit", function(code) print("exit", code) end)
        process.kill(process.pid)
        orrery.sleep(60000)]]

      assert.equal("exit\t3\n", text)
      assert.equal(3, how)
    end)
  end)

  it("ends at once by process.exit in a hook, and without hooks by others",
    function()
      run(function()
        local text, how = ended [[
          process.on_shutdown(function() print "never" end)
          process.on_shutdown(function() process.exit(4) end)
          process.kill(process.pid)
          orrery.sleep(60000)]]
        assert.equal("", text)
        assert.equal(4, how)

        text, how = ended [[
          process.on_shutdown(function() print "never" end)
          process.exit(5)]]
        assert.equal("", text)
        assert.equal(5, how)
      end)
    end)

  it("goes on after a hook that raises, and ends with 1", function()
    run(function()
      local result = script [[
        process.on_shutdown(function() print "first" end)
        process.on_shutdown(function() error "broken" end)
        process.kill(process.pid)
        orrery.sleep(60000)]]

      assert.equal("first\n", result.stdout)
      assert.matches("uncaught error: .*broken", result.stderr)
      assert.equal(1, result.code)
    end)
  end)

  it("has one deadline for all hooks, the longest", function()
    run(function()
      local text, how = ended [[
        process.on_shutdown(function() print "never" end, 20)
        process.on_shutdown(function() orrery.sleep(60000) end, 10)
        process.kill(process.pid)
        orrery.sleep(60000)]]

      assert.equal("", text)
      assert.equal("SIGTERM", how)
    end)
  end)

  it("lets a second SIGTERM change nothing, and a second SIGINT end at once",
    function()
      run(function()
        local text, how = ended [[
          process.on_shutdown(function()
            process.kill(process.pid)
            orrery.sleep(1)
            process.kill(process.pid)
            print "done"
          end)
          process.kill(process.pid)
          orrery.sleep(60000)]]
        assert.equal("done\n", text)
        assert.equal("SIGTERM", how)

        text, how = ended [[
          process.on_shutdown(function()
            process.kill(process.pid, "SIGINT")
            print "never"
          end)
          process.kill(process.pid, "SIGINT")
          while true do orrery.sleep(1) end]]
        assert.equal("", text)
        assert.equal("SIGINT", how)
      end)
    end)

  it("ends by a second SIGINT after a SIGTERM, and with a listener", function()
    run(function()
      for _, lines in ipairs {
        'process.kill(process.pid, "SIGTERM")',
        'process.on("SIGINT", function() end)',
      } do
        local _, how = ended([[
          process.on_shutdown(function() orrery.sleep(60000) end, 60000)
          ]] .. lines .. [[ process.kill(process.pid, "SIGINT")
          process.kill(process.pid, "SIGINT")
          orrery.sleep(60000)]])

        assert.equal("SIGINT", how)
      end
    end)
  end)

  it("ends by a second SIGTERM once a hook has blocked the loop for its time",
    function()
      run(function()
        local child = orrery.spawn(helper.orrery, { "-e", [[
          local orrery = require "orrery"
          orrery.process.on_shutdown(function()
            print "here"
            io.stdout:flush()
            while true do end
          end, 0)
          orrery.process.kill(orrery.process.pid)
          orrery.sleep(60000)]] }, { env_extend = helper.env() })
        assert.equal("here\n", child.stdout:read())
        while not child:wait(100) do child:kill "SIGTERM" end

        assert.equal("SIGTERM", child.signal_code)
      end)
    end)

  it("runs besides a listener of the signal", function()
    run(function()
      local text, how = ended [[
        process.on("SIGTERM", function() print "listener" end)
        process.on_shutdown(function(r) print(r) end)
        process.kill(process.pid)
        orrery.sleep(60000)]]

      assert.equal("listener\nSIGTERM\n", text)
      assert.equal("SIGTERM", how)
    end)
  end)

  it("passes the signal to children that are to die with us, after the hooks",
    function()
      run(function()
        local text, how = ended [[
          process.on_shutdown(function() orrery.sleep(20) print "hook" end)
          local child = orrery.spawn("sh", {"-c",
            "trap 'echo child; exit' TERM; echo ready; while :; do sleep 0.05; "
              .. "done"}, {die_with_parent = true,
            stdio = {"ignore", "pipe", "inherit"}})
          assert(child.stdout:read_exactly(6) == "ready\n")
          child.stdout:pipe(process.stdout)
          process.kill(process.pid)
          child:wait()
          orrery.sleep(60000)]]

        assert.equal("hook\n", text:sub(1, 5))
        assert.equal("SIGTERM", how)
      end)
    end)

  it("runs when our output has lost its reader, in a busy loop too", function()
    run(function()
      for _, code in ipairs {
        'orrery.every(1, function() print(("x"):rep(1000)) end)',
        'orrery.go(function() while true do print(1) orrery.sleep(0) end end)',
      } do
        local child = orrery.spawn(helper.orrery, { "-e", [[
          local orrery = require "orrery"
          orrery.process.on_shutdown(function(r)
            io.stderr:write(r, "\n")
          end) ]] .. code }, { env_extend = helper.env(),
          stdio = { "ignore", "pipe", "pipe" } })
        child.stdout:read()
        child.stdout:destroy()

        assert.equal("SIGPIPE\n", child.stderr:read_all())
        assert.equal("SIGPIPE", select(2, child:wait(10000)))
      end
    end)
  end)

  it("runs when the parent has gone, not when we have left it", function()
    run(function()
      local code = [[
        process.on_shutdown(function(r) io.stderr:write(r, "\n") end)
        orrery.every(60000, function() end)
        process.send("ready") ]]
      for _, case in ipairs {
        { code, "disconnect\n" },
        { code .. [[
          process.disconnect()
          orrery.sleep(20)
          io.stderr:write("alone\n")
          process.exit()]], "alone\n" },
      } do
        local child = helper.fork(case[1],
          { stdio = { "ignore", "inherit", "pipe", "ipc" } })
        assert.equal("ready", child:receive(10000))
        if case[2] == "disconnect\n" then child:disconnect() end

        assert.equal(case[2], child.stderr:read_all())
        assert.equal(0, (child:wait(10000)))
        helper.await_close(child)
      end
    end)
  end)

  it("works in a host that asks for it", function()
    run(function()
      local result = helper.lua [[
        local orrery = require "orrery"
        orrery.process.on_shutdown(function(r)
          io.write(r, "\n") io.flush()
        end)
        orrery.process.kill(orrery.process.pid)
        orrery.sleep(60000)]]

      assert.equal("SIGTERM\n", result.stdout)
      assert.equal("SIGTERM", result.signal)
    end)
  end)

  it("runs what a hook gives, next", function()
    run(function()
      local text = ended [[
        process.on_shutdown(function(r) print("first", r) end)
        process.on_shutdown(function()
          process.on_shutdown(function(r) print("given", r) end)
          print "giving"
        end)]]

      assert.equal("giving\ngiven\tend\nfirst\tend\n", text)
    end)
  end)

  it("serves each orrery.main, and is over behind it", function()
    run(function()
      local result = helper.lua [[
        local orrery = require "orrery"
        local process = orrery.process
        local function hook(name)
          return function()
            process.on_shutdown(function(r) print(name, r) end)
          end
        end
        orrery.main(hook "one")
        orrery.main(hook "two")
        io.stdout:flush()
        process.kill(process.pid)
        print "never" io.stdout:flush()]]

      assert.equal("one\tend\ntwo\tend\n", result.stdout)
      assert.equal("SIGTERM", result.signal)
    end)
  end)

  it("raises for bad arguments", function()
    for _, bad in ipairs { {}, { 5 }, { print, -1 }, { print, "x" } } do
      assert.is_false((pcall(orrery.process.on_shutdown, table.unpack(bad))))
    end
  end)
end)
