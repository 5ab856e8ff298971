--- The JSON wire against the real thing: Node, and Bun where there is one, as child
--- and as parent. The JavaScript is run by spec/node/run.js.

local helper = require "spec.helper"
local orrery = require "orrery"
local channel = require "orrery.channel"
local json = require "orrery.json"
local loop = require "orrery.loop"
local net = require "orrery.net"
local dgram = require "orrery.dgram"
local uv = require "luv"

local run, null = helper.run, orrery.null

--- The path of a program; nil where it is not installed.
local function find(program)
  if program:find("/", 1, true) then return uv.fs_access(program, "X") and program end
  for folder in os.getenv("PATH"):gmatch("[^:]+") do
    local path = folder .. "/" .. program
    if uv.fs_access(path, "X") then return path end
  end
end

local NODE = find(os.getenv("NODE") or "node")
local BUN = find(os.getenv("BUN") or "bun")

local RUN = "spec/node/run.js"
local TIME = 10000 -- ms for what takes a few at most

--- Calls define(name, engine) for each engine that is installed.
local function each_engine(define)
  if NODE then define("Node", NODE) end
  if BUN then define("Bun", BUN) end
end

describe("Bun", function()
  if not BUN then pending("is a peer as Node is") end
end)

describe("Node", function()
  if not NODE then pending("is a peer") end
end)

--- A child of ours that runs JavaScript.
local function start(engine, code, opts)
  opts = opts or {}
  opts.exec_path, opts.exec_argv, opts.serialization = engine, {}, "json"
  return orrery.fork(RUN, { code }, opts)
end

local function node(code, opts) return start(NODE, code, opts) end

--- Runs JavaScript as a parent to its end, and gives what it returns. [w]
local function parent(engine, code, ...)
  local result = assert(orrery.run(engine, { RUN, code, ... }))
  assert.equal("", result.stderr)
  assert.same({ 0 }, { result.code })
  return json.decode(result.stdout)
end

local function under_node(code, ...) return parent(NODE, code, ...) end

--- The next message, and its handle. [w]
local function next_message(child)
  local message, handle = child:receive(TIME)
  if message == nil then error(tostring(handle), 2) end
  return message, handle
end

local await_close = helper.await_close

--- Ends a child by ending its channel. [w]
local function finish(child)
  child:disconnect()
  await_close(child)
  assert.same({ 0 }, { child.exit_code })
end

--- A server on the loopback, and its port.
local function serve(on_connection, opts)
  local server = net.create_server(opts, on_connection)
  assert(server:listen(0, "127.0.0.1"))
  return server, server:address().port
end

--- All that a port has to say, to who says `text`. [w]
local function ask(port, text)
  local socket = assert(net.connect(port, "127.0.0.1"))
  if text then socket:write(text) end
  local answer, err = socket:read_all()
  socket:destroy()
  return answer or tostring(err)
end

--- The callback of a send, and what it was called with, once it was. [w]
local function callback()
  local calls = {}
  return function(err) calls[#calls + 1] = err or "sent" end, function()
    helper.eventually(function() return calls[1] end, TIME)
    assert.equal(1, #calls)
    return calls[1]
  end
end

--- Stops a child, until it gets SIGCONT. [w]
local function pause(child)
  child:kill("SIGSTOP")
  helper.eventually(function()
    local file <close> = assert(io.open("/proc/" .. child.pid .. "/stat"))
    return file:read("a"):find(") T", 1, true)
  end)
end

--- Lets a process open no more fds, or as many as before. [w]
local function limit_fds(pid, soft)
  assert(orrery.run("prlimit", { "--pid", tostring(pid),
    ("--nofile=%s:"):format(soft) }, { check = true }))
end

local function hard_limit(pid)
  for line in io.lines("/proc/" .. pid .. "/limits") do
    local _, hard = line:match("^Max open files%s+(%d+)%s+(%d+)")
    if hard then return hard end
  end
end

after_each(function()
  assert.equal(channel.counts.given, channel.counts.called,
    "callbacks of send that were not called")
end)

-- Messages ---------------------------------------------------------------------

local WIDE = "aé€\u{1d11e}\u{2028}" -- 1 + 2 + 3 + 4 + 3 bytes
local MB = 1024 * 1024

--- What we send, and how JavaScript writes it.
local there = {
  { null, "null" }, { true, "true" }, { false, "false" }, { "text", '"text"' },
  { 0, "0" }, { -1, "-1" }, { 1.0, "1" }, { 0.1, "0.1" }, { -0.0, "0" },
  { 2 ^ 53, "9007199254740992" }, { 9007199254740993, "9007199254740992" },
  { math.maxinteger, "9223372036854776000" }, { 1e300, "1e+300" },
  { 5e-324, "5e-324" }, { 1 / 0, "null" }, { 0 / 0, "null" },
  { {}, "{}" }, { orrery.array {}, "[]" }, { { 1, { 2, {} } }, "[1,[2,{}]]" },
  { { a = { b = null } }, '{"a":{"b":null}}' }, { { 1, null, 3 }, "[1,null,3]" },
  { { [1] = "a", [3] = "c" }, '{"1":"a","3":"c"}' }, { "", '""' },
  { 'a\0\n"\\\127', [["a\u0000\n\"\\]] .. '\127"' }, { WIDE, '"' .. WIDE .. '"' },
  { { cmd = "fooNODE_" }, '{"cmd":"fooNODE_"}' }, { { cmd = 7 }, '{"cmd":7}' },
}

--- What JavaScript sends, and what we get.
local back = {
  { "null", null }, { "true", true }, { "false", false }, { "'text'", "text" },
  { "0", 0 }, { "-0", 0 }, { "1.0", 1 }, { "0.1", 0.1 }, { "1e300", 1e300 },
  { "2**53", 2 ^ 53 | 0 }, { "2**62", 4611686018427388000 }, { "2**63", 2 ^ 63 },
  { "-(2**64)", -2 ^ 64 }, { "1e21", 1e21 }, { "5e-324", 5e-324 },
  { "NaN", null }, { "[]", orrery.array {} }, { "{}", {} },
  { "[1,[2,{}]]", { 1, { 2, {} } } }, { "[undefined,1]", { null, 1 } },
  { "{a:undefined,b:{c:null}}", { b = { c = null } } }, { "''", "" },
  { "'a\\0\\n'", "a\0\n" }, { "{'a\\0':1}", { ["a\0"] = 1 } },
  { "'\\ud834\\udd1e'", "\u{1d11e}" }, { "'\\ud834'", "\u{fffd}" },
  { "'\\udd1e\\ud834'", "\u{fffd}\u{fffd}" }, { "{'\\ud834':[]}", { ["\u{fffd}"] = {} } },
  { "new Date(0)", "1970-01-01T00:00:00.000Z" },
  { "Buffer.from('ab')", { type = "Buffer", data = { 97, 98 } } },
  { "{cmd:'fooNODE_'}", { cmd = "fooNODE_" } }, { "{cmd:'NODE_'}", { cmd = "NODE_" } },
}

each_engine(function(name, engine)
  describe("messages between " .. name .. " and us", function()
    it("are the same values there", function()
      run(function()
        local child <close> = start(engine,
          "process.on('message', (m) => process.send('' + JSON.stringify(m)))")
        for i, case in ipairs(there) do
          child:send(case[1])
          assert.equal(case[2], (next_message(child)), "value " .. i)
        end
        finish(child)
      end)
    end)

    it("are the same values here", function()
      run(function()
        local child <close> = start(engine,
          "process.on('message', (m) => process.send(eval(`(${m})`)))")
        for _, case in ipairs(back) do
          child:send(case[1])
          local got = next_message(child)
          assert.same({ case[2] }, { got }, case[1])
          assert.equal(math.type(case[2]), math.type(got), case[1])
        end
        finish(child)
      end)
    end)

    it("keep empty lists and tables apart, there and back", function()
      run(function()
        local child <close> = start(engine,
          "process.on('message', (m) => process.send(m))")
        child:send { orrery.array {}, {} }
        child:send((next_message(child)))

        assert.equal("[[],{}]", json.encode((next_message(child))))
        finish(child)
      end)
    end)

    it("carry 800 kB of wide characters, which reads cut in two", function()
      run(function()
        local child <close> = start(engine, ([[
          const wide = '%s'.repeat(60000);
          process.on('message', (m) => {
            process.send(m === wide);
            process.send(wide);
          })]]):format(WIDE))
        child:send(WIDE:rep(60000))

        assert.is_true((next_message(child)))
        assert.is_true(WIDE:rep(60000) == next_message(child))
        finish(child)
      end)
    end)

    it("carry 10 MB each way at once", function()
      run(function()
        local child <close> = start(engine, [[
          process.on('message', (m) => process.send([m.length, m.slice(0, 9)]));
          process.send('x'.repeat(10 * 1024 * 1024));]])
        child:send(("0123456789"):rep(MB))

        local first, second = next_message(child), next_message(child)
        if type(first) == "table" then first, second = second, first end
        assert.is_true(("x"):rep(10 * MB) == first)
        assert.same({ 10 * MB, "012345678" }, second)
        finish(child)
      end)
    end)

    it("come in order, 5,000 each way", function()
      run(function()
        local child <close> = start(engine,
          "process.on('message', (m) => process.send(m + 1))")
        local wrong, count, done = 0, 0, orrery.events.new()
        child:on("message", function(m)
          count = count + 1
          if m ~= count + 1 then wrong = wrong + 1 end
          if count == 5000 then done:emit("all") end
        end)
        for i = 1, 5000 do child:send(i) end
        done:wait_for("all", TIME)

        assert.equal(0, wrong)
        finish(child)
      end)
    end)

    it("go over a channel of any number, without a fork", function()
      run(function()
        local child <close> = orrery.spawn(engine,
          { RUN, "process.on('message', (m) => process.send([m]));" },
          { stdio = { "ignore", "inherit", "inherit", "ignore", "ignore", "ipc" },
            serialization = "json" })
        child:send("hello")

        assert.same({ "hello" }, (next_message(child)))
        finish(child)
      end)
    end)

    it("come to an Orrery child, and from it", function()
      run(function()
        local got = parent(engine, [[
          const child = orrery("process.on('message', function(m) process.send(m) end)");
          const values = [null, true, 0.5, '', 'é€', [], {}, [[], {a: null}], 2 ** 53,
            'x'.repeat(10 * 1024 * 1024), 'aé€'.repeat(100000)];
          const wrong = [];
          for (const value of values) {
            child.send(value);
            const [echo] = await next(child);
            if (JSON.stringify(echo) !== JSON.stringify(value)) wrong.push(value);
          }
          child.disconnect();
          await once(child, 'exit');
          return wrong;]])

        assert.same({}, got)
      end)
    end)
  end)
end)

-- The end ----------------------------------------------------------------------

local ENDS = { "disconnect", "exit", "close", "error" }

--- What has ended a child, each once: `close` comes last, the order of the others
--- is anybody's guess.
local function sorted(log)
  assert.equal("close", log[#log][1])
  table.sort(log, function(a, b) return a[1] < b[1] end)
  return log
end

each_engine(function(name, engine)
  describe("the end of a channel to a child of " .. name .. "'s", function()
    it("by us is one disconnect, exit and close on each side", function()
      run(function()
        local child <close> = start(engine, [[
          let count = 0;
          process.on('disconnect', () => { count += 1; });
          process.on('exit', () => console.log(count, process.connected));
          process.send('ready');]], { silent = true })
        local log = helper.record(child, ENDS)
        next_message(child)
        child:disconnect()
        child:disconnect()
        assert.is_false(child.connected)
        assert.equal("1 false\n", child.stdout:read_all())
        await_close(child)

        assert.same({ { "close", 0 }, { "disconnect" }, { "exit", 0 } }, sorted(log))
        assert.is_false(child:send("too late"))
      end)
    end)

    it("by the child is one disconnect, exit and close, after its messages", function()
      run(function()
        -- A disconnect of Node's drops what does not fit into the socket.
        for code, count in pairs {
          ["for (let i = 1; i <= 1000; i++) process.send(i);"] = 1000,
          ["for (let i = 1; i <= 99; i++) process.send(i); process.disconnect();"] = 99,
        } do
          local child <close> = start(engine, code)
          local log, last = helper.record(child, ENDS), 0
          child:on("message", function(m)
            assert.equal(last + 1, m)
            last = m
          end)
          await_close(child)

          assert.equal(count, last)
          assert.same({ { "close", 0 }, { "disconnect" }, { "exit", 0 } }, sorted(log))
        end
      end)
    end)

    it("by its death is one disconnect, exit and close", function()
      run(function()
        local child <close> = start(engine,
          "process.on('message', () => {}); process.send('ready');")
        local log = helper.record(child, ENDS)
        next_message(child)
        child:kill("SIGKILL")
        await_close(child)

        assert.same({ { "close", nil, "SIGKILL" }, { "disconnect" },
          { "exit", nil, "SIGKILL" } }, sorted(log))
        local called, result = callback()
        assert.is_false(child:send("too late", called))
        assert.equal("ERR_IPC_CHANNEL_CLOSED", result().code)
      end)
    end)

    it("within a message is a disconnect with an error", function()
      run(function()
        for rest, code in pairs {
          ['{"half":'] = "ECONNRESET", ["no JSON\\n"] = "EPROTO", ["\\n"] = "EPROTO",
        } do
          local child <close> = start(engine, ([[
            fs.writeSync(3, '"whole"\n%s');
            process.exit();]]):format(rest))
          local ended
          child:on("disconnect", function(err) ended = err end)
          assert.equal("whole", (next_message(child)))
          await_close(child)

          assert.equal(code, ended.code, rest)
        end
      end)
    end)

    it("comes to an Orrery child as to a child of " .. name .. "'s", function()
      run(function()
        local seen = parent(engine, [[
          const child = orrery(`
            local count = 0
            process.on("message", function() end)
            process.on("disconnect", function() count = count + 1 end)
            process.on("exit", function() print(count, process.connected) end)
            process.send "ready"`, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
          await next(child);
          child.disconnect();
          const [text] = await once(child.stdout.setEncoding('utf8'), 'data');
          if (child.exitCode === null) await once(child, 'exit');
          return [text, ...child.seen.filter(([name]) => name !== 'close').sort()];]])

        -- Node has no `close` where the parent disconnects.
        assert.same({ "1\tfalse\n", { "disconnect" }, { "exit", 0, null } }, seen)
      end)
    end)

    it("comes from an Orrery child as from a child of " .. name .. "'s", function()
      run(function()
        local seen = parent(engine, [[
          const child = orrery(`
            for i = 1, 1000 do process.send(i) end
            process.disconnect()`);
          let last = 0;
          child.on('message', (m) => { last = m === last + 1 ? m : NaN; });
          await once(child, 'close');
          return [last, child.seen];]])

        assert.equal(1000, seen[1])
        assert.same({ { "close", 0, null }, { "disconnect" }, { "exit", 0, null } },
          sorted(seen[2]))
      end)
    end)

    it("by the death of an Orrery child is seen once", function()
      run(function()
        local seen = parent(engine, [[
          const child = orrery(`
            process.on("message", function() end)
            process.send "ready"`);
          await next(child);
          child.kill('SIGKILL');
          await once(child, 'close');
          return child.seen;]])

        assert.same({ { "close", null, "SIGKILL" }, { "disconnect" },
          { "exit", null, "SIGKILL" } }, sorted(seen))
      end)
    end)

    it("by the death of a parent ends an Orrery child", function()
      run(function()
        local engine_ <close> = orrery.spawn(engine, { RUN, [[
          const child = orrery(`
            process.on("disconnect", function(err) print("disconnect", err) end)
            process.send "ready"`);
          await next(child);
          process.kill(process.pid, 'SIGKILL');]] },
          { stdio = { "ignore", "pipe", "inherit" } })

        -- The end of the output is the end of the child.
        assert.equal("disconnect\tnil\n", engine_.stdout:read_all())
        assert.equal("SIGKILL", select(2, engine_:wait()))
      end)
    end)

    it("by the death of an Orrery parent ends a child of " .. name .. "'s", function()
      run(function()
        local parent_ <close> = orrery.spawn(helper.orrery, { "-e", ([[
          local orrery = require "orrery"
          local child = orrery.fork("spec/node/run.js", {
            "process.on('disconnect', () => console.log('gone')); process.send(1);" },
            { exec_path = %q, serialization = "json" })
          child:receive()
          orrery.process.kill(orrery.process.pid, "SIGKILL")]]):format(engine) },
          { stdio = { "ignore", "pipe", "inherit" }, env_extend = helper.env() })

        assert.equal("gone\n", parent_.stdout:read_all())
        assert.equal("SIGKILL", select(2, parent_:wait()))
      end)
    end)
  end)
end)

-- Handles ----------------------------------------------------------------------

--- What a child does with each message: keeps a note, and answers where a handle
--- came along, by the handle.
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
      handle.on('message', (data, from) => handle.send(`node ${data}`, from.port));
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
        local server <close>, port = serve(function(socket) socket:finish("lua") end)
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
        local socket, client = dgram.create_socket "udp4", dgram.create_socket "udp4"
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
          const server = await serve((socket) => process.send('took it', socket));
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

describe("a peer that knows Node's protocol badly", function()
  --- What it sends comes as messages, until the end; gives that end's error code.
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
        for _, word in ipairs { "HANDLE_ACK", "HANDLE_NACK", "SOCKET_ALL_CLOSED",
          "SOCKET_NOTIFY_CLOSE", "SOCKET_GET_COUNT", "ORRERY", "ORRERY_REPLY",
          "ORRERY_REQUEST", "CLUSTER", "" } do
          ch:line('{"cmd":"NODE_' .. word .. '"}')
          ch:line('{"cmd":"NODE_' .. word .. '","key":{},"id":[],"message":7}')
        end
        ch:line('"last"')]]

      assert.same({ { { cmd = "NODE_" }, false },
        { { cmd = "NODE_", key = {}, id = orrery.array {}, message = 7 }, false },
        { "last", false } }, seen)
      assert.is_nil(ended)
    end)
  end)

  it("sends handles of no kind, without an fd, and fds without a handle", function()
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
        ch:line('{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"cmd":"NODE_X"}}', fd)
        ch:line('"plain"', fd)
        ch:line('"last"')]]

      for i, item in ipairs(seen) do
        if i <= 6 then assert.equal("string", type(item[3])) end
        item[3] = nil
      end
      assert.same({ { 1, false }, { null, false }, { 3, false }, { 4, false },
        { 5, false }, { 7, false }, { "plain", false }, { "last", false } }, seen)
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
        child:send("keep", socket, nil, function(err) sent = sent + (err and 0 or 1) end)
      end)
      local clients = {}
      for i = 1, 3 do clients[i] = assert(net.connect(port, "127.0.0.1")) end
      helper.eventually(function() return sent == 3 end, TIME)

      assert.equal(3, server:get_connections())
      child:send(1)
      helper.eventually(function() return server:get_connections() == 2 end, TIME)
      server:close(function() closed = true end)
      child:send(2)
      helper.eventually(function() return closed end, TIME)
      for i = 1, 3 do clients[i]:destroy() end
      finish(child)
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
        child:send("a", socket.handle)
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
      local server <close>, port = serve(function(socket) sockets[#sockets + 1] = socket end)
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

  it("stays ours where the child ends instead, and each callback hears", function()
    run(function()
      local child <close> = taker(NODE)
      pause(child)
      local calls = {}
      local function called(err) calls[#calls + 1] = err and err.code or "sent" end
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

  it("stays ours where some of it was read, which cannot travel to Node", function()
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
        child:send(("x"):rep(MB - 2), nil, nil, function(err) codes[i] = err.code end)
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
        child:send("keep", socket, nil, function(err) sent = sent + (err and 0 or 1) end)
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
        process.on('internalMessage', ({ cmd, ...m }) => process.send([cmd, m]));
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
  it("connections here are counted by Node's server, which waits for them", function()
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
          process.send(i, i % 3 ? undefined : server, (err) => process.send(`${i} ${err}`));
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

      assert.same({ "none", "none", "server", "none", "none", "server", "none", "none",
        "server" }, messages)
      table.sort(calls)
      for i = 1, 9 do assert.equal(i .. " null", calls[i]) end
      finish(child)
    end)
  end)

  it("comes with its own message, however long", function()
    run(function()
      local child <close> = node [[
        const server = await serve((socket) => process.send('é'.repeat(400000), socket));
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

-- A Node parent ----------------------------------------------------------------

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

      assert.same({ { args = { "a", "b c" }, connected = true, fd = "3" }, 0 }, got)
    end)
  end)

  it("keeps what was sent before it listens, and hides its channel's variables", function()
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

  it("says so where the channel is in V8's own format", function()
    run(function()
      local result = orrery.run(NODE, { RUN, [[
        const child = orrery('', { serialization: 'advanced' });
        const [code] = await once(child, 'exit');
        return code;]] })

      assert.equal("1\n", result.stdout)
      assert.matches('the channel speaks "advanced"', result.stderr)
      assert.matches('serialization = "json"', result.stderr)
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

  it("has connections from their arrival on, also those that nobody took yet", function()
    run(function()
      local got = under_node [[
        const child = orrery(`
          process.stdin:read_all()
          local _, socket = process.receive()
          socket:finish "lua"
          process.receive()`, { stdio: ['pipe', 'inherit', 'inherit', 'ipc'] });
        const server = await serve((socket) => child.send('socket', socket, () => {
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
          process.on("message", function(m, s) keep = s process.send "taken" end)`);
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
              process.send(own:address().port, own, nil, function() own:close() end)
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
            process.send(m, server, nil, server and function() server:close() end)
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

      local expected = { 1, 2, "server", 4, 5, "server", 7, 8, "server", 10, 11, "server" }
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
          process.on("message", function(m, socket) socket:finish("lua " .. m) end)
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
