local helper = require "spec.helper"
local net = require "orrery.net"
local task = require "orrery.task"
local fixture = require "spec.fixture.net"

local run = helper.run
local serve, pair, free_port, fake_lookup =
  fixture.serve, fixture.pair, fixture.free_port, fixture.fake_lookup

describe("net.connect", function()
  it("gives a waiter the socket, connected, with both addresses", function()
    run(function()
      local server, port = serve()
      local socket = net.connect(port, "127.0.0.1")
      assert.same({ "127.0.0.1", port, 4, false },
        { socket.remote_address, socket.remote_port, socket.remote_family,
          socket.connecting })
      assert.equal(socket:address().port, socket.local_port)
      assert.matches("^socket 127.0.0.1:%d+: open$", tostring(socket))
      socket:destroy()
      server:close()
    end)
  end)

  it("connects in the background with a callback", function()
    run(function()
      local server, port = serve(function(socket) socket:finish("hi") end)
      local got
      local socket = net.connect(port, function(it) got = it end)
      local log = helper.record(socket, { "connect", "data", "end", "close" })
      assert.is_true(socket.connecting)
      socket:wait_for("close")

      assert.equal(socket, got)
      assert.equal("connect data end close", helper.names(log))
      server:close()
    end)
  end)

  it("gives a waiter ECONNREFUSED, and no error event", function()
    run(function()
      local port = free_port()
      local socket = net.socket()
      local log = helper.record(socket, { "error", "connect", "close" })
      local none, err = socket:connect(port, "127.0.0.1")
      helper.eventually(function() return #log > 0 end)

      assert.is_nil(none)
      assert.same({ "ECONNREFUSED", "connect", "127.0.0.1", port },
        { err.code, err.syscall, err.address, err.port })
      assert.equal("close", helper.names(log))
      assert.same({ nil, err }, { socket:read() })
    end)
  end)

  it("emits error, then close, where nobody waits", function()
    run(function()
      local port = free_port()
      local socket = net.connect(port, "127.0.0.1", function() error("no") end)
      local log = helper.record(socket, { "error", "connect", "close" })
      local written
      socket:write("x", function(err) written = err.code end)
      socket:wait_for("close")

      assert.equal("error close", helper.names(log))
      assert.equal("ECONNREFUSED", log[1][2].code)
      assert.equal("ECONNREFUSED", written)
    end)
  end)

  it("says ENOENT and ENOTFOUND", function()
    run(function()
      local _, err = net.connect("/no/such/socket")
      assert.same({ "ENOENT", "/no/such/socket" }, { err.code, err.path })
      _, err = net.connect(80, "no.such.host.invalid")
      assert.same({ "ENOTFOUND", "getaddrinfo" }, { err.code, err.syscall })
    end)
  end)

  it("tries the next address of a host", function()
    run(function()
      local server, port = serve(function(socket) socket:finish("four") end)
      local lookup <close> = fake_lookup()
      task.go(function()
        lookup.answer {
          { addr = "::1", family = "inet6" },
          { addr = "127.0.0.1", family = "inet" },
        }
      end)
      assert.equal("four", assert(net.connect(port, "two.invalid")):read_all())
      server:close()
    end)
  end)

  it("connects from the local address that is given", function()
    run(function()
      local from
      local _ <close>, port = serve(function(socket)
        from = socket.remote_address
        socket:finish()
      end)
      local socket = net.connect { port = port, host = "127.0.0.1",
        local_address = "127.0.0.2" }
      socket:read_all()
      assert.same({ "127.0.0.2", "127.0.0.2" }, { from, socket.local_address })

      for given, code in pairs { ["192.0.2.1"] = "EADDRNOTAVAIL",
        ["::1"] = "EINVAL" } do
        local none, err = net.connect { port = port, host = "127.0.0.1",
          local_address = given }
        assert.same({ nil, code }, { none, err.code })
      end
    end)
  end)

  it("sends what is written and finished before it is connected, in order",
    function()
      run(function()
        local server, port = serve(function(socket)
          socket:finish(socket:read_all())
        end)
        local socket = net.connect(port, "localhost", function() end)
        local done = {}
        for i = 1, 3 do
          socket:write("part " .. i .. " ", function(err)
            done[i] = err or "ok"
          end)
        end
        socket:finish("end", function(err) done[4] = err or "finished" end)
        local refused
        assert.is_false(socket:write("late", function(e) refused = e.code end))

        assert.equal("part 1 part 2 part 3 end", socket:read_all())
        assert.same({ "ok", "ok", "ok", "finished" }, done)
        assert.equal("ERR_STREAM_WRITE_AFTER_END", refused)
        server:close()
      end)
    end)

  it("says false to much that is written early, and drain later", function()
    run(function()
      local server, port = serve(function(socket) socket:resume() end)
      local socket = net.connect(port, "127.0.0.1", function() end)
      assert.is_false(socket:write(("x"):rep(100000)))
      socket:wait_for("drain")
      socket:finish()
      socket:wait_for("close")
      server:close()
    end)
  end)

  it("can be closed while it connects, and calls back all the same", function()
    run(function()
      local lookup <close> = fake_lookup()
      local server, port = serve()
      for _, host in ipairs { "127.0.0.1", "some.host" } do
        local socket = net.connect(port, host, function() error("must not") end)
        local log = helper.record(socket, { "connect", "error", "close" })
        local codes = {}
        socket:write("x", function(err) codes[1] = err.code end)
        socket:finish("y", function(err) codes[2] = err.code end)
        socket:close()
        socket:close()
        socket:wait_for("close")
        lookup.answer { { addr = "127.0.0.1", family = "inet" } }
        task.sleep(0)

        assert.equal("close", helper.names(log))
        assert.same({ "ECANCELED", "ECANCELED" }, codes)
      end
      server:close()
    end)
  end)

  it("is closed where the task that waits for it is cancelled", function()
    run(function()
      local _ <close>, port = serve()
      local socket = net.socket()
      local waiting = task.go(function()
        return socket:connect(port, "127.0.0.1")
      end)
      task.go(function() waiting:cancel() end)
      local _, err = waiting:join()

      assert.equal("ECANCELED", err.code)
      assert.is_true(socket.closed)
    end)
  end)

  it("wakes who waits when somebody else closes the socket", function()
    run(function()
      local _ <close>, port = serve()
      local socket = net.socket()
      task.go(function() socket:destroy() end)
      local none, err = socket:connect(port, "127.0.0.1")

      assert.is_nil(none)
      assert.equal("ECANCELED", err.code)
    end)
  end)

  it("raises at the caller's line for what cannot be", function()
    run(function()
      local _, client, ends = pair()
      local _ <close> = ends
      for _, case in ipairs {
        { "port" }, { "port", 70000 }, { "path", "" }, { "host", 80, "" },
        { "path", { path = "a", port = 1 } },
        { "family", { port = 1, family = 5 } },
        { "local_address", { port = 1, local_address = "localhost" } },
        { "unknown option", { prt = 1 } },
      } do
        for _, connect in ipairs { net.connect, function(...)
          local socket = net.socket()
          local result = socket:connect(...)
          return result
        end } do
          local ok, err = pcall(function()
            local result = connect(table.unpack(case, 2))
            return result
          end)
          assert.is_false(ok)
          assert.matches("^spec/net/connecting_spec.lua:%d+: connect: ", err)
          assert.matches(case[1], err, 1, true)
        end
      end
      local ok, err = pcall(function() client:connect(80) end)
      assert.is_false(ok)
      assert.matches("^spec/net/connecting_spec.lua:%d+: connect: ", err)
    end)
  end)
end)
