local events = require "orrery.events"
local helper = require "spec.helper"
local loop = require "orrery.runtime.loop"
local net = require "orrery.net"
local orrery = require "orrery"
local task = require "orrery.task"
local uv = require "luv"
local fixture = require "spec.fixture.net"

local run = helper.run
local serve, pair, MB = fixture.serve, fixture.pair, fixture.MB

describe("net.Socket", function()
  it("moves 1 MB each way at once, and is held up by a slow reader", function()
    run(function()
      local accepted, client, ends = pair { allow_half_open = true }
      local _ <close> = ends
      local function writer(socket)
        return function()
          local pieces = 0
          for piece in MB:gmatch(("."):rep(16 * 1024)) do
            pieces = pieces + #piece
            if not socket:write(piece) then socket:wait_for("drain") end
          end
          socket:finish()
          return pieces
        end
      end
      local function reader(socket)
        return function()
          task.sleep(2)
          assert.is_true(socket.bytes_read <= 2 * 65536)
          return #socket:read_all()
        end
      end
      local sizes = task.all { writer(accepted), writer(client),
        reader(accepted), reader(client) }
      assert.same({ #MB, #MB, #MB, #MB }, sizes)
      assert.equal(#MB, client.bytes_read)
      assert.equal(#MB, client.bytes_written)
    end)
  end)

  it("reads no more than it keeps while nobody reads", function()
    run(function()
      local accepted, client, ends = pair()
      local _ <close> = ends
      client:write(("x"):rep(8 << 20))
      helper.eventually(function() return accepted.size_ >= 65536 end)
      task.sleep(5)
      assert.is_true(accepted.bytes_read <= 2 * 65536)
      assert.is_true(client.queued_ > 0)
    end)
  end)

  it("finishes when the peer does, once all is written", function()
    run(function()
      local accepted, client, ends = pair()
      local _ <close> = ends
      local log = helper.record(accepted, { "end", "finish", "close" })
      accepted:write(("x"):rep(1 << 20))
      client:finish()
      assert.equal(1 << 20, #client:read_all())
      helper.eventually(function() return #log == 3 end)

      assert.equal("end finish close", helper.names(log))
    end)
  end)

  it("stays half open where told so", function()
    run(function()
      local accepted, client, ends = pair { allow_half_open = true }
      local _ <close> = ends
      client:finish("question")
      assert.equal("question", accepted:read_all())
      task.sleep(2)
      accepted:finish("answer")
      assert.equal("answer", client:read_all())
      helper.eventually(function() return client.closed and accepted.closed end)
    end)
  end)

  it("notices that its peer has gone though nobody reads", function()
    run(function()
      local accepted, client, ends, server = pair()
      local _ <close> = ends
      client:destroy()
      accepted:wait_for("close")

      assert.equal(0, server.connections)
    end)
  end)

  it("ends with its peer also where bytes were never asked for", function()
    run(function()
      local accepted, client, ends, server = pair()
      local _ <close> = ends
      client:finish("nobody asks")
      accepted:finish()
      accepted:wait_for("close")
      client:wait_for("close")

      assert.equal(0, server.connections)
      assert.equal("nobody asks", accepted:read_all())
      assert.is_nil(accepted:read())
    end)
  end)

  it("keeps what was read before a reset, and then says ECONNRESET", function()
    run(function()
      local got
      local server, port = serve(function(socket) got = socket end)
      local raw = uv.new_tcp()
      raw:connect("127.0.0.1", port, loop.guard(function()
        raw:write("last words")
      end))
      helper.eventually(function() return got and got.size_ == 10 end)
      local log = helper.record(got, { "error", "close" })
      raw:close_reset(loop.guard(function() end))
      helper.eventually(function() return got.closed end)
      helper.eventually(function() return #log == 2 end)

      assert.equal("last words", got:read())
      assert.equal("ECONNRESET", select(2, got:read()).code)
      assert.equal("error close", helper.names(log))
      assert.is_true(server:close())
    end)
  end)

  it("survives a reset with nobody listening for errors", function()
    run(function()
      local accepted, failure
      local server, port = serve(function(socket)
        accepted = socket
        local data, err = socket:read()
        failure = { data, err and err.code }
      end)
      local raw = uv.new_tcp()
      raw:connect("127.0.0.1", port, loop.guard(function() end))
      helper.eventually(function() return accepted end)
      raw:close_reset(loop.guard(function() end))
      helper.eventually(function() return accepted.closed end)

      assert.same({ nil, "ECONNRESET" }, failure)
      assert.is_true(server:close())
    end)
  end)

  it("closes when a write finds nobody, and tells the callback", function()
    run(function()
      local accepted, client, ends, server = pair { allow_half_open = true }
      local _ <close> = ends
      client:write("never read")
      helper.eventually(function() return accepted.size_ > 0 end)
      client:destroy()
      local codes = {}
      helper.eventually(function()
        accepted:write("x", function(err)
          codes[#codes + 1] = err and err.code
        end)
        return accepted.closed
      end)
      helper.eventually(function() return codes[1] end)

      helper.eventually(function() return server.connections == 0 end)

      assert.equal("EPIPE", codes[1])
    end)
  end)

  it("refuses writes once it is closed, or not connected", function()
    run(function()
      local _, client, ends = pair()
      local _ <close> = ends
      client:destroy()
      for _, case in ipairs {
        { client, "ERR_STREAM_DESTROYED" }, { net.socket(), "ENOTCONN" },
      } do
        local ok, err = case[1]:write_wait("x")
        assert.is_nil(ok)
        assert.equal(case[2], err.code)
      end
    end)
  end)

  it("waits for data and reads before it is connected", function()
    run(function()
      local server, port = serve(function(socket) socket:finish("early") end)
      local socket = net.socket()
      local reading = task.go(function() return socket:read_all() end)
      local seen = {}
      local other = net.socket()
      other:on("data", function(data) seen[#seen + 1] = data end)
      task.sleep(0)
      socket:connect(port, "127.0.0.1")
      other:connect(port, "127.0.0.1")
      assert.equal("early", reading:join())
      other:wait_for("close")
      assert.same({ "early" }, seen)
      server:close()
    end)
  end)

  it("emits timeout if nothing moves, and not while something does", function()
    run(function()
      local accepted, client, ends = pair()
      local _ <close> = ends
      local fired = 0
      accepted:resume()
      local last, longest = uv.hrtime(), 0 -- a busy machine may be slower
      accepted:on("data", function()
        local now = uv.hrtime()
        last, longest = now, math.max(longest, (now - last) / 1e6)
      end)
      accepted:set_timeout(60, function() fired = fired + 1 end)
      for _ = 1, 8 do
        client:write("x")
        task.sleep(15)
      end
      if longest < 50 and uv.hrtime() - last < 50e6 then
        assert.equal(0, fired)
      end
      if fired == 0 then accepted:wait_for("timeout") end
      task.sleep(0)
      assert.equal(1, fired)
      accepted:write("again")
      accepted:wait_for("timeout", 5000)
      accepted:set_timeout(0)
    end)
  end)

  it("does not hold the loop by its timeout, and sets options", function()
    run(function()
      local accepted, client, ends = pair { no_delay = true, keep_alive = true }
      local _ <close> = ends
      assert.equal(client, client:set_no_delay():set_keep_alive(true, 1000))
      assert.equal(client, client:set_keep_alive(false):set_timeout(600000))
      assert.equal(accepted, accepted:unref():ref())
      for _, bad in ipairs {
        { "set_timeout", -1 }, { "set_timeout", 5, 5 }, { "set_no_delay", 1 },
        { "set_keep_alive", true, 1.5 }, { "write", 5 }, { "finish", {} },
      } do
        local ok, err = pcall(function()
          local result = client[bad[1]](client, table.unpack(bad, 2))
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/net/socket_spec.lua:%d+: " .. bad[1], err)
      end
    end)
  end)

  it("reads nothing before it is asked with pause_on_connect", function()
    run(function()
      local accepted, client, ends = pair { pause_on_connect = true }
      local _ <close> = ends
      client:write("waits")
      task.sleep(5)
      assert.equal(0, accepted.bytes_read)
      assert.equal("waits", accepted:read())
    end)
  end)

  it("can be a child's stdout", function()
    run(function()
      local accepted, client, ends = pair { pause_on_connect = true }
      local _ <close> = ends
      local child = orrery.spawn("echo", { "from a child" },
        { stdio = { "ignore", accepted, "inherit" } })
      accepted:destroy()
      assert.equal("from a child\n", client:read_all())
      child:wait()
    end)
  end)

  it("is let go of by a server when only the collector knows it", function()
    run(function()
      local server, port = serve(nil, { pause_on_connect = true })
      local client = net.connect(port, "127.0.0.1")
      helper.eventually(function() return server.connections == 1 end)
      helper.eventually(function()
        collectgarbage()
        return server.connections == 0
      end)
      client:destroy()
      assert.is_true(server:close())
    end)
  end)
end)

--- What is done to a socket before the turn ends that it came in.
local function at_once(opts, fn)
  local done = events.new()
  local server, port = serve(nil, opts)
  server:on("connection", function(socket)
    done.socket = socket
    fn(socket)
  end)
  return server, port, done
end

describe("a connection, in the turn that it comes in,", function()
  it("is answered and closed without a handle of luv's", function()
    run(function()
      local log, handle = {}, nil
      local server <close>, port = at_once(nil, function(socket)
        socket:on("close", function() log[#log + 1] = "close" end)
        socket:write("ok", function(err)
          log[#log + 1] = err or "written"
          handle = socket.handle_
          socket:destroy()
        end)
      end)

      assert.equal("ok", net.connect(port, "127.0.0.1"):read_all())
      helper.eventually(function() return #log == 2 end)
      assert.same({ "written", "close" }, log)
      assert.is_nil(handle)
      assert.is_true(server:close())
    end)
  end)

  it("is written more than the kernel takes, and says so", function()
    run(function()
      local more
      local data = MB:rep(8)
      local server <close>, port = at_once(nil, function(socket)
        more = socket:write(data)
        socket:finish("!")
      end)

      local got = net.connect(port, "127.0.0.1"):read_all()
      assert.is_true(got == data .. "!")
      assert.is_false(more)
      assert.is_true(server:close())
    end)
  end)

  it("calls back for a finish that a destroy cuts off, before close", function()
    run(function()
      local log = {}
      local server <close>, port = at_once(nil, function(socket)
        socket:on("close", function() log[#log + 1] = "close" end)
        socket:finish(function(err) log[#log + 1] = err.code end)
        socket:destroy()
      end)

      assert.is_nil(net.connect(port, "127.0.0.1"):read())
      helper.eventually(function() return #log == 2 end)
      assert.same({ "ECANCELED", "close" }, log)
      assert.is_true(server:close())
    end)
  end)

  it("takes settings, and is read from afterwards", function()
    run(function()
      local server <close>, port, done = at_once({ no_delay = true },
        function(socket)
          socket:set_keep_alive(true):set_no_delay(false):unref()
        end)
      local client = net.connect(port, "127.0.0.1")
      client:finish("hello")

      helper.eventually(function() return done.socket end)
      assert.equal("hello", done.socket:ref():read_all())
      assert.is_true(server:close())
    end)
  end)

  it("hears of a gone peer when it writes, though nothing was read", function()
    run(function()
      local server <close>, port, done = at_once({ pause_on_connect = true },
        function() end)
      net.connect(port, "127.0.0.1"):destroy()
      helper.eventually(function() return done.socket end)

      local err
      helper.eventually(function()
        err = select(2, done.socket:write_wait("x"))
        return err
      end)
      assert.truthy(err.code == "EPIPE" or err.code == "ECONNRESET")
      assert.is_true(server:close())
    end)
  end)

  it("knows where it is, also once it is closed", function()
    run(function()
      for _, host in ipairs { "127.255.255.254", "::1" } do
        local server <close> = assert(net.create_server():listen(0, host))
        local socket, address
        server:on("connection", function(it)
          socket, address = it, it:address()
          it:destroy()
        end)
        local client = assert(net.connect(server:address().port, host))
        helper.eventually(function() return socket end)

        assert.same(server:address(), address)
        assert.equal(host, socket.local_address)
        assert.same(
          { client.local_address, client.local_port, client.remote_family },
          { socket.remote_address, socket.remote_port, socket.remote_family })
        assert.is_nil(socket:address())
        client:destroy()
      end
    end)
  end)
end)
