--- Orrery as a child of real Node. See spec/fixture/node.lua.

local helper = require "spec.helper"
local orrery = require "orrery"
local fixture = require "spec.fixture.node"

local run = helper.run
local under_node, NODE, RUN = fixture.under_node, fixture.NODE, fixture.RUN

-- A Node parent ---------------------------------------------------------------

describe("an Orrery child of a Node parent", function()
  it("is forked as any script, by exec path, with its arguments", function()
    run(function()
      local got = under_node [[
        const { fork } = require('child_process');
        const child = fork('spec/node/child.lua', ['a', 'b c'],
          { execPath: 'bin/orrery', execArgv: [] });
        const [first] = await next(child);
        child.disconnect();
        const [code] = await once(child, 'exit');
        return [first, code];]]

      assert.same({ { args = { "a", "b c" }, connected = true, fd = "3" }, 0 },
        got)
    end)
  end)

  it("keeps what was sent before it listens, and hides its channel's "
    .. "variables", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          local got = {}
          process.stdin:read_all()
          for i = 1, 3 do got[i] = process.receive() end
          process.send { got, process.env.NODE_CHANNEL_FD or "none",
            orrery.sh("env | grep -c NODE_CHANNEL; ls /proc/self/fd | wc -l",
              { trim = true }).stdout }`,
          { stdio: ['pipe', 'inherit', 'inherit', 'ipc'] });
        for (let i = 1; i <= 3; i++) child.send(i);
        child.stdin.end();
        const [answer] = await next(child);
        child.disconnect();
        await once(child, 'exit');
        return answer;]]

      assert.same({ { 1, 2, 3 }, "none", "0\n4" }, got)
    end)
  end)

  it("answers connections, and Node's server counts and awaits them", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          local sockets = {}
          process.on("message", function(m, socket)
            if socket then
              sockets[#sockets + 1] = socket
              return process.send "taken"
            end
            for _ = 1, m do table.remove(sockets, 1):finish("lua") end
          end)`);
        const server = await serve((socket) => child.send('socket', socket));
        const { port } = server.address();
        const count = () => new Promise((resolve) =>
          server.getConnections((err, n) => resolve(n)));
        const answers = [];
        for (let i = 0; i < 3; i++) {
          answers.push(ask(port));
          await next(child);
        }
        const counts = [await count()];
        child.send(1);
        await answers[0];
        while (await count() === 3);
        counts.push(await count());
        const closed = once(server, 'close');
        server.close();
        child.send(2);
        await closed;
        const texts = await Promise.all(answers);
        child.disconnect();
        await once(child, 'exit');
        return [counts, texts];]]

      assert.same({ { 3, 2 }, { "lua", "lua", "lua" } }, got)
    end)
  end)

  it("has connections from their arrival on, also those that nobody "
    .. "took yet", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          process.stdin:read_all()
          local _, socket = process.receive()
          socket:finish "lua"
          process.receive()`, { stdio: ['pipe', 'inherit', 'inherit', 'ipc'] });
        const server =
          await serve((socket) => child.send('socket', socket, () => {
          server.getConnections((err, n) => counted(n));
        }));
        let counted;
        const count = new Promise((resolve) => { counted = resolve; });
        const answer = ask(server.address().port);
        const before = await count;
        const closed = once(server, 'close');
        server.close();
        child.stdin.end();
        await closed;
        child.disconnect();
        await once(child, 'exit');
        return [before, await answer];]]

      assert.same({ 1, "lua" }, got)
    end)
  end)

  it("dies with connections, and Node's server closes all the same", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          process.on("message",
            function(m, s) keep = s process.send "taken" end)`);
        const server = await serve((socket) => child.send('socket', socket));
        const answer = ask(server.address().port).catch((err) => err.code);
        await next(child);
        server.close();
        child.kill('SIGKILL');
        await Promise.all([once(server, 'close'), once(child, 'close')]);
        return [await answer];]]

      -- Its end of the connection is gone with it.
      assert.same({ "" }, got)
    end)
  end)

  it("sends its own connections, which its server counts and awaits", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          local server = orrery.net.create_server(function(socket)
            process.send("it", socket)
          end)
          assert(server:listen(0, "127.0.0.1"))
          process.send(server:address().port)
          process.on("message", function()
            server:close(function() process.send "closed" end)
          end)`);
        const [port] = await next(child);
        const answer = ask(port);
        const [m, socket] = await next(child);
        child.send('close');
        socket.end(`node took ${m}`);
        const [closed] = await next(child);
        child.disconnect();
        await once(child, 'exit');
        return [await answer, closed];]]

      assert.same({ "node took it", "closed" }, got)
    end)
  end)

  it("shares a server of Node's", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          process.on("message", function(m, server)
            server:on("connection", function(s) s:finish("lua " .. m) end)
            server:on("listening", function() process.send "listening" end)
          end)`);
        const server = await serve((socket) => socket.end('node'));
        const { port } = server.address();
        child.send('shares', server);
        await next(child);
        pause(child);
        const first = await ask(port);
        server.close();
        child.kill('SIGCONT');
        const second = await ask(port);
        child.kill();
        await once(child, 'close');
        return [first, second];]]

      assert.same({ "node", "lua shares" }, got)
    end)
  end)

  it("gives Node a server of its own", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          local server = orrery.net.create_server()
          assert(server:listen(0, "127.0.0.1"))
          process.send("serve", server)
          process.once("message", function() server:close() end)`);
        const [m, server] = await next(child);
        server.on('connection', (socket) => socket.end(`node ${m}`));
        const { port } = server.address();
        child.send('close yours');
        await once(child, 'exit');
        const answer = await ask(port);
        server.close();
        return answer;]]

      assert.equal("node serve", got)
    end)
  end)

  it("shares datagram sockets, both ways", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          process.on("message", function(_, socket)
            socket:on("message", function(data, from)
              socket:send("lua " .. data, from.port)
            end)
            local own = orrery.dgram.create_socket("udp4")
            own:bind(0, "127.0.0.1", function()
              process.send(own:address().port, own, nil,
                function() own:close() end)
            end)
          end)`);
        const socket = dgram.createSocket('udp4');
        socket.bind(0, '127.0.0.1');
        await once(socket, 'listening');
        const { port } = socket.address();
        child.send('take it', socket, () => socket.close());
        const [own, back] = await next(child);
        back.send('hello', port, '127.0.0.1');
        const [data] = await once(back, 'message');
        const same = back.address().port === own;
        back.close();
        child.kill();
        await once(child, 'close');
        return [`${data}`, same];]]

      assert.same({ "lua hello", true }, got)
    end)
  end)

  it("gets and sends handles in their places among messages", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          local notes = {}
          process.on("message", function(m, server)
            notes[#notes + 1] = server and "server" or m
            process.send(m, server, nil,
              server and function() server:close() end)
            if m == 12 then process.send(notes) end
          end)`);
        const server = await serve(() => {});
        for (let i = 1; i <= 12; i++) child.send(i, i % 3 ? undefined : server);
        const notes = [];
        let m, handle;
        do {
          [m, handle] = await next(child);
          notes.push(handle ? 'server' : m);
          if (handle) handle.close();
        } while (!Array.isArray(m));
        server.close();
        child.disconnect();
        await once(child, 'exit');
        return [notes.slice(0, -1), m];]]

      local expected = { 1, 2, "server", 4, 5, "server", 7, 8, "server", 10, 11,
        "server" }
      assert.same({ expected, expected }, got)
    end)
  end)

  it("sends all at its end, also what waits behind a handle", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          local server = orrery.net.create_server()
          assert(server:listen(0, "127.0.0.1"))
          process.send(1, server)
          process.send(2)
          process.send(3, server)
          process.send(("x"):rep(1000000))
          process.exit()`);
        const got = [];
        child.on('message', (m, server) => {
          got.push(m.length || m, server !== undefined);
          if (server) server.close();
        });
        await once(child, 'close');
        return got;]]

      assert.same({ 1, true, 2, false, 3, true, 1000000, false }, got)
    end)
  end)

  it("has a socket sent again where it had no fd left", function()
    run(function()
      local got = under_node [[
        const { execFileSync } = require('child_process');
        const child = orrery(`
          process.on("message",
            function(m, socket) socket:finish("lua " .. m) end)
          process.send "ready"`);
        const limit = (soft) => execFileSync('prlimit',
          ['--pid', `${child.pid}`, `--nofile=${soft}:`]);
        await next(child);
        const [, hard] = /open files +\d+ +(\d+)/.exec(
          fs.readFileSync(`/proc/${child.pid}/limits`, 'utf8'));
        limit(3);
        let nacks = 0;
        child.prependListener('internalMessage', (m) => {
          if (m.cmd !== 'NODE_HANDLE_NACK') return;
          nacks += 1;
          limit(hard);
        });
        const server = await serve((socket) => child.send('took it', socket));
        const answer = await ask(server.address().port);
        server.close();
        child.disconnect();
        await once(child, 'exit');
        return [answer, nacks];]]

      assert.same({ "lua took it", 1 }, got)
    end)
  end)
end)

-- A parent that speaks V8's own format ----------------------------------------

describe("an Orrery child whose channel is in V8's own format", function()
  --- Runs a child to its end under Node. Returns what it prints, and its exit
  --- code in the last line. [w]
  local function output_of(code, javascript)
    local result = orrery.run(NODE, { RUN, ([[
      const child = orrery(`%s`, { serialization: 'advanced' });
      %s
      const [code] = await once(child, 'exit');
      return code;]]):format(code, javascript or "") })
    assert.equal("", result.stderr)
    return result.stdout
  end

  it("fault A9: runs, with messages that nothing reads", function()
    run(function()
      assert.equal("true\tnil\n0\n", output_of([[
        print(process.connected, process.channel)
        io.stdout:flush()
        process.wait_for "disconnect"]], [[
        for (let i = 0; i < 1000; i++) child.send('x'.repeat(1000));
        child.disconnect();]]))
    end)
  end)

  it("fault A9: raises at the line that uses the channel", function()
    run(function()
      local text = output_of [[
        local function try(name, ...)
          local ok, err = pcall(function(...) process[name](...) end, ...)
          print(ok, err)
        end
        try("send", 1) try("receive") try("request", 1) try("handle", print)
        for _, name in ipairs { "on", "once", "prepend" } do
          try(name, "message", print)
        end
        try("wait_for", "message") try("each", "message")
        print(process.listener_count "message")]]

      local lines = {}
      for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
      for i = 1, 9 do
        assert.matches('^false\t%(command line%):2: %l+: the channel speaks '
          .. '"advanced", which only Node knows: .* serialization = "json"$',
          lines[i])
      end
      assert.same({ "0", "0" }, { table.unpack(lines, 10) })
    end)
  end)

  it("fault A9: hears of the parent's disconnect, and waits for it", function()
    run(function()
      assert.equal("gone\tfalse\n0\n", output_of(
        'process.on("disconnect", function() '
          .. 'print("gone", process.connected) end)',
        "child.send(1); child.disconnect();"))
    end)
  end)

  it("fault A9: disconnects, which the parent hears of", function()
    run(function()
      assert.equal("gone\n0\n", output_of(
        'process.disconnect() process.disconnect() orrery.sleep(1000000)', [[
        await once(child, 'disconnect');
        console.log('gone');
        child.kill();
        await once(child, 'exit');
        return child.exitCode ?? 0;]]))
    end)
  end)
end)
