--- How an `orrery` script ends by signals, and by outputs without a reader.

local helper = require "spec.helper"
local orrery = require "orrery"
local terminal = require "spec.fixture.terminal"

local run = helper.run

--- Starts the CLI on a script that prints "ready" when it is to be ended.
local function start(code, opts)
  opts = opts or {}
  opts.env_extend = helper.env()
  opts.stdio = opts.stdio or { "ignore", "pipe", "inherit" }
  local command = opts.command or { helper.orrery, "-e", code }
  opts.command = nil
  return orrery.spawn(command, opts)
end

--- Waits for "ready", sends a signal, and returns how the script ended. [w]
local function end_by(signal, child)
  local text = child.stdout:read_exactly(6)
  assert.equal("ready\n", text)
  child:kill(signal)
  child.stdout:resume()
  return select(2, child:wait(10000))
end

--- A shell that traps a signal, tells `path` when it has cleaned up, and needs
--- some time for that. It prints "ready" itself.
local function slow_shell(path, signal)
  return ([[trap 'sleep 0.3; echo cleaned >>%s; exit' %s; echo ready;
    while :; do sleep 0.05; done]]):format(path, signal)
end

local function take_file(path)
  local file <close> = assert(io.open(path))
  local text = file:read("a")
  os.remove(path)
  return text
end

describe("a script without a listener", function()
  it("fault A1: ends at once by SIGINT, SIGTERM and SIGHUP", function()
    run(function()
      for _, code in ipairs {
        [[print "ready" require "orrery".sleep(9000)]],
        [[print "ready" io.stdout:flush() while true do end]],
        [[require "orrery".net.create_server():listen(0) print "ready"]],
        [[require "luv".new_timer():start(9000, 0, print) print "ready"]],
      } do
        for _, signal in ipairs { "SIGINT", "SIGTERM", "SIGHUP" } do
          assert.equal(signal, end_by(signal, start(code)), code)
        end
      end
    end, 60000)
  end)

  it("fault A1: does not go on after the program that it runs", function()
    run(function()
      local child = start [[
        require "orrery".run("sh", {"-c", "echo ready; exec sleep 9"},
          {stdio = {"ignore", "inherit"}})
        print "went on"]]
      assert.equal("ready\n", child.stdout:read_exactly(6))
      child:kill("SIGINT")

      assert.equal("", child.stdout:read_all())
      assert.equal("SIGINT", select(2, child:wait(5000)))
    end)
  end)

  it("fault A1: gives its children the signal, and time to clean up", function()
    run(function()
      for _, call in ipairs { "run", "spawn_sync" } do
        local path = helper.tmpname()
        local child = start(([[
          require "orrery".%s("sh", {"-c", %q},
            {stdio = {"ignore", "inherit"}})
          print "went on"]]):format(call, slow_shell(path, "TERM")))

        assert.equal("SIGTERM", end_by("SIGTERM", child), call)
        assert.equal("cleaned\n", take_file(path), call)
      end
    end, 60000)
  end)

  it("fault A1: lets its children clean up after Ctrl-C, once", function()
    run(function()
      local path = helper.tmpname()
      local ended, text = terminal.cli(([[
        require "orrery".sh(%q, {stdio = "inherit"})
        print "went on"]]):format(slow_shell(path, "INT")))

      assert.equal(2, ended)
      assert.equal("ready\n^C", text:gsub("\n+$", ""))
      assert.equal("cleaned\n", take_file(path))
    end, 60000)
  end)

  it("fault A1: ends at once by a second signal", function()
    run(function()
      local child = start [[
        local orrery = require "orrery"
        orrery.spawn("sh", {"-c", "trap 'echo asked' INT; echo ready; "
          .. "while :; do sleep 0.05; done"},
          {stdio = {"ignore", "inherit"}, die_with_parent = true})
        orrery.sleep(9000)]]
      assert.equal("ready\n", child.stdout:read_exactly(6))
      child:kill("SIGINT")
      assert.equal("asked\n", child.stdout:read_exactly(6))
      child:kill("SIGINT")

      assert.equal("SIGINT", select(2, child:wait(1500)))
      assert.equal("", child.stdout:read_all()) -- its child has gone, too
    end)
  end)

  it("fault A1: ends so under orrery.main and in a fork, too", function()
    run(function()
      local host = start(nil, { command = { helper.interpreter, "-e", [[
        local orrery = require "orrery"
        orrery.main(function()
          print "ready"
          io.stdout:flush()
          orrery.sleep(9000)
        end)]] } })
      assert.equal("SIGINT", end_by("SIGINT", host))
      local child = helper.fork(
        [[process.on("message", print) process.send "ready"]])
      assert.equal("ready", child:receive())
      child:kill("SIGINT")
      assert.equal("SIGINT", select(2, child:wait(5000)))
      helper.await_close(child)
    end)
  end)

  it("fault A1: goes on under nohup, and so do its children", function()
    run(function()
      local child = start(nil, { command = { "sh", "-c", [[trap '' HUP
        exec "$@"]], "sh", helper.orrery, "-e", [[
        local orrery = require "orrery"
        local child = orrery.spawn("sh", {"-c", "kill -HUP $$; echo there"},
          {stdio = {"ignore", "inherit"}})
        print("ready")
        child:wait()
        io.stdin:read()]] },
        stdio = { "pipe", "pipe", "inherit" } })
      local lines = {}
      for _ = 1, 2 do lines[child.stdout:lines()()] = true end
      child:kill("SIGHUP")
      child.stdin:finish("\n")

      assert.same({ ready = true, there = true }, lines)
      assert.equal(0, child:wait(5000))
    end)
  end)

  it("fault A1: does so again after its last listener has gone", function()
    run(function()
      local child = start [[
        local process = require "orrery".process
        process.once("SIGTERM", function() print "ready" end)
        process.kill(process.pid)
        require "orrery".sleep(9000)]]

      assert.equal("SIGTERM", end_by("SIGTERM", child))
    end)
  end)
end)

describe("a script whose output has no reader", function()
  it("fault A2: ends as by SIGPIPE, however it writes", function()
    run(function()
      for _, code in ipairs {
        "for i = 1, math.huge do print(i) end",
        "while true do io.write('x') end",
        "while true do io.stderr:write('x') end",
        "local o = require 'orrery' o.every(1, function() print(1) end)",
        [[local process = require 'orrery'.process
          while true do process.stdout:write 'x' end]],
        [[local o = require 'orrery'
          local yes = o.spawn('yes', {}, {stdio = {'ignore'}})
          yes.stdout:pipe(o.process.stdout)]],
      } do
        local child = start(code, { stdio = { "ignore", "pipe", "pipe" } })
        child.stdout:destroy()
        child.stderr:destroy()

        assert.equal("SIGPIPE", select(2, child:wait(5000)), code)
      end
    end, 60000)
  end)

  it("fault A2: goes on if it listens for the error", function()
    run(function()
      local child = start([[
        local process = require "orrery".process
        process.stdout:on("error", function(err)
          process.exit(err.code == "EPIPE" and 7 or 8)
        end)
        repeat
          process.stdout:write "x"
          require "orrery".sleep(1)
        until nil]])
      child.stdout:destroy()

      assert.equal(7, child:wait(5000))
    end)
  end)
end)

describe("what a script prints", function()
  it("fault A3: reaches a slow reader of a non-blocking pipe", function()
    run(function()
      local child = start(nil, {
        command = { "python3", "-c", [[import os, sys
os.set_blocking(1, False)
os.execvp(sys.argv[1], sys.argv[1:])]], helper.orrery, "-e", [[
        for _ = 1, 3000 do print(("x"):rep(99)) end
        io.write(("y"):rep(100000))
        io.stdout:write("z")]] } })
      helper.eventually(function() return child.stdout:read(1) == "x" end)
      orrery.sleep(50) -- the pipe is full by then, most likely
      local rest = child.stdout:read_all()

      assert.equal(400000, #rest)
      assert.equal("z", rest:sub(-1))
      assert.equal(0, child:wait(5000))
    end)
  end)
end)
