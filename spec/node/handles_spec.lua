--- The JSON wire with real Node and Bun as children: handles. See
--- spec/fixture/node.lua.

local helper = require "spec.helper"
local orrery = require "orrery"
local net = require "orrery.net"
local dgram = require "orrery.net.datagram"
local fixture = require "spec.fixture.node"

local run, null = helper.run, orrery.null
local await_close = helper.await_close
local each_engine, start, node = fixture.each_engine, fixture.start,
  fixture.node
local next_message, finish, serve = fixture.next_message, fixture.finish,
  fixture.serve
local ask, callback, pause = fixture.ask, fixture.callback, fixture.pause
local limit_fds, hard_limit, NODE = fixture.limit_fds, fixture.hard_limit,
  fixture.NODE
local TIME = fixture.TIME

local MB = 1024 * 1024

-- Handles ---------------------------------------------------------------------

--- What a child does with each message: keeps a note, and answers where a
--- handle came along, by the handle.
local TAKE = [[
  const notes = [];
  process.on('message', (m, handle) => {
    notes.push([m, handle ? handle.constructor.name : null]);
    if (m === 'notes') return process.send(notes);
    if (handle instanceof net.Socket) handle.end(`node ${m}`);
    if (handle instanceof net.Server) {
      handle.on('connection', (socket) => socket.end(`node ${m}`));
      process.send('listening');
    }
    if (handle instanceof dgram.Socket) {
      handle.on('message',
        (data, from) => handle.send(`node ${data}`, from.port));
      process.send('bound');
    }
  });
  process.send('ready');]]

local function taker(engine, opts)
  local child = start(engine, TAKE, opts)
  assert.equal("ready", (next_message(child)))
  return child
end

--- A server whose connections all go to `child`, with `call` called for each.
local function serve_by(child, call)
  return serve(function(socket) child:send("took it", socket, nil, call) end)
end

each_engine(function(name, engine)
  describe("a handle sent to a child of " .. name .. "'s", function()
    it("a connection is answered there, and is no longer ours", function()
      run(function()
        local child <close> = taker(engine)
        local called, result = callback()
        local _ <close>, port = serve_by(child, called)

        assert.equal("node took it", ask(port))
        assert.equal("sent", result())
        finish(child)
      end)
    end)

    it("a connection kept open is answered by both", function()
      run(function()
        local child <close> = start(engine, [[
          process.on('message', (m, socket) => {
            socket.write('node ', () => process.send('written'));
          });]])
        local server <close>, port = serve(function(socket)
          child:send("it", socket, { keep_open = true })
          next_message(child)
          socket:finish("and lua")
        end)

        assert.equal("node and lua", ask(port))
        child:stop()
        assert.is_true(server:close())
      end)
    end)

    it("a server is shared: each accepts while the other does not", function()
      run(function()
        local child <close> = taker(engine)
        local server <close>, port =
          serve(function(socket) socket:finish("lua") end)
        child:send("shares", server)
        assert.equal("listening", (next_message(child)))

        pause(child)
        assert.equal("lua", ask(port))
        child:kill("SIGCONT")
        assert.is_true(server:close())
        assert.equal("node shares", ask(port))
        child:stop()
      end)
    end)

    it("a datagram socket is shared", function()
      run(function()
        local child <close> = taker(engine)
        local socket, client = dgram.create_socket "udp4",
          dgram.create_socket "udp4"
        assert(socket:bind(0, "127.0.0.1"))
        local port = socket:address().port
        child:send("shares", socket)
        assert.equal("bound", (next_message(child)))
        socket:close()
        client:send("hello", port)

        assert.equal("node hello", (client:wait_for("message", TIME)))
        client:close()
        child:stop()
      end)
    end)
  end)

  describe("a handle from a child of " .. name .. "'s", function()
    it("a connection is answered here, and is no longer there", function()
      run(function()
        local child <close> = start(engine, [[
          const server =
            await serve((socket) => process.send('took it', socket));
          process.send(server.address().port);
          await next(process);
          server.close(() => process.send('closed'));]])
        local port = next_message(child)
        child:on("message", function(m, socket)
          if socket then socket:finish("lua " .. m) end
        end)

        assert.equal("lua took it", ask(port))
        child:send("close")
        assert.equal("closed", (child:wait_for("message", TIME)))
        finish(child)
      end)
    end)

    it("a server is shared", function()
      run(function()
        local child <close> = start(engine, [[
          const server = await serve((socket) => socket.end('node'));
          process.send(server.address().port, server);
          process.on('disconnect', () => server.close());]])
        local port, server <close> = next_message(child)
        assert.equal(port, server:address().port)
        server:on("connection", function(socket) socket:finish("lua") end)

        pause(child)
        assert.equal("lua", ask(port))
        child:kill("SIGCONT")
        assert.is_true(server:close())
        assert.equal("node", ask(port))
        finish(child)
      end)
    end)

    it("a datagram socket is shared", function()
      run(function()
        local child <close> = start(engine, [[
          const socket = dgram.createSocket('udp4');
          socket.bind(0, '127.0.0.1', () => {
            const { port } = socket.address();
            process.send(port, socket, () => socket.close());
          });]])
        local port, socket = next_message(child)
        assert.same({ "udp4", port }, { socket.type, socket:address().port })
        await_close(child)
        local client = dgram.create_socket "udp4"
        client:send("hello", port)

        local data, from = socket:wait_for("message", TIME)
        assert.equal("hello", data)
        socket:send("lua", from.port)
        assert.equal("lua", (client:wait_for("message", TIME)))
        socket:close()
        client:close()
      end)
    end)
  end)
end)


if not NODE then return end

describe("a handle sent to a Node child", function()
  it("is no connection of its server any more", function()
    run(function()
      local child <close> = taker(NODE)
      local called, result = callback()
      local server <close>, port = serve_by(child, called)

      assert.equal("node took it", ask(port))
      assert.equal("sent", result())
      assert.is_true(server:close())
      finish(child)
    end)
  end)

  it("a luv handle arrives as one of Node's", function()
    run(function()
      local child <close> = node [[
        process.on('message', (m, handle) => {
          const socket = new net.Socket({ handle });
          socket.end(`${m} ${handle.constructor.name}`);
        });]]
      local server <close>, port = serve(function(socket)
        child:send("a", (socket:handle_of_()))
        socket:sent_()
      end)

      assert.equal("a TCP", ask(port))
      finish(child)
      server:close()
    end)
  end)

  it("of a kind that Node knows not raises, and nothing is sent", function()
    run(function()
      local child <close> = taker(NODE, { silent = true })
      for _, handle in ipairs { orrery.core.fd(0), child.stdout } do
        assert.error_matches(function() child:send("no", handle) end,
          "ERR_INVALID_HANDLE_TYPE")
      end
      child:send("notes")

      assert.same({ { "notes", null } }, (next_message(child)))
      finish(child)
    end)
  end)

  it("keeps its place among messages, also behind other handles", function()
    run(function()
      local child <close> = taker(NODE)
      local calls, expected, sockets = {}, {}, {}
      local server <close>, port =
        serve(function(socket) sockets[#sockets + 1] = socket end)
      local clients = {}
      for i = 1, 6 do clients[i] = assert(net.connect(port, "127.0.0.1")) end
      helper.eventually(function() return #sockets == 6 end)
      for i = 1, 12 do
        child:send(i, i % 2 == 0 and sockets[i // 2] or nil, nil, function(err)
          calls[#calls + 1] = err or i
        end)
        expected[i] = { i, i % 2 == 0 and "Socket" or null }
      end
      child:send("notes")

      expected[13] = { "notes", null }
      assert.same(expected, (next_message(child)))
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, calls)
      for i = 1, 6 do
        local peer = clients[i]
        assert.matches("^node %d+$", (peer:read_all()))
      end
      assert.is_true(server:close())
      finish(child)
    end)
  end)

  it("comes with its own message, however long", function()
    run(function()
      local child <close> = node [[
        process.on('message', (m, socket) => socket.end(`${m.length}`));]]
      local server <close>, port = serve(function(socket)
        child:send(("é"):rep(400000), socket)
      end)

      assert.equal("400000", ask(port))
      assert.is_true(server:close())
      finish(child)
    end)
  end)

  it("stays ours where the child ends instead, and each "
    .. "callback hears", function()
    run(function()
      local child <close> = taker(NODE)
      pause(child)
      local calls = {}
      local function called(err)
        calls[#calls + 1] = err and err.code or "sent"
      end
      local server <close>, port = serve(function(socket)
        child:send("take it", socket, nil, called)
        child:send("behind", nil, nil, called)
        child:send("again", socket, nil, called)
        child:kill("SIGKILL")
        await_close(child)
        socket:finish("lua")
      end)

      assert.equal("lua", ask(port))
      assert.equal(3, #calls)
      assert.equal("EBADF", calls[1])
      for i = 2, 3 do assert.equal("ERR_IPC_CHANNEL_CLOSED", calls[i]) end
      assert.is_true(server:close())
    end)
  end)

  it("is sent again where the child had no fd left", function()
    run(function()
      local child <close> = node([[
        const spare = [];
        process.on('internalMessage', () => spare.splice(0).map(fs.closeSync));
        process.on('message', (m, socket) => socket.end(`node ${m}`));
        try {
          for (;;) spare.push(fs.openSync('/dev/null'));
        } catch (err) {
          process.send(err.code);
        }]], { rlimits = { nofile = 64 } })
      assert.equal("EMFILE", (next_message(child)))
      local called, result = callback()
      local server <close>, port = serve_by(child, called)

      assert.equal("node took it", ask(port))
      assert.equal("sent", result())
      assert.is_true(server:close())
      finish(child)
    end)
  end)

  it("stays ours where the child never has an fd for it", function()
    run(function()
      local child <close> = taker(NODE)
      limit_fds(child.pid, 3)
      local code
      local server <close>, port = serve(function(socket)
        child:send("take it", socket, nil, function(err)
          code = err.code
          socket:finish("lua")
        end)
        child:send("notes")
      end)

      assert.equal("lua", ask(port))
      assert.equal("EMFILE", code)
      assert.same({ { "notes", null } }, (next_message(child)))
      limit_fds(child.pid, hard_limit(child.pid))
      assert.is_true(server:close())
      finish(child)
    end)
  end)

  it("stays ours where some of it was read, which cannot "
    .. "travel to Node", function()
    run(function()
      local child <close> = taker(NODE)
      local code
      local server <close>, port = serve(function(socket)
        local first = socket:read(1)
        helper.eventually(function() return socket.bytes_read == 5 end)
        child:send("take it", socket, nil, function(err)
          code = err.code
          socket:finish(first .. socket:read_exactly(4))
        end)
      end)

      assert.equal("hello", ask(port, "hello"))
      assert.equal("EBUSY", code)
      assert.is_true(server:close())
      finish(child)
    end)
  end)

  it("arrives with all behind it, though we disconnect at once", function()
    run(function()
      local child <close> = taker(NODE, { silent = true })
      local server <close>, calls = serve(), {}
      for i = 1, 6 do
        child:send(i, i % 2 == 0 and server or nil, nil, function(err)
          calls[#calls + 1] = err or i
        end)
      end
      child:disconnect()
      child:wait_for("disconnect", TIME)

      assert.same({ 1, 2, 3, 4, 5, 6 }, calls)
      child:stop()
    end)
  end)

  it("holds no more than 64 MiB of messages back", function()
    run(function()
      local child <close> = taker(NODE)
      local server <close>, codes = serve(), {}
      pause(child)
      child:send("shares", server)
      assert.is_true(child:send("text"))
      for i = 1, 64 do
        child:send(("x"):rep(MB - 2), nil, nil,
          function(err) codes[i] = err.code end)
      end
      helper.eventually(function() return next(codes) end)
      assert.same({ [64] = "ENOBUFS" }, codes)
      child:kill("SIGKILL")
      await_close(child)
      for i = 1, 63 do assert.equal("ERR_IPC_CHANNEL_CLOSED", codes[i]) end
    end)
  end)

  it("is counted by its server until the child has closed it", function()
    run(function()
      local child <close> = node [[
        const sockets = [];
        process.on('message', (m, socket) => {
          if (socket) return sockets.push(socket);
          sockets.splice(0, m).map((one) => one.destroy());
        });]]
      local sent, closed = 0, false
      local server <close>, port = serve(function(socket)
        child:send("keep", socket, nil,
          function(err) sent = sent + (err and 0 or 1) end)
      end)
      local clients = {}
      for i = 1, 3 do clients[i] = assert(net.connect(port, "127.0.0.1")) end
      helper.eventually(function() return sent == 3 end, TIME)
      assert.equal(3, server:get_connections())
      server:close(function() closed = true end)
      child:send(2)
      clients[1]:read_all()
      clients[2]:read_all()

      assert.is_false(closed)
      child:send(1)
      helper.eventually(function() return closed end, TIME)
      assert.equal(0, server:get_connections())
      clients[3]:destroy()
      finish(child)
    end)
  end)
end)
