local helper = require "spec.helper"
local core = require "orrery.core"
local events = require "orrery.events"
local loop = require "orrery.loop"
local net = require "orrery.net"
local orrery = require "orrery"
local task = require "orrery.task"
local uv = require "luv"

local run = helper.run

local MB = ("0123456789abcde\n"):rep(65536)

--- A server on 127.0.0.1 that listens, and its port.
local function serve(on_connection, opts)
  local server = net.create_server(opts, on_connection)
  assert(server:listen(0, "127.0.0.1"))
  return server, server:address().port
end

--- Two ends of a connection, the accepted one first, and what closes all.
local function pair(opts)
  local got = events.new()
  local server, port = serve(nil, opts)
  server:on("connection", function(socket)
    got.socket = socket
    got:emit("socket")
  end)
  local client = assert(net.connect { port = port, host = "127.0.0.1",
    allow_half_open = opts and opts.allow_half_open })
  if not got.socket then got:wait_for("socket") end
  local accepted = got.socket
  return accepted, client, setmetatable({}, { __close = function()
    accepted:destroy()
    client:destroy()
    server:close()
  end }), server
end

--- A port where nobody listens.
local function free_port()
  local server <close>, port = serve()
  server:close()
  return port
end

--- A path for a Unix socket, and what removes its directory.
local function socket_path()
  local dir = assert(uv.fs_mkdtemp("/tmp/orrery-spec-XXXXXX"))
  return dir .. "/s", setmetatable({}, { __close = function()
    os.remove(dir .. "/s")
    assert(os.remove(dir))
  end })
end

--- The fd of a stream or server as an orrery.fd that is ours.
local function dup(object)
  return assert(core.dup(object:fileno()))
end

--- Lookups of names answer when `answer(addresses)` is called, until the block's
--- end.
local function fake_lookup()
  local real, asked = uv.getaddrinfo, {}
  uv.getaddrinfo = function(host, service, hints, cb)
    if not cb then return real(host, service, hints) end
    asked[#asked + 1] = cb
    return true
  end
  local fake = { asked = asked }
  function fake.answer(addresses)
    for _, cb in ipairs(asked) do loop.soon(cb, nil, addresses) end
  end
  return setmetatable(fake, { __close = function() uv.getaddrinfo = real end })
end

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

  it("serves both families unless a host is given", function()
    run(function()
      local server <close> = net.create_server(function(socket)
        socket:finish("hello")
      end)
      assert(server:listen())
      local at = server:address()
      assert.same({ "::", 6 }, { at.address, at.family })
      for _, host in ipairs { "127.0.0.1", "::1" } do
        local client = assert(net.connect(at.port, host))
        assert.equal("hello", client:read_all())
      end
      assert.is_true(server:close())
    end)
  end)

  it("serves IPv6 only where told so", function()
    run(function()
      local six <close> = net.create_server()
      assert(six:listen { host = "::", port = 0, ipv6_only = true })
      local four <close> = net.create_server()
      assert(four:listen(six:address().port, "0.0.0.0"))
    end)
  end)

  it("serves a Unix socket, whose file goes with it", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local server = net.create_server(function(socket)
        socket:finish(socket:read())
      end)
      assert(server:listen(path))
      local client = assert(net.connect { path = path })
      client:write("over unix")

      assert.same({ path = path }, server:address())
      assert.same({ path, "unix" }, { client.remote_address, client.remote_family })
      assert.equal("over unix", client:read_all())
      server:close()
      assert.is_nil(uv.fs_stat(path))
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
      for _, cb in ipairs { function() error("must not be called") end, false } do
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

  it("says what is wrong with a host, a path, an fd", function()
    run(function()
      local file = io.open("/dev/null")
      local null = core.open("/dev/null", "r")
      local cases = {
        { "ENOTFOUND", { 0, "no.such.host.invalid" } },
        { "EADDRNOTAVAIL", { 0, "192.0.2.77" } },
        { "ENOENT", { "/no/such/dir/s" } },
        { "ENAMETOOLONG", { "/tmp/" .. ("x"):rep(120) } },
        { "ENOTSOCK", { null } },
        { "ENOTSOCK", { { fd = null:fileno() } } },
      }
      for _, case in ipairs(cases) do
        local none, err = net.create_server():listen(table.unpack(case[2]))
        assert.is_nil(none)
        assert.equal(case[1], err.code)
      end
      null:close()
      file:close()
    end)
  end)

  it("shares the socket of a server, an orrery.fd, a luv handle", function()
    run(function()
      local first, port = serve()
      local raw = uv.new_tcp()
      local fd = dup(first)
      assert(raw:open(dup(first):take()))
      for _, from in ipairs { first, fd, raw } do
        local second = net.create_server(function(socket) socket:finish("2") end)
        assert(second:listen(from))
        assert.equal(port, second:address().port)
        second:close()
      end
      loop.close(raw)
      fd:close()
      first:on("connection", function(socket) socket:finish("1") end)
      assert.equal("1", net.connect(port, "127.0.0.1"):read_all())
      first:close()
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
      local waiting = task.go(function() return server:listen(0, "some.host") end)
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
        { "port", server, -1 }, { "port", server, 65536 }, { "port", server, 1.5 },
        { "host", server, 80, 5 }, { "host", server, 80, "" },
        { "backlog", server, 80, "::", -1 }, { "did you mean 'port'", server, { prt = 1 } },
        { "not available yet", server, { port = 1, reuse_port = true } },
        { "fd", server, { fd = -1 } }, { "path", server, { path = "a\0b" } },
        { "closed", server, closed }, { "listening already", busy, 0 },
      }
      for _, case in ipairs(cases) do
        local ok, err = pcall(function()
          local result = case[2]:listen(table.unpack(case, 3))
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/net_spec.lua:%d+: listen: ", err)
        assert.matches(case[1], err, 1, true)
      end
      for _, args in ipairs { { 5 }, { nil, 5 }, { { alow_half_open = true } } } do
        local ok, err = pcall(function()
          local result = net.create_server(args[1], args[2])
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/net_spec.lua:%d+: create_server: ", err)
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
      net.create_server(function(socket) got = socket end):emit("connection", client)
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
        "connect(function(socket) socket:destroy() server:close() stop() end) uv.run()",
        "connect(function(socket) socket:write(('x'):rep(1e7)) stop() end) uv.run()",
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
        for _, text in ipairs(task.all(tasks)) do assert.equal("hello", text) end
        assert.is_true(server:close())
      end)
    end)

  it("shares its socket with another process, and no accept of either is lost",
    function()
      run(function()
        local server, port = serve(function(socket) socket:finish("parent") end)
        local child <close> = orrery.spawn(helper.interpreter, { "-e", [[
          local net = require "orrery.net"
          local server = net.create_server(function(socket) socket:finish("child") end)
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
          { addr = "::1", family = "inet6" }, { addr = "127.0.0.1", family = "inet" },
        }
      end)
      assert.equal("four", assert(net.connect(port, "two.invalid")):read_all())
      server:close()
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
          socket:write("part " .. i .. " ", function(err) done[i] = err or "ok" end)
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
      local waiting = task.go(function() return socket:connect(port, "127.0.0.1") end)
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
        { "path", { path = "a", port = 1 } }, { "family", { port = 1, family = 5 } },
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
          assert.matches("^spec/net_spec.lua:%d+: connect: ", err)
          assert.matches(case[1], err, 1, true)
        end
      end
      local ok, err = pcall(function() client:connect(80) end)
      assert.is_false(ok)
      assert.matches("^spec/net_spec.lua:%d+: connect: ", err)
    end)
  end)
end)

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
      assert.same({ #MB, #MB, #MB, #MB, n = 4 }, sizes)
      assert.equal(#MB, client.bytes_read)
      assert.equal(#MB, client.bytes_written)
    end)
  end)

  it("reads no more than it keeps while nobody reads", function()
    run(function()
      local accepted, client, ends = pair()
      local _ <close> = ends
      client:write(("x"):rep(8 << 20))
      helper.eventually(function() return accepted.size >= 65536 end)
      task.sleep(5)
      assert.is_true(accepted.bytes_read <= 2 * 65536)
      assert.is_true(client.queued > 0)
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
      helper.eventually(function() return got and got.size == 10 end)
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
      helper.eventually(function() return accepted.size > 0 end)
      client:destroy()
      local codes = {}
      helper.eventually(function()
        accepted:write("x", function(err) codes[#codes + 1] = err and err.code end)
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

  it("emits timeout when nothing moves, and not while something does", function()
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
        assert.matches("^spec/net_spec.lua:%d+: " .. bad[1], err)
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

describe("handing over", function()
  it("keeps the fd of what is closed while it is pinned", function()
    run(function()
      local accepted, client, ends, server = pair()
      local _ <close> = ends
      for _, object in ipairs { accepted, server } do
        local fd = object:fileno()
        local log = helper.record(object, { "close" })
        object:pin_()
        object:pin_()
        object:close(object == server and function() end or nil)
        helper.eventually(function() return #log == 1 end)
        task.sleep(2)
        assert.is_nil(object:fileno())
        assert.matches("^socket:", helper.fds()[fd])
        object:unpin_()
        assert.matches("^socket:", helper.fds()[fd])
        object:unpin_()
        helper.eventually(function() return not helper.fds()[fd] end)
        assert.equal("close", helper.names(log))
      end
      assert.equal(0, server.connections)
      assert.is_nil(client:read())
    end)
  end)

  it("pins plain streams, too, and unpins what is open still", function()
    run(function()
      local reading, writing = core.pipe()
      local fd = writing:fileno()
      local stream = require "orrery.stream"
      local reader = stream.new(reading, "pipe", "r")
      local writer = stream.new(writing, "pipe", "w")
      for _ = 1, 2 do -- not used so far, then used
        writer:pin_()
        writer:unpin_()
        assert.is_true(writer:write("x"))
      end
      writer:pin_()
      writer:destroy()
      local refused = select(2, writer:write_wait("y"))
      assert.equal("ERR_STREAM_DESTROYED", refused.code)
      assert.matches("^pipe:", helper.fds()[fd])
      writer:unpin_()
      assert.equal("xx", reader:read_all())
    end)
  end)

  it("closes a sent socket without a word to the peer", function()
    run(function()
      local accepted, client, ends, server = pair()
      local _ <close> = ends
      local copy = dup(accepted)
      local log = helper.record(accepted, { "end", "error", "close" })
      local reading = task.go(function() return accepted:read() end)
      task.sleep(0)
      accepted:sent_()
      assert.is_nil(reading:join())
      accepted:wait_for("close")
      assert.equal("close", helper.names(log))
      assert.equal(0, server.connections)

      local again = net.adopt_socket(copy)
      again:write("still there")
      assert.equal("still there", client:read())
      again:destroy()
    end)
  end)

  it("takes unread bytes along, and gives them back", function()
    run(function()
      local accepted, client, ends = pair()
      local _ <close> = ends
      client:write("one two")
      assert.equal("one", accepted:read(3))
      helper.eventually(function() return accepted.size == 4 end)
      assert.equal(" two", accepted:unread_())
      assert.equal("", accepted:unread_())
      client:write(" three")
      task.sleep(2)
      assert.equal(0, accepted.size)
      local copy = net.adopt_socket(dup(accepted), " two")
      accepted:sent_()
      assert.equal(" two three", copy:read_exactly(10))
      assert.equal(" five", copy:put_back_(" five"):read())
      assert.equal(client.local_port, copy.remote_port)
      copy:destroy()
    end)
  end)

  it("adopts Unix sockets, and refuses what is no socket", function()
    run(function()
      local one, two = core.socketpair()
      local left, right = net.adopt_socket(one), net.adopt_socket(two, "hello ")
      left:finish("you")
      assert.equal("hello you", right:read_all())
      assert.equal("unix", right.remote_family)
      helper.eventually(function() return left.closed and right.closed end)
      local null = core.open("/dev/null", "r")
      local none, err = net.adopt_socket(null)
      assert.same({ nil, "ENOTSOCK" }, { none, err.code })
      assert.is_truthy(null:fileno())
      null:close()
    end)
  end)

  it("adopts servers, bound or listening, TCP or Unix", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local bound = uv.new_tcp()
      bound:bind("127.0.0.1", 0)
      local function answer(socket) socket:finish("adopted") end
      local tcp <close> = serve(answer)
      local unix <close> = net.create_server(answer)
      assert(unix:listen(path))
      for _, from in ipairs { bound, tcp, unix } do
        local server = net.adopt_server(assert(core.dup((from:fileno()))))
        server:on("connection", answer)
        assert.is_nil(server:wait_for("listening"))
        local at = server:address()
        local client = at.path and net.connect(at.path)
          or net.connect(at.port, "127.0.0.1")
        assert.equal("adopted", client:read_all())
        server:close()
      end
      loop.close(bound)
    end)
  end)

  it("adopts no server on what cannot listen", function()
    run(function()
      local accepted, _, ends = pair()
      local _ <close> = ends
      local null = core.open("/dev/null", "r")
      for code, fd in pairs { ENOTSOCK = null, EINVAL = dup(accepted) } do
        local server, err = net.adopt_server(fd)
        assert.same({ nil, code }, { server, err.code })
        fd:close()
      end
    end)
  end)
end)
