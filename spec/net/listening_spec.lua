local helper = require "spec.helper"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local net = require "orrery.net"
local task = require "orrery.task"
local uv = require "luv"
local fixture = require "spec.fixture.net"

local run = helper.run
local serve, socket_path, dup, fake_lookup =
  fixture.serve, fixture.socket_path, fixture.dup, fixture.fake_lookup

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
      assert.same({ path, "unix" },
        { client.remote_address, client.remote_family })
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
      for _, cb in ipairs { function() error("must not be called") end,
        false } do
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
        local second =
          net.create_server(function(socket) socket:finish("2") end)
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
      local waiting =
        task.go(function() return server:listen(0, "some.host") end)
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
        assert.matches("^spec/net/listening_spec.lua:%d+: listen: ", err)
        assert.matches(case[1], err, 1, true)
      end
      for _, args in ipairs { { 5 }, { nil, 5 },
        { { alow_half_open = true } } } do
        local ok, err = pcall(function()
          local result = net.create_server(args[1], args[2])
          return result
        end)
        assert.is_false(ok)
        assert.matches("^spec/net/listening_spec.lua:%d+: create_server: ", err)
      end
    end)
  end)
end)
