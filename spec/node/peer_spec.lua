--- The JSON wire: hostile peers, two of us, requests, handles from a child.
--- See spec/fixture/node.lua.

local helper = require "spec.helper"
local orrery = require "orrery"
local loop = require "orrery.runtime.loop"
local net = require "orrery.net"
local fixture = require "spec.fixture.node"

local run, null = helper.run, orrery.null
local await_close = helper.await_close
local node, next_message, finish = fixture.node, fixture.next_message,
  fixture.finish
local serve, ask, TIME = fixture.serve, fixture.ask, fixture.TIME

describe("a peer that knows Node's protocol badly", function()
  --- What it sends comes as messages, until the end; gives that end's error
  --- code.
  local function play(code)
    local child <close> = helper.raw_peer([[
      local ch = core.fork(peer, "lines", 1000)
      local null = core.open("/dev/null", "r") ]] .. code .. " ch:flush()",
      { serialization = "json" })
    local seen, ended = {}, nil
    child:on("message", function(m, handle, err)
      seen[#seen + 1] = { m, handle or false, err and err.code }
    end)
    child:on("disconnect", function(err) ended = err end)
    await_close(child)
    return seen, ended and ended.code
  end

  it("acknowledges what was never sent", function()
    run(function()
      local seen, ended = play [[
        for _, word in ipairs { "HANDLE_ACK", "HANDLE_NACK",
          "SOCKET_ALL_CLOSED",
          "SOCKET_NOTIFY_CLOSE", "SOCKET_GET_COUNT", "ORRERY", "ORRERY_REPLY",
          "ORRERY_REQUEST", "CLUSTER", "" } do
          ch:line('{"cmd":"NODE_' .. word .. '"}')
          ch:line('{"cmd":"NODE_' .. word .. '","key":{},"id":[],"message":7}')
        end
        ch:line('"last"')]]

      assert.same({ { { cmd = "NODE_" }, false },
        { { cmd = "NODE_", key = {}, id = orrery.array {}, message = 7 },
          false },
        { "last", false } }, seen)
      assert.is_nil(ended)
    end)
  end)

  it("sends handles of no kind, without an fd, and fds without "
    .. "a handle", function()
    run(function()
      local seen, ended = play [[
        local fd = null:fileno()
        ch:line('{"cmd":"NODE_HANDLE","type":"gold","msg":1}', fd)
        ch:line('{"cmd":"NODE_HANDLE"}', fd)
        ch:line('{"cmd":"NODE_HANDLE","type":"net.Native","msg":3}', fd)
        ch:line('{"cmd":"NODE_HANDLE","type":"net.Server","msg":4}')
        ch:line('{"cmd":"NODE_HANDLE","type":"net.Socket","msg":5}', fd)
        ch:line('{"cmd":"NODE_HANDLE","type":"net.Socket","msg":6}')
        ch:line('{"cmd":"NODE_HANDLE","type":"dgram.Socket","msg":7}', fd)
        ch:line('{"cmd":"NODE_HANDLE","type":"net.Socket",'
          .. '"msg":{"cmd":"NODE_X"}}', fd)
        ch:line('"plain"', fd)
        ch:line('"last"')]]

      for i, item in ipairs(seen) do
        if i <= 6 then assert.equal("string", type(item[3])) end
        item[3] = nil
      end
      assert.same({ { 1, false }, { null, false }, { 3, false }, { 4, false },
        { 5, false }, { 7, false }, { "plain", false }, { "last", false } },
          seen)
      assert.is_nil(ended)
    end)
  end)
end)

describe("the JSON wire between two of us", function()
  it("counts each connection that lives in the other process", function()
    run(function()
      local child <close> = orrery.spawn(helper.orrery, { "-e", [[
        local process, sockets = require "orrery".process, {}
        process.on("message", function(m, socket)
          sockets[#sockets + 1] = socket
          if not socket then
            for _ = 1, m do table.remove(sockets):finish() end
          end
        end)]] }, { stdio = { "ignore", "inherit", "inherit", "ipc" },
        serialization = "json", env_extend = helper.env() })
      local sent, closed = 0, false
      local server <close>, port = serve(function(socket)
        child:send("keep", socket, nil,
          function(err) sent = sent + (err and 0 or 1) end)
      end)
      local clients = {}
      for i = 1, 3 do clients[i] = assert(net.connect(port, "127.0.0.1")) end
      helper.eventually(function() return sent == 3 end, TIME)

      assert.equal(3, server:get_connections())
      child:send(1)
      helper.eventually(function() return server:get_connections() == 2 end,
        TIME)
      server:close(function() closed = true end)
      child:send(2)
      helper.eventually(function() return closed end, TIME)
      for i = 1, 3 do clients[i]:destroy() end
      finish(child)
    end)
  end)
end)

describe("a request", function()
  it("is answered by a Node child that knows the words", function()
    run(function()
      local child <close> = node [[
        process.on('internalMessage', ({ cmd, id, message }) => {
          if (cmd !== 'NODE_ORRERY_REQUEST') return;
          const failed = message > 2;
          process.send({ cmd: 'NODE_ORRERY_REPLY', id, failed, message: failed
            ? { message: 'too much', code: 'E2BIG' } : [message + 1, 'more'] });
        });
        process.on('message', () => {});]]

      assert.same({ 2, "more" }, { child:request(1, TIME) })
      local none, err = child:request(3, TIME)
      assert.same({ nil, "E2BIG", "too much" }, { none, err.code, err.message })
      finish(child)
    end)
  end)

  it("of a Node child is answered by our handler", function()
    run(function()
      local child <close> = node [[
        process.on('internalMessage',
          ({ cmd, ...m }) => process.send([cmd, m]));
        process.on('message', (m) => process.send(
          { cmd: 'NODE_ORRERY_REQUEST', id: 7, message: m }));]]
      child:handle(function(m)
        if m == "fail" then error("no", 0) end
        return m, nil, "second"
      end)
      child:send("ask")
      child:send("fail")
      assert.same({ "NODE_ORRERY_REPLY",
        { id = 7, failed = false, message = { "ask", null, "second" } } },
        (next_message(child)))
      assert.same({ "NODE_ORRERY_REPLY",
        { id = 7, failed = true, message = { message = "no" } } },
        (next_message(child)))
      finish(child)
    end)
  end)
end)

describe("a handle from a Node child", function()
  it("connections here are counted by Node's server, which waits "
    .. "for them", function()
    run(function()
      local child <close> = node [[
        const server = await serve((socket) => process.send('socket', socket));
        process.send(server.address().port);
        process.on('message', (m) => m === 'close'
          ? server.close(() => process.send('closed'))
          : server.getConnections((err, count) => process.send(count)));]]
      local port, clients, sockets = next_message(child), {}, {}
      for i = 1, 3 do
        local _
        clients[i] = assert(net.connect(port, "127.0.0.1"))
        _, sockets[i] = next_message(child)
      end
      child:send("count")
      assert.equal(3, (next_message(child)))
      sockets[1]:destroy()
      clients[1]:read_all()
      child:send("count")
      assert.equal(2, (next_message(child)))
      child:send("close")
      sockets[2]:destroy()
      sockets[3]:destroy()
      assert.equal("closed", (next_message(child)))
      for i = 1, 3 do clients[i]:destroy() end
      finish(child)
    end)
  end)

  it("a raw handle of Node's arrives as one of luv's, of its kind", function()
    run(function()
      local path = os.tmpname()
      os.remove(path)
      local child <close> = node(([[
        const server = net.createServer((socket) =>
          process.send('pipe', socket._handle, () => socket.destroy()));
        server.listen('%s', () => process.send('listening'));
        process.on('disconnect', () => server.close());]]):format(path))
      assert.equal("listening", (next_message(child)))
      local client = assert(net.connect(path))
      local _, handle = next_message(child)

      assert.equal("pipe", handle:get_type())
      handle:write("raw")
      loop.close(handle)
      finish(child)
      assert.equal("raw", client:read_all())
    end)
  end)

  it("keeps its place among messages, and its callback is called", function()
    run(function()
      local child <close> = node [[
        const server = await serve(() => {});
        for (let i = 1; i <= 9; i++)
          process.send(i, i % 3 ? undefined : server,
            (err) => process.send(`${i} ${err}`));
        process.on('disconnect', () => server.close());]]
      local messages, calls = {}, {}
      for _ = 1, 18 do
        local m, server = next_message(child)
        if server then server:close() end
        if math.type(m) then
          messages[m] = server and "server" or "none"
          assert.equal(m, #messages)
        else
          calls[#calls + 1] = m
        end
      end

      assert.same({ "none", "none", "server", "none", "none", "server", "none",
        "none",
        "server" }, messages)
      table.sort(calls)
      for i = 1, 9 do assert.equal(i .. " null", calls[i]) end
      finish(child)
    end)
  end)

  it("comes with its own message, however long", function()
    run(function()
      local child <close> = node [[
        const server =
          await serve((socket) => process.send('é'.repeat(400000), socket));
        process.send(server.address().port);
        process.on('disconnect', () => server.close());]]
      local port = next_message(child)
      child:on("message", function(m, socket) socket:finish("" .. #m) end)

      assert.equal("800000", ask(port))
      finish(child)
    end)
  end)

  it("crosses ours on their way", function()
    run(function()
      local child <close> = node [[
        const server = await serve(() => {});
        let got = 0;
        process.on('message', (m, handle) => {
          handle.close();
          if (++got === 50) process.send('all');
        });
        for (let i = 0; i < 50; i++) process.send(i, server);
        process.on('disconnect', () => server.close());]]
      local server <close>, got, all = serve(), 0, false
      child:on("message", function(m, handle)
        if handle then handle:close() end
        got = got + (handle and 1 or 0)
        all = all or m == "all"
      end)
      for i = 1, 50 do child:send(i, server) end

      helper.eventually(function() return all and got == 50 end, TIME)
      assert.is_true(server:close())
      finish(child)
    end)
  end)
end)
