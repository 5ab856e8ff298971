--- Handles that come and that nobody wants: what becomes of them, and what they
--- take meanwhile.

local helper = require "spec.helper"
local orrery = require "orrery"

local run, fork, raw_peer = helper.run, helper.fork, helper.raw_peer
local await_close = helper.await_close

local function count_fds()
  local count = 0
  for _ in pairs(helper.fds()) do count = count + 1 end
  return count
end

--- Starts a child that sends `n` handles, then "all", and stays.
local senders = {
  msgpack = function(n)
    return raw_peer(([[
      local ch = core.fork(peer, "frames", 1 << 28)
      local null = core.open("/dev/null", "r")
      local function send(...)
        ch:post(0, 0, ...)
        while ch:flush() == false do core.poll({}, {}, 1) end
      end
      for i = 1, %d do send(i, nil, { type = "fd" }, null:fileno()) end
      send "all"
      core.poll({}, {}, -1)]]):format(n))
  end,
  json = function(n)
    return fork(([[
      local server = orrery.net.create_server():listen(0, "127.0.0.1")
      for i = 1, %d do process.send(i, server) end
      process.send "all"
      process.on("disconnect", function() server:close() end)]]):format(n),
      { serialization = "json" })
  end,
}

local function finish(child)
  child:kill "SIGKILL"
  await_close(child)
end

for serialization, sender in pairs(senders) do
  describe("a handle, over " .. serialization, function()
    it("fault C2: is closed at once where no listener can take it", function()
      run(function()
        local before = count_fds()
        local child, got, all, most = sender(3000), 0, nil, 0
        child:on("message", function(message)
          if message == "all" then all = true else got = got + 1 end
          if got % 100 == 0 then most = math.max(most, count_fds()) end
        end)
        helper.eventually(function() return all end)

        assert.equal(3000, got)
        assert.is_true(most - before < 300, most - before) -- a set has 253
        assert.is_true(count_fds() - before < 20)
        finish(child)
      end)
    end)

    it("waits within bounds, and is closed if it is not wanted", function()
      run(function()
        local before = count_fds()
        local child, all = sender(3000), nil
        helper.eventually(function()
          return child.channel_.receiving_ == "paused"
        end)
        assert.is_true(count_fds() - before < 512)
        child:on("message", function(message) all = message == "all" end)
        helper.eventually(function() return all end)

        assert.is_true(count_fds() - before < 20)
        finish(child)
      end)
    end)
  end)
end

describe("a handle", function()
  --- What listens, and whether it is for the handle as well.
  local listening = {
    { true, function(child, take)
      child:on("message", function(_, handle) take(handle) end)
    end },
    { true, function(child, take)
      child:on("message", function(...) take((select(2, ...))) end)
    end },
    { true, function(child, take)
      child:on("message", function() end)
      child:once("message", function(_, handle) take(handle) end)
    end },
    { true, function(child, take)
      for _ = 1, 20 do child:on("message", function() end) end
      child:on("message", function(_, handle) take(handle) end)
    end },
    { true, function(child, take)
      orrery.go(function()
        take((select(2, child:wait_for("message", 10000))))
      end)
    end },
    { true, function(child, take)
      orrery.go(function() take((select(2, child:receive(10000)))) end)
    end },
    { true, function(child, take)
      local undo = child:on("message", function(_) end)
      undo()
      child:on("message", function(_, handle) take(handle) end)
    end },
    { false, function(child, _, done)
      child:on("message", function() end)
      child:on("message", function(message) done(message == "all") end)
    end },
  }

  it("goes to whoever can take it", function()
    run(function()
      for _, case in ipairs(listening) do
        local wanted, listen = table.unpack(case)
        local child = senders.msgpack(1)
        local handle, all
        listen(child, function(it) handle = handle or it end,
          function(is) all = is end)
        helper.eventually(function() return handle or all end)
        assert.equal(wanted, handle ~= nil)
        if handle then handle:close() end
        finish(child)
      end
    end)
  end)
end)

describe("a server that came from another process", function()
  --- Connects and reads all, `n` times.
  local function answers(server, n)
    local seen = {}
    for _ = 1, n do
      local client = orrery.net.connect(server:address().port, "127.0.0.1")
      seen[client:read_all()] = true
    end
    return seen
  end

  it("fault C2: accepts from its first listener on", function()
    run(function()
      local server = assert(orrery.net.create_server(function(socket)
        socket:finish("parent")
      end):listen(0, "127.0.0.1"))
      local child = fork [[
        process.on("message", function(message, server)
          if server then kept = server end
          if message == "serve" then
            kept:on("connection", function(socket) socket:finish("child") end)
          end
          process.send(tostring(kept))
        end)]]
      child:send("take", server)
      assert.equal(tostring(server), (child:receive(10000)))
      assert.same({ parent = true }, answers(server, 50))

      server.handle_:stop() -- the child alone accepts
      child:send "serve"
      child:receive(10000)
      assert.same({ child = true }, answers(server, 5))
      server:close()
      finish(child)
    end)
  end)

  it("fault C2: ends with who held it if nobody listens", function()
    run(function()
      local server = orrery.net.create_server():listen(0, "127.0.0.1")
      local before = count_fds()
      for _ = 1, 50 do
        local one = assert(orrery.net.adopt_server(
          assert(orrery.core.dup(server:fileno()))))
        assert.same(server:address(), one:address())
        assert.equal(tostring(server), tostring(one))
        one:unref():ref()
        one:wait_for("listening")
      end
      collectgarbage()

      assert.equal(before, count_fds())
      server:close()
    end)
  end)

  it("is closed before it has accepted, and sent on", function()
    run(function()
      local server = orrery.net.create_server():listen(0, "127.0.0.1")
      local one = orrery.net.adopt_server(
        assert(orrery.core.dup(server:fileno())))
      local child = fork [[
        process.on("message", function(_, server)
          server:on("connection", function(socket) socket:finish("child") end)
          process.send "on"
        end)]]
      child:send("take", one)
      assert.is_true(one:close())
      assert.is_nil(one:fileno())
      assert.equal("on", (child:receive(10000)))
      server.handle_:stop()

      assert.same({ child = true }, answers(server, 2))
      server:close()
      finish(child)
    end)
  end)
end)

describe("a datagram socket that came from another process", function()
  it("takes nothing from the others before it has a listener", function()
    run(function()
      local datagram = require "orrery.net.datagram"
      local ours = orrery.dgram.create_socket("udp4")
      assert(ours:bind(0, "127.0.0.1"))
      local shared = assert(datagram.adopt(
        assert(orrery.core.dup(ours:fileno())), "udp4"))
      shared:wait_for("listening")
      local got = 0
      ours:on("message", function() got = got + 1 end)
      local sender = orrery.dgram.create_socket("udp4")
      for _ = 1, 50 do
        sender:send("x", ours:address().port, "127.0.0.1")
      end
      helper.eventually(function() return got == 50 end)
      ours:close()
      shared:send("to itself", shared:address().port, "127.0.0.1")

      assert.equal("to itself", (shared:wait_for("message", 10000)))
      shared:close()
      sender:close()
    end)
  end)
end)
