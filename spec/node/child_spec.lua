--- The JSON wire with real Node and Bun as children: messages and ends. See
--- spec/fixture/node.lua.

local helper = require "spec.helper"
local orrery = require "orrery"
local json = require "orrery.json"
local fixture = require "spec.fixture.node"

local run, null = helper.run, orrery.null
local await_close = helper.await_close
local each_engine, start, parent = fixture.each_engine, fixture.start,
  fixture.parent
local next_message, finish, callback = fixture.next_message, fixture.finish,
  fixture.callback
local NODE, BUN, TIME = fixture.NODE, fixture.BUN, fixture.TIME
local RUN = fixture.RUN

describe("Bun", function()
  if not BUN then pending("is a peer as Node is") end
end)

describe("Node", function()
  if not NODE then pending("is a peer") end
end)

-- Messages --------------------------------------------------------------------

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
  { { a = { b = null } }, '{"a":{"b":null}}' },
  { { 1, null, 3 }, "[1,null,3]" },
  { { [1] = "a", [3] = "c" }, '{"1":"a","3":"c"}' }, { "", '""' },
  { 'a\0\n"\\\127', [["a\u0000\n\"\\]] .. '\127"' },
  { WIDE, '"' .. WIDE .. '"' },
  { { cmd = "fooNODE_" }, '{"cmd":"fooNODE_"}' }, { { cmd = 7 }, '{"cmd":7}' },
}

--- What JavaScript sends, and what we get.
local back = {
  { "null", null }, { "true", true }, { "false", false }, { "'text'", "text" },
  { "0", 0 }, { "-0", 0 }, { "1.0", 1 }, { "0.1", 0.1 }, { "1e300", 1e300 },
  { "2**53", 2 ^ 53 | 0 }, { "2**62", 4611686018427388000 },
  { "2**63", 2 ^ 63 },
  { "-(2**64)", -2 ^ 64 }, { "1e21", 1e21 }, { "5e-324", 5e-324 },
  { "NaN", null }, { "[]", orrery.array {} }, { "{}", {} },
  { "[1,[2,{}]]", { 1, { 2, {} } } }, { "[undefined,1]", { null, 1 } },
  { "{a:undefined,b:{c:null}}", { b = { c = null } } }, { "''", "" },
  { "'a\\0\\n'", "a\0\n" }, { "{'a\\0':1}", { ["a\0"] = 1 } },
  { "'\\ud834\\udd1e'", "\u{1d11e}" }, { "'\\ud834'", "\u{fffd}" },
  { "'\\udd1e\\ud834'", "\u{fffd}\u{fffd}" },
  { "{'\\ud834':[]}", { ["\u{fffd}"] = {} } },
  { "new Date(0)", "1970-01-01T00:00:00.000Z" },
  { "Buffer.from('ab')", { type = "Buffer", data = { 97, 98 } } },
  { "{cmd:'fooNODE_'}", { cmd = "fooNODE_" } },
  { "{cmd:'NODE_'}", { cmd = "NODE_" } },
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
          { stdio = { "ignore", "inherit", "inherit", "ignore", "ignore",
            "ipc" },
            serialization = "json" })
        child:send("hello")

        assert.same({ "hello" }, (next_message(child)))
        finish(child)
      end)
    end)

    it("come to an Orrery child, and from it", function()
      run(function()
        local got = parent(engine, [[
          const child =
            orrery("process.on('message', function(m) process.send(m) end)");
          const values = [null, true, 0.5, '', 'é€', [], {},
            [[], {a: null}], 2 ** 53,
            'x'.repeat(10 * 1024 * 1024), 'aé€'.repeat(100000)];
          const wrong = [];
          for (const value of values) {
            child.send(value);
            const [echo] = await next(child);
            if (JSON.stringify(echo) !== JSON.stringify(value))
              wrong.push(value);
          }
          child.disconnect();
          await once(child, 'exit');
          return wrong;]])

        assert.same({}, got)
      end)
    end)
  end)
end)

-- The end ---------------------------------------------------------------------

local ENDS = { "disconnect", "exit", "close", "error" }

--- What has ended a child, each once: `close` comes last, the order of the
--- others is anybody's guess.
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

        assert.same({ { "close", 0 }, { "disconnect" }, { "exit", 0 } },
          sorted(log))
        assert.is_false(child:send("too late"))
      end)
    end)

    it("by the child is one disconnect, exit and close, after its "
      .. "messages", function()
      run(function()
        -- A disconnect of Node's drops what does not fit into the socket.
        for code, count in pairs {
          ["for (let i = 1; i <= 1000; i++) process.send(i);"] = 1000,
          ["for (let i = 1; i <= 99; i++) process.send(i); "
            .. "process.disconnect();"] = 99,
        } do
          local child <close> = start(engine, code)
          local log, last = helper.record(child, ENDS), 0
          child:on("message", function(m)
            assert.equal(last + 1, m)
            last = m
          end)
          await_close(child)

          assert.equal(count, last)
          assert.same({ { "close", 0 }, { "disconnect" }, { "exit", 0 } },
            sorted(log))
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
          ['{"half":'] = "ECONNRESET", ["no JSON\\n"] = "EPROTO",
          ["\\n"] = "EPROTO",
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
            process.send "ready"`,
            { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
          await next(child);
          child.disconnect();
          const [text] = await once(child.stdout.setEncoding('utf8'), 'data');
          if (child.exitCode === null) await once(child, 'exit');
          return [text,
            ...child.seen.filter(([name]) => name !== 'close').sort()];]])

        -- Node has no `close` where the parent disconnects.
        assert.same({ "1\tfalse\n", { "disconnect" }, { "exit", 0, null } },
          seen)
      end)
    end)

    it("comes from an Orrery child as from a "
      .. "child of " .. name .. "'s", function()
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
        assert.same({ { "close", 0, null }, { "disconnect" },
          { "exit", 0, null } },
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

    it("by the death of an Orrery parent ends a "
      .. "child of " .. name .. "'s", function()
      run(function()
        local parent_ <close> = orrery.spawn(helper.orrery, { "-e", ([[
          local orrery = require "orrery"
          local child = orrery.fork("spec/node/run.js", {
            "process.on('disconnect', () => console.log('gone'));"
              .. "process.send(1);" },
            { exec_path = %q, serialization = "json" })
          child:receive()
          orrery.process.kill(orrery.process.pid,
            "SIGKILL")]]):format(engine) },
          { stdio = { "ignore", "pipe", "inherit" },
            env_extend = helper.env() })

        assert.equal("gone\n", parent_.stdout:read_all())
        assert.equal("SIGKILL", select(2, parent_:wait()))
      end)
    end)
  end)
end)

describe("a channel to Node", function()
  local ECHO = "process.on('message', (m) => process.send(m))"

  --- Starts what echoes, and checks that it does.
  local function check(start_child)
    run(function()
      local child <close> = start_child()
      child:send { a = { 1, 2 } }

      assert.same({ a = { 1, 2 } }, (next_message(child)))
      finish(child)
    end)
  end

  it("fault A8: is JSON by itself, by fork", function()
    check(function()
      return orrery.fork(RUN, { ECHO }, { exec_path = "node", exec_argv = {} })
    end)
  end)

  it("fault A8: is JSON by itself, by spawn", function()
    check(function()
      return orrery.spawn(NODE, { RUN, ECHO },
        { stdio = { "ignore", "inherit", "inherit", "ipc" } })
    end)
  end)

  it("fault A8: is JSON by itself, by a shell", function()
    check(function()
      return orrery.spawn("node", { RUN, ECHO },
        { shell = true, stdio = { "ignore", "inherit", "inherit", "ipc" } })
    end)
  end)
end)
