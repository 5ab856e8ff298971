local helper = require "spec.helper"
local fixture = require "spec.fixture.net"
local orrery = require "orrery"
local terminal = require "spec.fixture.terminal"
local uv = require "luv"

local run = helper.run

describe("stdout", function()
  it("ours does better 24: leaves the flags of its file alone, and is "
    .. "synchronous", function()
    run(function()
      local child = orrery.spawn(helper.orrery, { "-e", [[
        local process = require "orrery".process
        for i = 1, 300 do
          io.write(("x"):rep(500))
          process.stdout:write(("y"):rep(500))
        end
        local info = io.open("/proc/self/fdinfo/1"):read("a")
        local flags = tonumber(info:match("flags:%s+(%d+)"), 8)
        process.stderr:write(tostring(flags & tonumber("4000", 8)))]] },
        { env_extend = helper.env() })
      local text = child.stdout:read_all()
      local flags = child.stderr:read_all()
      child:wait()

      assert.equal(300000, #text)
      assert.equal("0", flags)
    end)
  end)

  it("waits where somebody made it non-blocking", function()
    run(function()
      local reading, writing = orrery.core.pipe()
      local pipe = uv.new_pipe(false)
      pipe:open(writing:take()) -- luv sets O_NONBLOCK
      local child = orrery.spawn(helper.orrery, { "-e",
        'require "orrery".process.stdout:write(("x"):rep(1000000))' },
        { env_extend = helper.env(), stdio = { "ignore", pipe, "inherit" } })
      pipe:close()
      local reader = require "orrery.stream".new(reading, "pipe", "r")

      assert.equal(1000000, #reader:read_all())
      assert.equal(0, child:wait())
    end)
  end)
end)

describe("a standard stream that is a terminal", function()
  --- Runs a script on a terminal of 30 × 90, which becomes one of 40 × 100 at
  --- the line "ready". Returns its lines. [w]
  local function on_terminal(code, host)
    local child = orrery.spawn(host or helper.orrery, { "-e",
      "local process = require 'orrery'.process " .. code },
      { env_extend = helper.env(),
        stdio = { pty = true, rows = 30, cols = 90 } })
    local lines = {}
    for line in child.pty:lines { ends = "any" } do
      lines[#lines + 1] = line
      if line == "ready" then child.pty:resize(40, 100) end
    end
    lines[#lines + 1] = child:wait()
    return lines
  end

  it("says so, and has its size", function()
    run(function()
      local code = [[
        local out, err, input = process.stdout, process.stderr, process.stdin
        print(out.is_tty, out.columns, out.rows)
        print(err.is_tty, err.columns, err.rows, input.is_tty)]]
      local result = helper.script(code)

      assert.same({ "true\t90\t30", "true\t90\t30\ttrue", 0 },
        on_terminal(code))
      assert.equal("false\tnil\tnil\nfalse\tnil\tnil\tfalse\n",
        result.stdout)
    end)
  end)

  it("emits resize when it has another size, not at any SIGWINCH", function()
    run(function()
      for _, host in ipairs { helper.orrery, helper.interpreter } do
        assert.same({ "ready", "1\t100\t40", 0 }, on_terminal([[
          local out, count = process.stdout, 0
          out:on("resize", function() count = count + 1 end)
          process.once("SIGWINCH", function() print "ready" end)
          process.kill(process.pid, "SIGWINCH")
          out:wait_for("resize")
          print(count, out.columns, out.rows)]], host))
      end
    end)
  end)

  it("holds nothing up, and catches no signal that nobody wants", function()
    run(function()
      assert.same({ "listening", 0 }, on_terminal([[
        process.stdout:on("resize", print)
        print "listening"]]))
      assert.same({ "0", 0 }, on_terminal([[
        local out, uv = process.stdout, require "luv"
        local off = out:on("resize", print)
        local also = out:on("resize", print)
        off() also()
        local count = 0
        uv.walk(function(handle)
          if uv.handle_get_type(handle) == "signal"
            and handle:is_active() then count = count + 1 end
        end)
        print(count)]]))
    end)
  end)
end)

describe("stdin", function()
  -- Reads a line, tells the flags as a child sees them, prints 500 kB.
  local SCRIPT = [[
    local orrery = require "orrery"
    print "ready"
    assert(orrery.process.stdin:read() == "go\n")
    local info = orrery.run("cat", {"/proc/self/fdinfo/0"},
      {stdio = {"inherit"}}).stdout
    print(tonumber(info:match("flags:%s+(%d+)"), 8) & tonumber("4000", 8))
    for _ = 1, 5000 do print(("x"):rep(99)) end]]
  local HOSTS = { helper.orrery, helper.interpreter }

  --- Starts a host on one socket as its fds 0 and 1.
  local function start(host, socket)
    return orrery.spawn(host, { "-e", SCRIPT }, { env_extend = helper.env(),
      stdio = { socket, socket, "inherit" } })
  end

  --- Checks that all arrives of what a host prints slowly read. [w]
  local function check(child, peer)
    peer:write "go\n"
    local flags, rest = peer:read_exactly(8), peer:read_all()
    child:wait()

    assert.equal("ready\n0\n", flags)
    assert.equal(500000, #rest)
  end

  it("fault B1: leaves a Unix socket that is stdout too as it was", function()
    run(function()
      for _, host in ipairs(HOSTS) do
        local ours, theirs = orrery.core.socketpair()
        local child = start(host, theirs)
        theirs:close()
        check(child, require "orrery.stream".new(ours, "pipe", "rw"))
      end
    end)
  end)

  it("fault B1: leaves a TCP socket that is stdout too as it was", function()
    run(function()
      for _, host in ipairs(HOSTS) do
        local child
        local server, port = fixture.serve(function(socket)
          child = start(host, socket)
          socket:destroy()
        end)
        local peer = orrery.net.connect(port, "127.0.0.1")
        helper.eventually(function() return child end)
        check(child, peer)
        peer:destroy()
        server:close()
      end
    end)
  end)

  it("fault B1: leaves a terminal as it was", function()
    run(function()
      local _, text = terminal.cli(SCRIPT, "go\n")

      assert.matches("\ngo\n0\nx", text)
    end)
  end)
end)
