--- execa runs Orrery scripts as it runs any program.

local clients = require "spec.fixture.clients"
local helper = require "spec.helper"
local node = require "spec.fixture.node"
local orrery = require "orrery"

local run = helper.run

--- Runs JavaScript that has `execa`, and `cli`, its path. Returns
--- what it returns. [w]
local function with_execa(code)
  return node.under_node(([[
    const { execa, execaNode } = await import(%q);
    const cli = %q;]]):format(clients.module("execa", "index.js"),
    helper.orrery) .. code)
end

--- Defines a test that needs execa.
local function test(name, fn)
  it(name, function()
    clients.need_module("execa")
    run(fn, clients.TIME)
  end)
end

describe("execa #clients", function()
  test("gives a script its input and arguments, and gets its output", function()
    local result = with_execa [[
      const { stdout, stderr, exitCode } = await execa(cli, ['-e', `
        local process = require "orrery".process
        print(process.argv[1], process.stdin:read_all())
        io.stderr:write "warned"`, 'argument'], { input: 'input' });
      return { stdout, stderr, exitCode };]]

    assert.same({ stdout = "argument\tinput", stderr = "warned",
      exitCode = 0 }, result)
  end)

  test("gets 10 MB of output, and its lines one by one", function()
    local result = with_execa [[
      const { stdout } = await execa(cli, ['-e',
        'for _ = 1, 100000 do print(("x"):rep(99)) end']);
      const lines = [];
      for await (const line of execa(cli, ['-e',
        'for i = 1, 3 do print(i) end'])) lines.push(line);
      return [stdout.length, lines];]]

    assert.same({ 9999999, { "1", "2", "3" } }, result)
  end)

  test("sees how a script ends: by a code, an error, a signal", function()
    local result = with_execa [[
      const ends = [];
      for (const code of [
        'require "orrery".process.exit(7)', 'error "wrong"',
        'require "orrery".process.abort()',
      ]) {
        const { exitCode, signal, stderr } =
          await execa(cli, ['-e', code], { reject: false });
        ends.push([exitCode ?? signal, /wrong/.test(stderr)]);
      }
      return ends;]]

    assert.same({ { 7, false }, { 1, true }, { "SIGABRT", false } }, result)
  end)

  test("ends a script that takes too long, by SIGTERM", function()
    local result = with_execa [[
      const { timedOut, signal, isForcefullyTerminated } = await execa(cli,
        ['-e', 'require "orrery".sleep(60000)'],
        { timeout: 500, reject: false });
      return [timedOut, signal, isForcefullyTerminated];]]

    assert.same({ true, "SIGTERM", false }, result)
  end)

  test("cancels a script, which cleans up", function()
    local result = with_execa [[
      const controller = new AbortController();
      const child = execa(cli, ['-e', `
        local orrery = require "orrery"
        orrery.process.on("SIGTERM", function()
          print "cleaned up"
          orrery.process.exit(3)
        end)
        print "ready"
        orrery.sleep(1000000)`],
        { cancelSignal: controller.signal, reject: false });
      child.stdout.once('data', () => controller.abort());
      const { stdout, exitCode, isCanceled } = await child;
      return [stdout, exitCode, isCanceled];]]

    assert.same({ "ready\ncleaned up", 3, true }, result)
  end)

  test("pipes scripts into each other", function()
    local result = with_execa [[
      const { stdout } = await execa(cli, ['-e',
        'for i = 1, 1000 do print(i) end']).pipe(cli, ['-e',
        'local n = 0 for _ in io.lines() do n = n + 1 end print(n)']);
      return stdout;]]

    assert.equal("1000", result)
  end)

  test("exchanges messages with a script, as JSON", function()
    local path = clients.program("doubles.lua")
    local result = with_execa(([[
      const child = execaNode(%q,
        { nodePath: cli, nodeOptions: [], serialization: 'json' });
      const answers = [];
      for (const message of [21, 'ab']) {
        child.sendMessage(message);
        answers.push(await child.getOneMessage());
      }
      child.disconnect();
      await child;
      return answers;]]):format(path))

    assert.same({ 42, "abab" }, result)
  end)

  test("runs a script whose channel is advanced, which says so "
    .. "when it is used", function()
    local result = with_execa [[
      const run = (code) => execa(cli, ['-e', code], { ipc: true,
        reject: false });
      const unused = await run('print "runs"');
      const used = await run('require "orrery".process.send(1)');
      return [unused.stdout, unused.exitCode, used.stderr, used.exitCode];]]

    assert.same({ "runs", 0 }, { result[1], result[2] })
    assert.matches('"advanced".*serialization', result[3])
    assert.equal(1, result[4])
  end)
end)

describe("an Orrery script that ends with its execa #clients", function()
  test("leaves by the end of its channel", function()
    local code = ([[
      const { execa } = await import(%q);
      execa(%q, ['-e', `
        local process = require "orrery".process
        process.on("disconnect", function() print "gone" end)
        process.send "ready"`], { ipc: true, serialization: 'json',
        stdio: ['ignore', 'inherit', 'inherit'], cleanup: false })
        .getOneMessage().then(() => process.kill(process.pid, 'SIGKILL'));]])
      :format(clients.module("execa", "index.js"), helper.orrery)
    local child <close> = orrery.spawn("node", { node.RUN, code },
      { stdio = { "ignore", "pipe", "inherit" } })

    assert.equal("gone\n", child.stdout:read_all())
    assert.equal("SIGKILL", select(2, child:wait()))
  end)
end)
