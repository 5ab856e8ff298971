--- Children that end while another process, or the channel itself, still holds
--- their end of it: `disconnect` and `close` come all the same, and soon.

local helper = require "spec.helper"
local orrery = require "orrery"

local run, raw_peer = helper.run, helper.raw_peer

--- By serialization: how a peer sends its own end of the channel, and what
--- printf(1) makes a message, and part of one, of.
local wires = {
  msgpack = {
    itself = [[
      local ch = core.fork(peer, "frames", 1 << 20)
      ch:post(0, 0, "itself", nil, { type = "fd" }, ch:fileno())
      ch:flush()]],
    message = [[\001\000\000\000\000\000\000\000\001]],
    part = [[\011\000\000]],
  },
  json = {
    itself = [[
      local ch = core.fork(peer, "lines", 1 << 20)
      ch:line('{"cmd":"NODE_HANDLE","type":"net.Native","msg":"itself"}',
        ch:fileno())
      ch:flush()]],
    message = [[1\n]],
    part = [[{"a":]],
  },
}

--- Runs a line of sh in which M and P are a message and part of one, LEAVE
--- leaves a process behind that holds the channel, on fd 3, and FLOOD one that
--- also sends what it can. Returns the child, and what ends that process.
local function shell(serialization, line)
  local wire = wires[serialization]
  local child = orrery.spawn("sh", { "-c", line
    :gsub("LEAVE", "sleep 1000 >/dev/null 2>&1 & echo $!;")
    :gsub("FLOOD", "{ while printf 'M'; do :; done; } >&3 2>/dev/null & "
      .. "echo $!;")
    :gsub("[MP]", { M = wire.message, P = wire.part }), },
    { stdio = { "ignore", "pipe", "inherit", "ipc" },
      serialization = serialization })
  return child, function(pid)
    orrery.process.kill(pid, "SIGKILL")
    helper.await_end(pid)
  end
end

--- Returns the pid of the process that a shell has left behind.
local function pid_of(child)
  return math.tointeger(tonumber(child.stdout:read_all()))
end

--- The events of a child but its messages, in the order in which they come.
local function record(child)
  return helper.record(child, { "exit", "disconnect", "close" })
end

for serialization, wire in pairs(wires) do
  describe("over " .. serialization .. ", the end comes", function()
    it("fault C7: where a grandchild holds the channel", function()
      run(function()
        local child, kill = shell(serialization, "LEAVE")
        local log = record(child)
        local pid = pid_of(child)
        helper.await_close(child)

        assert.equal("exit disconnect close", helper.names(log))
        assert.same({ "disconnect" }, log[2])
        assert.same({ "close", 0 }, log[3])
        kill(pid)
      end)
    end)

    it("fault C7: where the child has sent its own end of it", function()
      run(function()
        for _, listens in ipairs { true, false } do
          local child, handle = raw_peer(wire.itself,
            { serialization = serialization }), nil
          local log = record(child)
          if listens then child:on("message", function(_, h) handle = h end) end
          helper.await_close(child)

          assert.equal("exit disconnect close", helper.names(log))
          if not listens then
            local message, taken = child:receive()
            assert.equal("itself", message)
            handle = taken
          end
          handle:close()
        end
      end)
    end)

    it("behind all messages, full as the inbox may be", function()
      run(function()
        local child, kill = shell(serialization,
          "printf 'M%.0s' $(seq 3000) >&3; LEAVE")
        local pid = pid_of(child)
        helper.await_close(child)
        local count = 0
        while child:receive() do count = count + 1 end

        assert.equal(3000, count)
        kill(pid)
      end)
    end)

    it("with an error where a message is cut off", function()
      run(function()
        local child, kill = shell(serialization, "printf 'MP' >&3; LEAVE")
        local log = record(child)
        local pid = pid_of(child)
        assert.equal(1, (child:receive(10000)))
        helper.await_close(child)

        assert.equal("ECONNRESET", log[2][2].code)
        kill(pid)
      end)
    end)

    it("where a grandchild sends for ever, heard or not", function()
      run(function()
        for _, listens in ipairs { true, false } do
          local child = shell(serialization, "FLOOD")
          if listens then child:on("message", function() end) end
          local pid = pid_of(child)
          helper.await_close(child)

          assert.is_false(child.connected)
          helper.await_end(pid) -- by SIGPIPE
        end
      end)
    end)

    it("where it reads nothing of what is still to be sent", function()
      run(function()
        local child, kill = shell(serialization, "LEAVE")
        local err
        child:send(("x"):rep(1000000), nil, nil, function(e) err = e end)
        child:disconnect()
        local pid = pid_of(child)
        helper.await_close(child)

        assert.is_table(err)
        kill(pid)
      end)
    end)
  end)
end

describe("a connection that was given away", function()
  it("is counted no longer than that", function()
    run(function()
      local child, kill = shell("msgpack", "read _ <&3; LEAVE")
      local server
      server = assert(orrery.net.create_server(function(socket)
        child:send("socket\n", socket)
      end):listen(0, "127.0.0.1"))
      local client = orrery.net.connect(server:address().port, "127.0.0.1")
      local pid = pid_of(child)

      assert.is_true(server:close())
      client:destroy()
      helper.await_close(child)
      kill(pid)
    end)
  end)
end)
