local helper = require "spec.helper"
local core = require "orrery.core"
local dgram = require "orrery.net.datagram"
local task = require "orrery.task"
local uv = require "luv"

local run = helper.run

--- A socket on the loopback that is bound, and its port.
local function bound(on_message, kind)
  local socket = dgram.create_socket(kind or "udp4", on_message)
  assert(socket:bind(0, kind == "udp6" and "::1" or "127.0.0.1"))
  return socket, socket:address().port
end

--- Sends, and waits until it has gone. [w]
local function send(socket, ...)
  local result
  local args = table.pack(...)
  args[args.n + 1] = function(err, size) result = { err or "ok", size } end
  socket:send(table.unpack(args, 1, args.n + 1))
  helper.eventually(function() return result end)
  return table.unpack(result)
end

describe("dgram.Socket", function()
  it("binds, and tells its address and fd", function()
    run(function()
      local forms = {
        {}, { 0 }, { 0, "127.0.0.1" }, { "0", "localhost" }, { { port = 0 } },
      }
      for _, form in ipairs(forms) do
        local socket <close> = dgram.create_socket("udp4")
        assert.is_nil(socket:address())
        assert.is_nil(socket:fileno())
        assert.equal(socket, socket:bind(table.unpack(form)))
        local at = socket:address()
        assert.equal(form[2] and "127.0.0.1" or "0.0.0.0", at.address)
        assert.equal(4, at.family)
        assert.matches("^socket:", helper.fds()[socket:fileno()])
        assert.matches("^udp4 socket .*:" .. at.port .. ": bound$",
          tostring(socket))
      end
    end)
  end)

  it("carries datagrams, also empty and large ones, both families", function()
    run(function()
      for _, kind in ipairs { "udp4", "udp6" } do
        local host = kind == "udp4" and "127.0.0.1" or "::1"
        local receiver, port = bound(nil, kind)
        local sender = bound(nil, kind)
        for _, data in ipairs { "hello", "", "a\0b", ("x"):rep(60000) } do
          sender:send(data, port)
          local got, from = receiver:wait_for("message", 5000)
          assert.equal(data, got)
          assert.same({
            address = host,
            family = kind == "udp4" and 4 or 6,
            port = sender:address().port,
            size = #data,
          }, from)
        end
        assert.is_true(receiver:close())
        assert.is_true(sender:close())
      end
    end)
  end)

  it("runs each message as a task that may wait, and answers", function()
    run(function()
      local server, port
      server, port = bound(function(data, from)
        task.sleep(1)
        server:send(data:upper(), from.port, from.address)
      end)
      local client = bound()
      client:send("ping", port)

      assert.equal("PING", (client:wait_for("message", 5000)))
      server:close()
      client:close()
    end)
  end)

  it("binds by itself where it sends first, and keeps the order", function()
    run(function()
      local receiver, port = bound()
      local got = {}
      receiver:on("message", function(data) got[#got + 1] = data end)
      local sender = dgram.create_socket("udp4")
      local log = helper.record(sender, { "listening" })
      for i = 1, 5 do sender:send("n" .. i, port) end
      assert.same({ "ok", 2 }, { send(sender, "n6", port, "localhost") })
      helper.eventually(function() return #got == 6 end)

      assert.equal("n1 n2 n3 n4 n5 n6", table.concat(got, " "))
      assert.equal("listening", helper.names(log))
      sender:close()
      receiver:close()
    end)
  end)

  it("sends what was sent while it was being bound", function()
    run(function()
      local receiver, port = bound()
      local sender = dgram.create_socket("udp4")
      sender:bind(0, "localhost", function() end)
      sender:send("early", port)

      assert.equal("early", (receiver:wait_for("message", 5000)))
      sender:close()
      receiver:close()
    end)
  end)

  it("gives a waiter nil, err where the port is in use, else an error event",
    function()
      run(function()
        local first, port = bound()
        local second = dgram.create_socket("udp4")
        local log = helper.record(second, { "error", "listening" })
        local none, err = second:bind(port, "127.0.0.1")
        assert.is_nil(none)
        assert.same({ "EADDRINUSE", "bind", "127.0.0.1", port },
          { err.code, err.syscall, err.address, err.port })
        assert.same({}, log)
        second:bind(port, "127.0.0.1", function() error("must not") end)
        assert.equal("EADDRINUSE", second:wait_for("error").code)
        assert(second:bind(0, "127.0.0.1"))
        first:close()
        second:close()
      end)
    end)

  it("tells the callback, or an error event, what it cannot send", function()
    run(function()
      local socket = bound()
      local log = helper.record(socket, { "error" })
      local err = send(socket, ("x"):rep(70000), 9)
      assert.same({ "EMSGSIZE", "send", 9 },
        { err.code, err.syscall, err.port })
      err = send(socket, "x", 9, "no.such.host.invalid")
      assert.equal("ENOTFOUND", err.code)
      assert.equal("ENOTFOUND", (send(socket, "x", 9, "::1")).code)
      assert.same({}, log)
      socket:send(("x"):rep(70000), 9)
      assert.equal("EMSGSIZE", socket:wait_for("error").code)
      socket:close()
    end)
  end)

  it("does not mind that nobody listens at the other end", function()
    run(function()
      local gone, port = bound()
      gone:close()
      local socket = bound()
      for _ = 1, 3 do assert.equal("ok", (send(socket, "x", port))) end
      socket:close()
    end)
  end)

  it("closes once, and calls back each time", function()
    run(function()
      for _, socket in ipairs { dgram.create_socket("udp4"), (bound()) } do
        local log = helper.record(socket, { "close" })
        local calls = {}
        socket:close(function(err) calls[#calls + 1] = err or "first" end)
        socket:close(function(err) calls[#calls + 1] = err or "second" end)
        assert.is_true(socket:close())
        assert.same({ "first", "second" }, calls)
        assert.equal("close", helper.names(log))
        local none, err = socket:close()
        assert.is_nil(none)
        assert.equal("ERR_SOCKET_DGRAM_NOT_RUNNING", err.code)
        err = send(socket, "x", 9)
        assert.equal("ERR_SOCKET_DGRAM_NOT_RUNNING", err.code)
      end
    end)
  end)

  it("ends waits and sends if it is closed while it is being bound", function()
    run(function()
      local lookup = uv.getaddrinfo
      local _ <close> = setmetatable({}, {
        __close = function() uv.getaddrinfo = lookup end,
      })
      local answer
      uv.getaddrinfo = function(host, service, hints, cb)
        if not cb then return lookup(host, service, hints) end
        answer = cb
        return true
      end
      local socket = dgram.create_socket("udp4")
      local binding = task.go(function() return socket:bind(0, "some.host") end)
      task.sleep(0)
      local sent
      socket:send("x", 9, function(err) sent = err.code end)
      socket:close()
      answer(nil, { { addr = "127.0.0.1", family = "inet" } })

      assert.equal("ECANCELED", select(2, binding:join()).code)
      assert.equal("ERR_SOCKET_DGRAM_NOT_RUNNING", sent)
      assert.is_nil(socket:fileno())
    end)
  end)

  it("tells the kernel about broadcast, hops and groups", function()
    run(function()
      local socket = dgram.create_socket { type = "udp4", reuse_addr = true }
      assert.equal("EBADF", select(2, socket:set_broadcast(true)).code)
      assert(socket:bind())
      assert(socket:set_broadcast(true))
      assert(socket:set_ttl(3))
      assert(socket:set_multicast_ttl(1))
      assert(socket:set_multicast_loopback(false))
      assert(socket:set_multicast_interface("127.0.0.1"))
      assert(socket:add_membership("239.1.2.3", "127.0.0.1"))
      assert(socket:drop_membership("239.1.2.3", "127.0.0.1"))
      local ok, err = socket:add_membership("127.0.0.1")
      assert.is_nil(ok)
      assert.equal("EINVAL", err.code)
      socket:close()
    end)
  end)

  it("holds the loop unless it is unreferenced", function()
    run(function()
      local code = [[
        local socket = require "orrery.net.datagram".create_socket("udp4")
        socket:bind(0, "127.0.0.1", function()
          if %s then socket:unref() else socket:close() end
        end)
        require "luv".run()
        print("over")
      ]]
      for _, unref in ipairs { "true", "false" } do
        local result = helper.lua(code:format(unref))
        assert.same({ "over\n", "", 0 },
          { result.stdout, result.stderr, result.code })
      end
    end)
  end)

  it("shares a port with others that say reuse_port", function()
    run(function()
      local opts, got = { type = "udp4", reuse_port = true }, {}
      local sockets = {}
      for i = 1, 2 do
        sockets[i] = dgram.create_socket(opts, function() got[i] = true end)
        assert(sockets[i]:bind(i == 1 and 0 or sockets[1]:address().port,
          "127.0.0.1"))
      end
      local port = sockets[1]:address().port
      helper.eventually(function() -- which gets it depends on the sender's port
        local sender <close> = dgram.create_socket("udp4")
        send(sender, "x", port)
        return got[1] and got[2]
      end)

      local alone <close> = dgram.create_socket("udp4")
      assert.equal("EADDRINUSE", select(2, alone:bind(port, "127.0.0.1")).code)
      for i = 1, 2 do sockets[i]:close() end
    end)
  end)

  it("binds to a bound fd, which stays the caller's", function()
    run(function()
      local fd = assert(core.bind("udp", "127.0.0.1", 0))
      local socket <close> = dgram.create_socket("udp4")
      assert(socket:bind { fd = fd:fileno() })
      local port = socket:address().port
      local sender <close> = dgram.create_socket("udp4")
      send(sender, "hello", port)

      assert.equal("hello", (socket:wait_for("message")))
      assert(socket:close())
      assert.equal(port, (select(2, core.addresses(fd:fileno()))))
      local other <close> = dgram.create_socket("udp6")
      local none, err = other:bind { fd = fd:fileno() }
      assert.same({ nil, "ENOTSOCK" }, { none, err.code })
      fd:close()
    end)
  end)

  it("raises at the caller's line for what cannot be", function()
    run(function()
      local socket <close> = bound()
      local fresh = dgram.create_socket("udp4")
      local cases = {
        { "create_socket", dgram.create_socket },
        { "create_socket", dgram.create_socket, "udp5" },
        { "create_socket", dgram.create_socket, { typ = "udp4" } },
        { "create_socket", dgram.create_socket,
          { type = "udp4", reuse_port = 1 } },
        { "bind", fresh.bind, fresh, { fd = -1 } },
        { "create_socket", dgram.create_socket, "udp4", 5 },
        { "bind", fresh.bind, fresh, 70000 },
        { "bind", fresh.bind, fresh, 0, "" },
        { "bind", fresh.bind, fresh, { prt = 1 } },
        { "bind", socket.bind, socket },
        { "send", socket.send, socket, 5, 9 },
        { "send", socket.send, socket, "x" },
        { "send", socket.send, socket, "x", 0 },
        { "send", socket.send, socket, "x", 9, 5 },
        { "send", socket.send, socket, "x", 9, "::1", 5 },
        { "close", socket.close, socket, 5 },
        { "set_ttl", socket.set_ttl, socket, 0 },
        { "add_membership", socket.add_membership, socket },
      }
      for _, case in ipairs(cases) do
        local ok, err = pcall(function()
          local result = case[2](table.unpack(case, 3))
          return result
        end)
        assert.is_false(ok)
        assert.matches(
          "^spec/net/datagram_spec.lua:%d+: " .. case[1] .. ": ", err)
      end
    end)
  end)
end)

describe("handing over a dgram.Socket", function()
  it("keeps the fd of what is closed while it is pinned", function()
    run(function()
      local socket, port = bound()
      local fd = socket:fileno()
      local log = helper.record(socket, { "close", "message" })
      socket:pin_()
      assert.is_true(socket:close())
      local sender = bound()
      send(sender, "late", port)
      task.sleep(2)
      assert.is_nil(socket:fileno())
      assert.matches("^socket:", helper.fds()[fd])
      socket:unpin_()
      helper.eventually(function() return not helper.fds()[fd] end)

      assert.equal("close", helper.names(log))
      sender:close()
    end)
  end)

  it("adopts a bound fd, which receives and sends", function()
    run(function()
      local first, port = bound()
      local copy = assert(core.dup(first:fileno()))
      first:close()
      local socket = dgram.adopt(copy, "udp4")
      assert.same({ "dgram.Socket", "udp4", port },
        { socket.handle_type_, socket.type, socket:address().port })
      local sender, back = bound()
      sender:send("to you", port)
      assert.equal("to you", (socket:wait_for("message", 5000)))
      socket:send("and back", back)
      assert.equal("and back", (sender:wait_for("message", 5000)))
      socket:close()
      sender:close()
    end)
  end)

  it("leaves what is no UDP socket to the caller", function()
    run(function()
      local one, two = core.socketpair()
      for _, fd in ipairs { one, two, core.open("/dev/null", "r") } do
        local socket, err = dgram.adopt(fd, "udp4")
        assert.is_nil(socket)
        assert.equal("ENOTSOCK", err.code)
        assert.is_truthy(fd:fileno())
        fd:close()
      end
    end)
  end)
end)
