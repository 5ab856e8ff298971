local helper = require "spec.helper"
local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local net = require "orrery.net"
local task = require "orrery.task"
local uv = require "luv"
local fixture = require "spec.fixture.net"

local run = helper.run
local serve, pair, socket_path, dup =
  fixture.serve, fixture.pair, fixture.socket_path, fixture.dup

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
      helper.eventually(function() return accepted.size_ == 4 end)
      assert.equal(" two", accepted:unread_())
      assert.equal("", accepted:unread_())
      client:write(" three")
      task.sleep(2)
      assert.equal(0, accepted.size_)
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

  it("G98: gives a port that may be bound again, if all say so", function()
    run(function()
      local place = { port = 0, host = "127.0.0.1", reuse_port = true }
      local server = net.create_server()
      assert(server:listen(place))
      local child = helper.fork [[
        process:on("message", function(_, theirs)
          local at = theirs:address()
          local own = orrery.net.create_server(function(socket)
            socket:finish "own"
          end)
          assert(own:listen { port = at.port, host = at.address,
            reuse_port = true })
          theirs:close()
          process.send "listening"
          process.once("message", function() own:close() end)
        end)]]
      child:send("server", server)
      assert.equal("listening", (child:receive()))
      place.port = server:address().port
      assert.is_true(server:close())

      assert.equal("own", net.connect(place.port, place.host):read_all(10000))
      child:send "end"
      child:disconnect()
      helper.await_close(child)
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
