local helper = require "spec.helper"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local net = require "orrery.net"
local uv = require "luv"
local fixture = require "spec.fixture.net"

local run = helper.run
local serve, socket_path, dup =
  fixture.serve, fixture.socket_path, fixture.dup

describe("the place of a net.Server", function()
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

  it("serves IPv6 only if told so", function()
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

  it("is shared by servers that all say reuse_port", function()
    run(function()
      local first <close> = net.create_server(function(socket)
        socket:finish "1"
      end)
      assert(first:listen { port = 0, host = "127.0.0.1", reuse_port = true })
      local place = first:address()
      place = { port = place.port, host = place.address, reuse_port = true }
      local second <close> = net.create_server(function(socket)
        socket:finish "2"
      end)
      assert(second:listen(place))

      local seen = {}
      helper.eventually(function()
        seen[net.connect(place.port, place.host):read_all()] = true
        return seen["1"] and seen["2"]
      end)
      place.reuse_port = nil
      local third = net.create_server()
      assert.equal("EADDRINUSE", select(2, third:listen(place)).code)
    end)
  end)

  it("leaves the file to a server that has taken the path over", function()
    run(function()
      local path, dir = socket_path()
      local _ <close> = dir
      local old, new = net.create_server(), net.create_server()
      assert(old:listen(path))
      assert(os.remove(path))
      assert(new:listen(path))

      assert.is_true(old:close())
      assert.equal("socket", uv.fs_stat(path).type)
      assert.is_true(new:close())
      assert.is_nil(uv.fs_stat(path))
    end)
  end)

  it("may be given as the number of an fd, which stays the caller's", function()
    run(function()
      local fd = assert(core.bind("tcp", "127.0.0.1", 0))
      fd:set_nonblocking(false)
      local server = net.create_server(function(socket) socket:finish "x" end)
      assert(server:listen { fd = fd:fileno() })
      local port = server:address().port
      assert.equal("x", net.connect(port, "127.0.0.1"):read_all())
      assert.is_true(server:close())

      assert.equal(port, (select(2, core.addresses(fd:fileno()))))
      fd:close()
    end)
  end)

  it("says what is wrong with a host, a path, an fd", function()
    run(function()
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
    end)
  end)

  it("shares the socket of a server, an orrery.fd, a luv handle", function()
    run(function()
      local first, port = serve()
      local raw = uv.new_tcp()
      local fd = dup(first)
      assert(raw:open(dup(first):take()))
      for _, from in ipairs { first, fd, raw } do
        local second = net.create_server(function(socket)
          socket:finish("2")
        end)
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

  it("takes the connections of a server that nobody listens to", function()
    run(function()
      local idle, port = serve()
      local server = net.create_server(function(socket) socket:finish("2") end)
      assert(server:listen(idle))
      for _ = 1, 20 do
        assert.equal("2", net.connect(port, "127.0.0.1"):read_all())
      end
      server:close()

      idle:on("connection", function(socket) socket:finish("1") end)
      assert.equal("1", net.connect(port, "127.0.0.1"):read_all())
      idle:close()
    end)
  end)
end)
