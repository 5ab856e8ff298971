local helper = require "spec.helper"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local net = require "orrery.net"
local orrery = require "orrery"
local task = require "orrery.task"
local fixture = require "spec.fixture.net"

local run = helper.run
local serve, pair, socket_path, fake_lookup =
  fixture.serve, fixture.pair, fixture.socket_path, fixture.fake_lookup

describe("net.Server:listen", function()
  it("takes port, host, backlog, or a table, and tells its address", function()
    run(function()
      local forms = {
        { 0, "127.0.0.1" }, { 0, "127.0.0.1", 5 }, { "0", "localhost" },
        { { port = 0, host = "127.0.0.1", backlog = 5, exclusive = true } },
      }
      for _, form in ipairs(forms) do
        local server <close> = net.create_server()
        assert.equal(server, server:listen(table.unpack(form)))
        local at = server:address()
        assert.is_true(at.port > 0)
        assert.same({ "127.0.0.1", 4 }, { at.address, at.family })
        assert.is_true(server.listening)
        assert.matches("^server 127.0.0.1:%d+: listening$", tostring(server))
      end
    end)
  end)

  it("gives a waiter nil, err, and no error event", function()
    run(function()
      local first <close>, port = serve()
      local second = net.create_server()
      local log = helper.record(second, { "error", "listening", "close" })
      local none, err = second:listen(port, "127.0.0.1")

      assert.is_nil(none)
      assert.same({ "EADDRINUSE", "listen", "127.0.0.1", port },
        { err.code, err.syscall, err.address, err.port })
      assert.matches("127.0.0.1:" .. port, tostring(err))
      assert.same({}, log)
      assert.is_nil(second:address())
      assert.is_true(first.listening)
    end)
  end)

  it("emits error where a callback is given, or nobody waits", function()
    run(function()
      local first <close>, port = serve()
      local function unwanted() error("must not be called") end
      for _, cb in ipairs { unwanted, false } do
        local second = net.create_server()
        if cb then
          second:listen(port, "127.0.0.1", cb)
        else
          loop.soon(function() second:listen(port, "127.0.0.1") end)
        end
        assert.equal("EADDRINUSE", second:wait_for("error").code)
      end
      assert.is_true(first.listening)
    end)
  end)

  it("can be tried again after a failure, and after a close", function()
    run(function()
      local first, port = serve()
      local second <close> = net.create_server()
      assert.is_nil(second:listen(port, "127.0.0.1"))
      first:close()
      assert(second:listen(port, "127.0.0.1"))
      second:close()
      assert(second:listen(port, "127.0.0.1"))
    end)
  end)

  it("emits listening once, and calls back", function()
    run(function()
      local server <close> = net.create_server()
      local log = helper.record(server, { "listening" })
      local got
      assert.equal(server, server:listen(0, function(it) got = it end))
      assert.is_nil(got)
      server:wait_for("listening")
      task.sleep(0)

      assert.equal(server, got)
      assert.equal("listening", helper.names(log))
    end)
  end)

  it("ends a wait for it when the server is closed meanwhile", function()
    run(function()
      local lookup <close> = fake_lookup()
      local server = net.create_server()
      local waiting = task.go(function()
        return server:listen(0, "some.host")
      end)
      task.go(function() server:close(function() end) end)
      local ok, err = waiting:join()
      lookup.answer { { addr = "127.0.0.1", family = "inet" } }
      task.sleep(0)

      assert.is_nil(ok)
      assert.equal("ECANCELED", err.code)
      assert.is_nil(server:address())
    end)
  end)

  it("raises at the caller's line for what cannot be", function()
    run(function()
      local busy <close> = serve()
      local server = net.create_server()
      local closed = core.open("/dev/null", "r")
      closed:close()
      local cases = {
        { "port", server, -1 }, { "port", server, 65536 },
        { "port", server, 1.5 },
        { "host", server, 80, 5 }, { "host", server, 80, "" },
        { "backlog", server, 80, "::", -1 },
        { "did you mean 'port'", server, { prt = 1 } },
        { "reuse_port", server, { port = 1, reuse_port = 1 } },
        { "fd", server, { fd = -1 } }, { "path", server, { path = "a\0b" } },
        { "closed", server, closed }, { "listening already", busy, 0 },
      }
      for _, case in ipairs(cases) do
        local ok, err = pcall(function()
          local result = case[2]:listen(table.unpack(case, 3))
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/net/server_spec.lua:%d+: listen: ", err)
        assert.matches(case[1], err, 1, true)
      end
      local bad = { { 5 }, { nil, 5 }, { { alow_half_open = true } } }
      for _, args in ipairs(bad) do
        local ok, err = pcall(function()
          local result = net.create_server(args[1], args[2])
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/net/server_spec.lua:%d+: create_server: ", err)
      end
    end)
  end)
end)

describe("net.Server", function()
  it("runs each connection as a task that may wait", function()
    run(function()
      local server, port = serve(function(socket)
        for line in socket:lines() do
          task.sleep(1)
          socket:write_wait(line:upper() .. "\n")
        end
      end)
      local client = net.connect(port, "127.0.0.1")
      client:write("one\ntwo\n")
      assert.equal("ONE\nTWO\n", client:read_exactly(8))
      client:finish()
      assert.equal("", client:read_all())
      assert.is_true(server:close())
    end)
  end)

  it("close waits for the connections", function()
    run(function()
      local accepted, client, ends, server = pair()
      local _ <close> = ends
      local log = helper.record(server, { "close" })
      local closing = task.go(function() return server:close() end)
      task.sleep(5)
      assert.equal("running", closing.status)
      assert.equal(1, server:get_connections())
      assert.equal("ECONNREFUSED", select(2, net.connect(client.remote_port,
        "127.0.0.1")).code)
      client:finish()

      assert.is_true(closing:join())
      assert.equal(0, server.connections)
      assert.is_true(accepted.closed)
      assert.equal("close", helper.names(log))
    end)
  end)

  it("close calls back once each, also when it is closed twice", function()
    run(function()
      local server = serve()
      local calls = {}
      server:close(function(err) calls[#calls + 1] = err or "first" end)
      server:close(function(err) calls[#calls + 1] = err or "second" end)
      assert.is_true(server:close())
      assert.same({ "first", "second" }, calls)

      local none, err = server:close()
      assert.same({ nil, "ERR_SERVER_NOT_RUNNING" }, { none, err.code })
      server:close(function(e) calls[3] = e.code end)
      helper.eventually(function() return calls[3] end)
      assert.equal("ERR_SERVER_NOT_RUNNING", calls[3])
    end)
  end)

  it("counts its connections for a callback and for a waiter", function()
    run(function()
      local _, client, ends, server = pair()
      local _ <close> = ends
      local got
      server:get_connections(function(err, n) got = { err or "ok", n } end)
      assert.equal(1, server:get_connections())
      assert.same({ "ok", 1 }, got)
      client:destroy()
      helper.eventually(function() return server.connections == 0 end)
    end)
  end)

  it("drops connections above max_connections", function()
    run(function()
      local accepted, client, ends, server = pair()
      local _ <close> = ends
      server.max_connections = 1
      local log = helper.record(server, { "drop", "connection" })
      local second = assert(net.connect(client.remote_port, "127.0.0.1"))
      assert.equal("", second:read_all() or "")
      assert.equal("drop", helper.names(log))
      assert.equal(second.local_port, log[1][2].remote_port)
      assert.is_false(accepted.closed or false)
      server.max_connections = 0
      client:destroy()
      helper.eventually(function() return server.connections == 0 end)
      net.connect(client.remote_port, "127.0.0.1"):read_all()
      assert.equal("drop drop", helper.names(log))
    end)
  end)

  it("runs on_connection for a connection that somebody else emits", function()
    run(function()
      local _, client, ends = pair()
      local _ <close> = ends
      local got
      local server = net.create_server(function(socket) got = socket end)
      server:emit("connection", client)
      task.sleep(0)

      assert.equal(client, got)
    end)
  end)

  it("holds the loop unless it is unreferenced", function()
    run(function()
      local code = [[
        local net = require "orrery.net"
        local server = net.create_server():listen(0, "127.0.0.1", print)
        %s
        require "luv".run()
        print("over")
      ]]
      local result = helper.lua(code:format("server:unref()"))
      assert.matches("^server 127.*listening.*\nover\n$", result.stdout)
      assert.equal(0, result.code)
      result = helper.lua(code:format(
        "server:on('listening', function() server:close() end)"))
      assert.matches("over\n$", result.stdout)
      assert.equal("", result.stderr)
    end)
  end)

  it("lets a process end whatever its connections are doing", function()
    run(function()
      local code = [[
        local net, uv = require "orrery.net", require "luv"
        local server = net.create_server(function(socket) socket:write("x") end)
        server:listen(0, "127.0.0.1")
        local function connect(cb)
          return net.connect(server:address().port, "127.0.0.1", cb)
        end
        local function stop() uv.stop() end
      ]]
      for _, way in ipairs {
        "connect()", "connect():destroy()", "connect(stop) uv.run()",
        "connect(function(socket) socket:destroy() server:close() stop() end) "
          .. "uv.run()",
        "connect(function(socket) socket:write(('x'):rep(1e7)) stop() end) "
          .. "uv.run()",
        "server:on('connection', function(s) s:pin_() s:destroy() stop() end) "
          .. "connect() uv.run() server:close()",
      } do
        local result = helper.lua(code .. way, { timeout = 10000 })
        assert.same({ way, 0, "" }, { way, result.code, result.stderr })
      end
    end)
  end)

  it("accepts 200 connections at once, and answers all", function()
    run(function()
      local server, port = serve(function(socket)
        socket:finish(socket:read())
      end)
      local tasks = {}
      for i = 1, 200 do
        tasks[i] = function()
          local socket = assert(net.connect(port, "127.0.0.1"))
          socket:write("n" .. i)
          return socket:read_all()
        end
      end
      local results = task.all(tasks)
      for i = 1, 200 do assert.equal("n" .. i, results[i]) end
      assert.is_true(server:close())
    end)
  end)

  it("answers 200 connections also where the backlog of a Unix socket is 1",
    function()
      run(function()
        local path, dir = socket_path()
        local _ <close> = dir
        local server = net.create_server(function(socket)
          socket:finish("hello")
        end)
        assert(server:listen { path = path, backlog = 1 })
        local tasks = {}
        for i = 1, 200 do
          tasks[i] = function() return assert(net.connect(path)):read_all() end
        end
        for _, text in ipairs(task.all(tasks)) do
          assert.equal("hello", text)
        end
        assert.is_true(server:close())
      end)
    end)

  it("turns away who comes when no fd is left, and serves on", function()
    run(function()
      local child <close> = orrery.spawn(helper.interpreter, { "-e", [[
        local net, process = require "orrery.net", require "orrery".process
        local held = {}
        local server = net.create_server()
        server:on("error", function(err) print(err) end)
        server:on("connection", function(socket)
          socket:write("hello")
          held[#held + 1] = socket
        end)
        server:listen(0, "127.0.0.1", function()
          print(server:address().port)
        end)
        process.stdin:on("data", function()
          for _, socket in ipairs(held) do socket:destroy() end
        end)
        require "luv".run()
      ]] }, { stdio = { "pipe", "pipe", "inherit" }, rlimits = { nofile = 32 },
        env_extend = helper.env() })
      local port = tonumber(child.stdout:read())
      local clients, served = {}, 0
      for i = 1, 40 do
        clients[i] = assert(net.connect(port, "127.0.0.1"))
        if clients[i]:read() then served = served + 1 end
      end
      assert.is_true(served > 8 and served < 32)

      child.stdin:write("enough\n")
      for _, client in ipairs(clients) do assert.is_nil(client:read()) end
      assert.equal("hello", net.connect(port, "127.0.0.1"):read(5))
      child:stop()
      assert.equal("", child.stdout:read_all())
    end)
  end)

  it("serves again once there are fds again, if the spare one did not help",
    function()
      run(function()
        local child <close> = orrery.spawn(helper.interpreter, { "-e", [[
          local net = require "orrery.net"
          local server = net.create_server(function(socket)
            socket:finish("hello")
          end)
          server:listen(0, "127.0.0.1", function()
            print(server:address().port)
          end)
          require "luv".run()
        ]] }, { stdio = { "ignore", "pipe", "inherit" },
          env_extend = helper.env() })
        local port = tonumber(child.stdout:read())
        local function limit(soft)
          local result = orrery.run("prlimit",
            { "--pid", child.pid, "--nofile=" .. soft })
          assert.is_true(result.ok, result.stderr)
        end
        assert.equal("hello", net.connect(port, "127.0.0.1"):read_all())

        limit("3:64")
        local client = assert(net.connect(port, "127.0.0.1"))
        local _, err = client:read(nil, 150)
        assert.equal("ETIMEDOUT", err.code)
        limit("64:64")
        assert.equal("hello", client:read_all(5000))
        child:stop()
      end)
    end)

  it("is at rest though another process has shut its socket down", function()
    run(function()
      local server <close> = serve()
      local errors = {}
      server:on("error", function(err) errors[#errors + 1] = err.code end)
      local result = orrery.run("perl", { "-e", "shutdown(STDIN, 2) or die" },
        { stdio = { fixture.dup(server), "ignore", "inherit" } })
      assert.is_true(result.ok)
      helper.eventually(function() return #errors > 0 end)

      task.sleep(250)
      assert.equal("EINVAL", errors[1])
      assert.is_true(#errors < 10)
    end)
  end)

  it("shares its socket with another process, and no accept of either is lost",
    function()
      run(function()
        local server, port = serve(function(socket) socket:finish("parent") end)
        local child <close> = orrery.spawn(helper.interpreter, { "-e", [[
          local net = require "orrery.net"
          local server = net.create_server(function(socket)
            socket:finish("child")
          end)
          server:on("error", function(err) print(err) end)
          server:listen({ fd = 3 }, function() print("ready") end)
          require "luv".run()
        ]] }, { stdio = { "ignore", "pipe", "inherit", server },
          env_extend = helper.env() })
        assert.equal("ready\n", child.stdout:read())
        local seen = {}
        local tasks = {}
        for i = 1, 100 do
          tasks[i] = function()
            local answer = net.connect(port, "127.0.0.1"):read_all()
            seen[answer] = (seen[answer] or 0) + 1
          end
        end
        task.all(tasks)
        server:close()
        assert.equal("child", net.connect(port, "127.0.0.1"):read_all())

        assert.equal(100, (seen.parent or 0) + (seen.child or 0))
        child:stop()
        assert.equal("", child.stdout:read_all())
      end)
    end)
end)
