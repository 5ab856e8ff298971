local helper = require "spec.helper"
local orrery = require "orrery"
local core = require "orrery.core"
local net = require "orrery.net"
local uv = require "luv"

local run, fork, await_close = helper.run, helper.fork, helper.await_close

--- A server on a free port of 127.0.0.1, listening. [w]
local function serve(on_connection, opts)
  return assert(net.create_server(opts, on_connection):listen(0, "127.0.0.1"))
end

--- What a new connection to a server is told until its end. [w]
local function ask(server, text)
  local socket <close> = assert(net.connect(server:address().port, "127.0.0.1"))
  if text then socket:write(text) end
  return socket:read_all(10000)
end

local function finish(child)
  child:disconnect()
  await_close(child)
end

describe("a sent handle", function()
  it("G83: is a connection that the child answers, closed here, as the server "
    .. "can be", function()
    run(function()
      local child = fork [[
        process.on("message", function(m, s) s:finish(m .. " by child") end)]]
      local sent, err
      local server = serve(function(socket)
        sent = socket
        child:send("answered", socket, nil, function(e) err = e end)
      end)

      assert.equal("answered by child", ask(server))
      assert.is_nil(err)
      assert.is_true(sent.closed)
      assert.is_true(server:close())
      finish(child)
    end)
  end)

  it("G84: is a server that both accept from, and each closes "
    .. "for itself", function()
    run(function()
      local child = fork [[
        process.on("message", function(m, server)
          server:on("connection", function(s) s:finish("child") end)
          process.send("listening")
          process.handle(function() server:close() process.disconnect() end)
        end)]]
      local server = serve(function(socket) socket:finish("parent") end)
      child:send("server", server)
      assert.equal("listening", child:receive(5000))
      local seen, tries = {}, 0
      helper.eventually(function()
        seen[ask(server)] = true
        tries = tries + 1
        return (seen.child and seen.parent) or tries > 500
      end, 15000)

      assert.is_true(seen.child or seen.parent)
      child:request("close", 5000)
      await_close(child)
      assert.equal("parent", ask(server))
      server:close()
    end)
  end)

  it("G85: counts for the server that accepted it until it ends, or the child "
    .. "does", function()
    run(function()
      local children = {}
      for i = 1, 3 do
        children[i] = fork [[
          local sockets = {}
          process.on("message",
            function(m, s) sockets[#sockets + 1] = s s:resume() end)
          process.handle(function()
            for _, s in ipairs(sockets) do s:finish() end
          end)]]
      end
      local clients, n = {}, 0
      local server = serve(function(socket)
        n = n + 1
        children[n % 3 + 1]:send("take it", socket)
      end)
      for i = 1, 12 do
        clients[i] = assert(net.connect(server:address().port, "127.0.0.1"))
      end
      helper.eventually(function() return server.given_away_ == 12 end)
      local closed = false
      server:on("close", function() closed = true end)
      server:close(function() end)

      children[1]:request("finish", 5000)
      children[2]:request("finish", 5000)
      helper.eventually(function() return server.given_away_ == 4 end)
      assert.is_false(closed)
      children[3]:kill("SIGKILL")
      helper.eventually(function() return closed end)
      for _, client in ipairs(clients) do client:destroy() end
      finish(children[1])
      finish(children[2])
      await_close(children[3])
    end)
  end)

  it("G86: is counted by get_connections", function()
    run(function()
      local child = fork [[
        local s process.on("message", function(_, socket) s = socket end)]]
      local n = 0
      local server = serve(function(socket)
        n = n + 1
        if n < 3 then child:send("keep", socket) end
      end)
      local clients = {}
      for i = 1, 3 do
        clients[i] = assert(net.connect(server:address().port, "127.0.0.1"))
      end
      helper.eventually(function() return server.given_away_ == 2 end)

      assert.equal(3, server:get_connections())
      child:kill()
      await_close(child)
      assert.equal(1, server:get_connections())
      for _, client in ipairs(clients) do client:destroy() end
      server:close()
    end)
  end)

  it("G87: is a UDP socket that both receive from", function()
    run(function()
      local child = fork [[
        process.on("message", function(_, socket)
          socket:on("message", function(data, from)
            socket:send("child " .. data, from.port, from.address)
          end)
          process.send("ready")
        end)
        process.on("disconnect", function() process.exit() end)]]
      local dgram = orrery.dgram
      local shared = dgram.create_socket("udp4", function() end)
      shared:bind(0, "127.0.0.1")
      child:send("socket", shared)
      assert.equal("ready", child:receive(5000))
      local port = shared:address().port
      shared:close()
      local client = dgram.create_socket("udp4")
      client:bind(0, "127.0.0.1")
      client:send("hello", port, "127.0.0.1")

      assert.equal("child hello", (client:wait_for("message", 5000)))
      client:close()
      finish(child)
    end)
  end)

  it("G88: stays open here with keep_open, and both write", function()
    run(function()
      local child = fork [[
        process.on("message", function(_, s)
          s:write("child ", function() s:destroy() process.send(1) end)
        end)]]
      local server = serve(function(socket)
        child:send("take", socket, { keep_open = true })
        child:receive(5000)
        socket:finish("parent")
      end)

      assert.equal("child parent", ask(server))
      server:close()
      finish(child)
    end)
  end)

  it("G89: comes with its own message, in order, and no other", function()
    run(function()
      local child = fork [[
        process.on("message", function(m, h) process.send { m, h ~= nil } end)]]
      local fd <close> = core.open("/dev/null", "r")
      child:send("one")
      child:send("two", core.fd(fd:fileno()))
      child:send("three")

      assert.same({ "one", false }, child:receive(5000))
      assert.same({ "two", true }, child:receive(5000))
      assert.same({ "three", false }, child:receive(5000))
      finish(child)
    end)
  end)

  it("G90: comes with the right message of 800 kB, both ways", function()
    run(function()
      local child =
        fork "process.on('message', function(m, h) process.send(m, h) end)"
      for i = 1, 4 do
        local mine <close> = core.open("/dev/zero", "r")
        child:send({ i, ("x"):rep(800000) }, core.fd(mine:fileno()))
      end

      for i = 1, 4 do
        local message, handle = child:receive(10000)
        assert.equal(i, message[1])
        assert.equal(800000, #message[2])
        assert.equal("/dev/zero",
          uv.fs_readlink("/proc/self/fd/" .. handle:fileno()))
        handle:close()
      end
      finish(child)
    end)
  end)

  it("G91: is one of many: 20 children pass sockets up, and "
    .. "none is lost", function()
    run(function()
      local server = serve(function(socket) socket:pipe(socket) end)
      local children, done = {}, 0
      for i = 1, 20 do
        children[i] = fork([[
          local port = tonumber(...)
          orrery.go(function()
            for i = 1, 5 do
              process.send(i, orrery.net.connect(port, "127.0.0.1"))
            end
          end)]], nil, { tostring(server:address().port) })
        children[i]:on("message", function(m, socket)
          socket:write("echo " .. m)
          orrery.go(function()
            assert(socket:read_exactly(6, 10000) == "echo " .. m)
            socket:destroy()
            done = done + 1
          end)
        end)
      end
      for _, child in ipairs(children) do await_close(child) end

      helper.eventually(function() return done == 100 end, 10000)
      server:close()
    end, 40000)
  end)

  it("G92: goes from the child to its parent", function()
    run(function()
      local child = fork [[
        orrery.go(function()
          local server = orrery.net.create_server():listen(0, "127.0.0.1")
          process.send(server:address().port, server, nil,
            function() server:close() end)
        end)]]
      local port, server = child:receive(5000)
      server:on("connection",
        function(socket) socket:finish("from the parent") end)
      assert.equal(0, child:wait(5000))

      assert.equal(port, server:address().port)
      assert.equal("from the parent", ask(server))
      server:close()
      await_close(child)
    end)
  end)

  it("G93: that is sent twice fails the second time, and "
    .. "crashes nobody", function()
    run(function()
      local child = fork [[
        process.on("message", function(m, s) if s then s:finish(m) end end)]]
      local errs = {}
      local server = serve(function(socket)
        child:send("first", socket, nil,
          function(err) errs[1] = err or "none" end)
        helper.eventually(function() return errs[1] end)
        child:send("second", socket, nil,
          function(err) errs[2] = err or "none" end)
      end)

      assert.equal("first", ask(server))
      helper.eventually(function() return errs[2] end)
      assert.equal("none", errs[1])
      assert.equal("EBADF", errs[2].code)
      server:close()
      finish(child)
    end)
  end)

  it("G94: crosses another on its way: 200 both ways at once", function()
    run(function()
      local code = [[
        local got = 0
        process.on("message", function(m, h)
          assert(h and h:fileno())
          h:close()
          got = got + 1
          if got == 200 then process.send("all") end
        end)
        local null = orrery.core.open("/dev/null", "r")
        for i = 1, 200 do process.send(i, orrery.core.fd(null:fileno())) end]]
      local child = fork(code)
      local got, all = 0, false
      child:on("message", function(m, h)
        if m == "all" then all = true return end
        h:close()
        got = got + 1
      end)
      local null <close> = core.open("/dev/null", "r")
      for i = 1, 200 do child:send(i, core.fd(null:fileno())) end

      helper.eventually(function() return all and got == 200 end, 10000)
      finish(child)
    end)
  end)

  it("G95: to a child that ends with handles unread: every callback, and no "
    .. "crash", function()
    run(function()
      local child = fork "process.exit(0)"
      local null <close> = core.open("/dev/null", "r")
      local called = 0
      local function count() called = called + 1 end
      for i = 1, 1000 do child:send(i, core.fd(null:fileno()), nil, count) end
      await_close(child)

      helper.eventually(function() return called == 1000 end)
      assert.is_nil(child.channel)
      assert.is_false(child:send("late", core.fd(null:fileno()), nil, count))
      helper.eventually(function() return called == 1001 end)
    end)
  end)

  it("G96: carries the bytes that were read of it already", function()
    run(function()
      local child = fork [[
        process.on("message", function(_, s)
          orrery.go(function()
            s:finish("child read " .. s:read_exactly(6, 5000))
          end)
        end)]]
      local server = serve(function(socket)
        local first = socket:read(2, 5000)
        helper.eventually(function() return socket.bytes_read == 8 end)
        assert.equal("ab", first)
        child:send("go on", socket)
      end)

      assert.equal("child read cdefgh", ask(server, "abcdefgh"))
      server:close()
      finish(child)
    end)
  end)

  it("G97: is a listening socket that a child has as fd 3, "
    .. "parent or not", function()
    run(function()
      local server = serve()
      local path = helper.tmpname()
      local file <close> = io.open(path, "w")
      file:write [[
        local orrery = require "orrery"
        orrery.net.create_server(
          function(s) s:finish("child") orrery.process.exit(0) end)
          :listen({ fd = 3 })]]
      file:flush()
      local child = orrery.spawn(helper.orrery, { path },
        { stdio = { "ignore", "inherit", "inherit", server },
          env_extend = helper.env() })

      local port = server:address().port
      server:close()

      assert.equal("child",
        net.connect(port, "127.0.0.1"):read_all(10000))
      await_close(child)
      os.remove(path)
    end)
  end)

  it("is a pipe, a luv handle or an fd, each arriving as such", function()
    run(function()
      local child = fork [[
        process.on("message", function(m, h)
          local kind = type(h) == "table" and h.kind_
            or tostring(h):match("^%S+")
          process.send { m, kind }
        end)]]
      local reading <close>, writing = core.pipe()
      local pipe = uv.new_pipe(false)
      local a, b = core.socketpair()
      pipe:open(a:take())
      child:send("fd", core.fd(reading:fileno()))
      child:send("luv", pipe)
      local stream = require "orrery.stream".new(b, "pipe", "rw")
      child:send("stream", stream)

      assert.same({ "fd", "fd" }, child:receive(5000))
      assert.same({ "luv", "uv_pipe_t:" }, child:receive(5000))
      assert.same({ "stream", "shared" }, child:receive(5000))
      assert.falsy(stream.closed)
      stream:destroy()
      writing:close()
      require "orrery.runtime.loop".close(pipe)
      finish(child)
    end)
  end)

  it("stays open while it waits, whatever its owner does meanwhile", function()
    run(function()
      local child = fork [[
        orrery.go(function()
          process.request("start", 5000)
          process.on("message", function(m, h)
            if h then process.send(h:fileno() ~= nil) end
          end)
          process.on("disconnect", function() process.exit() end)
        end)]]
      local pad = ("x"):rep(300000) -- fills the socket
      local server = serve()
      child:send(pad)
      child:send("server", server)
      server:close()
      child:handle(function() return true end)

      assert.is_true(child:receive(5000))
      finish(child)
    end)
  end)

  it("that is lost for want of fds is told of with its message, and "
    .. "only that", function()
    run(function()
      local child = fork([[
        local kept, bad = {}, {}
        process.on("message", function(m, h, err)
          if h then kept[#kept + 1] = h end
          if err then bad[#bad + 1] = m .. " " .. err.code end
          if m == 60 then
            process.send { #kept, bad }
          end
        end)]], { rlimits = { nofile = 40 } })
      local null <close> = core.open("/dev/null", "r")
      for i = 1, 60 do child:send(i, core.fd(null:fileno())) end
      local counts = child:receive(5000)

      assert.is_true(counts[1] >= 10 and counts[1] < 40)
      assert.equal(60 - counts[1], #counts[2])
      for i, text in ipairs(counts[2]) do
        assert.equal(("%d EMFILE"):format(counts[1] + i), text)
      end
      finish(child)
    end)
  end)

  it("of a kind that nobody knows, or none at all, is an error with its "
    .. "message", function()
    run(function()
      local child = helper.raw_peer [[
        local ch = core.fork(peer, "frames", 1000)
        local null = core.open("/dev/null", "r")
        ch:post(0, 0, 7, nil, { type = "gold" }, null:fileno())
        ch:post(0, 0, 8, nil, { type = "net.Server" }, null:fileno())
        ch:post(0, 0, 9, nil, { type = "luv", kind = {} }, null:fileno())
        ch:flush()]]
      local seen = {}
      child:on("message",
        function(m, h, err) seen[m] = { h, err and err.code } end)
      await_close(child)

      assert.same({ nil, "ERR_INVALID_HANDLE_TYPE" }, seen[7])
      assert.same({ nil, "ENOTSOCK" }, seen[8])
      assert.same({ nil, "EINVAL" }, seen[9])
    end)
  end)
end)
