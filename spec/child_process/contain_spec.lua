--- What a contained child is to its parent, to its terminal and to its family:
--- what any other child is, but that its family is known.

local helper = require "spec.helper"
local orrery = require "orrery"
local terminal = require "spec.fixture.terminal"

local spawn, process = orrery.spawn, orrery.process
local TIME = 60000 -- ms, on a busy machine

--- The ways to reach a family: spawn's options for them.
local ROADS = {
  walk = {},
  keeper = { contain = "keeper" },
}
if orrery.core.features().cgroup then ROADS.group = { contain = "cgroup" } end

--- Returns spawn's options for a road, with more.
local function on(road, more)
  local opts = {}
  for _, given in ipairs { ROADS[road], more or {} } do
    for name, value in pairs(given) do opts[name] = value end
  end
  return opts
end

--- Runs fn as a task, and waits until the last keeper has gone.
local function run(fn)
  helper.run(function()
    fn()
    helper.eventually(function() return next(helper.children()) == nil end)
  end, TIME)
end

--- Runs fn(road) for each road, as a test of its own.
local function on_each(what, fn)
  for road in pairs(ROADS) do
    it(what .. ": " .. road, function()
      run(function() fn(road) end)
    end)
  end
end

local PIPED = { "ignore", "pipe", "inherit" }

-- Prints the pid of a daemon that nothing of its parent's is left of: it is in
-- another session, has no parent in the family, and ignores SIGTERM.
local DAEMON = [[(setsid sh -c 'trap "" TERM; echo $$;
  exec sleep 1000 >/dev/null 2>&1' &); ]]

--- Starts sh -c code. Returns the child, and the number that it prints. [w]
local function start(code, opts)
  opts.stdio = opts.stdio or PIPED
  local child = spawn("sh", { "-c", code }, opts)
  return child, tonumber(child.stdout:lines()())
end

--- Returns the state and the parent of a process; nil if there is none.
local function stat_of(pid)
  local file <close> = io.open(("/proc/%d/stat"):format(pid))
  local state, parent = (file and file:read("a") or ""):match("%) (%a) (%d+)")
  return state, tonumber(parent)
end

--- Tells whether a process lives; one that only waits to be reaped does not.
local function alive(pid)
  local state = stat_of(assert(tonumber(pid)))
  return state ~= nil and state ~= "Z"
end

--- Runs a command line by `sh` or the like until its time is over, which it has
--- used to print something. Returns the result. [w]
local function time_out(line, opts, by)
  opts.timeout = 100
  while true do
    local result = by(line, opts)
    if result.stdout ~= "" then return result end
    opts.timeout = opts.timeout * 2
  end
end

describe("the family of a child #spawn", function()
  for road in pairs(ROADS) do
    it("ours does better 5: ends with it, also a daemon that is nobody's child "
      .. "any more: " .. road, function()
      run(function()
        local child, daemon = start(DAEMON .. "exec sleep 1000", on(road))
        assert.not_equal(child.pid, select(2, stat_of(daemon)))
        child:kill_tree("SIGKILL")
        child:wait()

        helper.await_end(daemon)
      end)
    end)

    it("fault A10: ends with what runs it, is stopped, or leaves a scope: "
      .. road, function()
      run(function()
        local line = "sleep 1000 & echo $!; wait"
        local timed_out = time_out(line, on(road), orrery.sh).stdout
        local child, stopped = start(line, on(road))
        child:stop()
        local left = orrery.scope(function(scope)
          return select(2, start(line, on(road, { scope = scope })))
        end)

        for _, pid in ipairs { timed_out, stopped, left } do
          assert.is_false(alive(pid))
        end
      end)
    end)
  end

  on_each("gets kill_signal", function(road)
    local result = time_out("exec 2>/dev/null; "
      .. "sh -c 'trap \"echo got it; exit\" USR1; echo ready; "
      .. " while :; do sleep 0.01; done' & wait",
      on(road, { kill_signal = "SIGUSR1" }), orrery.sh)

    assert.equal("ready\ngot it\n", result.stdout)
    assert.same({ true, "SIGUSR1" }, { result.timed_out, result.signal })
  end)

  on_each("ends when it has written too much", function(road)
    local failure
    orrery.exec("sleep 1000 & echo $!; yes", on(road, { max_buffer = 1000 }),
      function(err) failure = err end)
    helper.eventually(function() return failure end)

    assert.equal("ERR_CHILD_PROCESS_STDIO_MAXBUFFER", failure.code)
    assert.is_false(alive(failure.stdout:match("^%d+")))
  end)

  on_each("is told of as a boolean", function(road)
    local child, daemon = start(DAEMON .. "exec sleep 1000", on(road))
    assert.is_true(child:kill_tree(0))
    assert.is_false(child.killed)
    local outside = coroutine.wrap(function() return child:kill_tree(0) end)
    assert.is_true((outside()))
    assert.is_true(child:kill_tree())
    assert.same({ true, 143 }, { child.killed, (child:wait()) })
    assert.is_true(child:kill_tree("SIGKILL"))
    helper.await_end(daemon)
    helper.eventually(function() return not child:kill_tree(0) end)

    assert.is_false(child:kill_tree("SIGKILL"))
  end)

  it("of one that has ended goes on unless it is contained", function()
    run(function()
      local function left_by(road)
        local daemons = {}
        do
          local child <close>, daemon = start(DAEMON, on(road))
          child:wait()
          daemons[1] = daemon
        end
        orrery.scope(function(scope)
          local child
          child, daemons[2] = start(DAEMON, on(road, { scope = scope }))
          child:wait()
        end)
        return daemons
      end

      for _, pid in ipairs(left_by "keeper") do
        assert.is_false(alive(pid))
      end
      for _, pid in ipairs(left_by "walk") do
        assert.is_true(alive(pid))
        process.kill(pid, "SIGKILL")
      end
    end)
  end)

  on_each("reaches into the families of an engine that it has started, alive "
    .. "or not", function(road)
    for _, last in ipairs { "orrery.sleep(100000)",
      "process.kill(process.pid, 'SIGKILL')" } do
      local child = spawn(helper.orrery, { "-e", ([[
        local orrery = require "orrery"
        local process = orrery.process
        local child = orrery.spawn("sh", {"-c", %q}, {contain = "keeper",
          stdio = {"ignore", "pipe", "inherit"}})
        print(child.stdout:lines()()) %s]]):format(DAEMON, last) },
        on(road, { stdio = PIPED, env_extend = helper.env() }))
      local daemon = tonumber(child.stdout:lines()())
      if last:find("kill", 1, true) then child:wait() end
      assert.is_true(alive(daemon))
      child:stop { grace = 100 }

      assert.is_false(alive(daemon))
    end
  end)
end)

describe("a contained child #spawn", function()
  it("is the program, not its keeper", function()
    run(function()
      local child = spawn("sh", { "-c", "echo $$ $PPID" }, on("keeper"))
      local pid, parent = child.stdout:read_all():match("(%d+) (%d+)")
      child:wait()
      child.stderr:destroy()

      assert.equal(child.pid, tonumber(pid))
      assert.not_equal(process.pid, tonumber(parent))
    end)
  end)

  it("ends as any other", function()
    run(function()
      local function ends(road, code)
        local child = spawn("sh", { "-c", code },
          on(road, { stdio = "ignore" }))
        local log = helper.record(child, { "spawn", "exit", "close", "error" })
        local before = tostring(child):gsub("%d+", "N", 1)
        local waited = table.pack(child:wait())
        helper.await_close(child)
        local usage = {}
        for name in pairs(child.usage) do usage[name] = name ~= "family" end
        usage.family = nil
        return { log, before, waited, usage, child.exit_code,
          child.signal_code, (tostring(child):gsub("%d+", "N", 1)) }
      end

      for _, code in ipairs { "exit 0", "exit 3", "kill $$", "kill -9 $$" } do
        assert.same(ends("walk", code), ends("keeper", code))
      end
    end)
  end)

  it("has an output that ends with it, and an environment that is exact",
    function()
    run(function()
      local child = spawn("sh", { "-c", "sleep 1000 >/dev/null 2>&1 & env" },
        on("keeper", { env = { PATH = os.getenv "PATH", A = "1" } }))
      local text = child.stdout:read_all()
      helper.await_close(child)

      assert.is_nil(text:find("ORRERY", 1, true))
      assert.truthy(text:find("A=1\n", 1, true))
      assert.is_true(child:kill_tree("SIGKILL"))
      assert.is_nil(child:stop().left)
    end)
  end)

  it("has a channel", function()
    run(function()
      local child = helper.fork("process.on('message', function(m) "
        .. "process.send(m + 1) end)", { contain = "keeper" })
      child:send(41)
      assert.equal(42, child:receive(20000))
      child:disconnect()

      assert.equal(0, child:wait())
      helper.await_close(child)
    end)
  end)

  it("tells what its family has used, once that has ended", function()
    run(function()
      local child = start("echo 1; (setsid sh -c 'i=0; "
        .. "while [ $i -lt 100000 ]; do i=$((i+1)); done' &) ", on("keeper"))
      child:wait()
      local own = child.usage
      helper.eventually(function() return child.usage.family end)
      local all = child.usage.family

      assert.is_true(own.user + own.system < all.user + all.system)
      assert.is_true(all.max_rss >= own.max_rss)
    end)
  end)

  it("is what holds the loop, until it has ended", function()
    run(function()
      local child, daemon = start(DAEMON .. "exec sleep 1000", on("keeper"))
      local name = ("child %d (sh)"):format(child.pid)
      local function holds(what)
        for _, held in ipairs(process.active_resources()) do
          if held == what then return true end
        end
        return false
      end
      assert.same({ true, false }, { holds(name), holds "keeper" })
      child:kill()
      child:wait()
      assert.is_false(holds(name))
      local stopping = orrery.go(child.stop, child, { grace = 10 })
      orrery.sleep(0)
      assert.is_true(holds "keeper")
      stopping:join()

      assert.is_false(holds "keeper")
      assert.is_false(alive(daemon))
    end)
  end)
end)

describe("the sync family, with contain #spawn", function()
  it("takes the end of the program, and leaves its family alone", function()
    run(function()
      for _, code in ipairs { "echo a; exit 3", "kill -9 $$" } do
        local bare = orrery.spawn_sync("sh", { "-c", code })
        local kept = orrery.spawn_sync("sh", { "-c", code }, on("keeper"))
        bare.pid, kept.pid = nil, nil
        assert.same(bare, kept)
      end
      local daemon = tonumber(orrery.exec_sync(DAEMON, on("keeper")))
      assert.is_true(alive(daemon))
      process.kill(daemon, "SIGKILL")
    end)
  end)

  it("ends the family whose time is over", function()
    run(function()
      local result = time_out("trap '' TERM; " .. DAEMON
        .. "while :; do sleep 0.01; done", on("keeper"), function(line, opts)
        return orrery.spawn_sync("sh", { "-c", line }, opts)
      end)

      assert.same({ "ETIMEDOUT", "SIGKILL" },
        { result.error.code, result.signal })
      helper.await_end(tonumber(result.stdout:match("%d+")))
    end)
  end)

  it("tells of a program that cannot start", function()
    run(function()
      local result = orrery.spawn_sync("/no/such", {}, on("keeper"))

      assert.same({ "ENOENT", "exec" },
        { result.error.code, result.error.stage })
    end)
  end)
end)

--- Runs code by the CLI on a terminal; its variable `opts` keeps children, who
--- have the terminal.
local function on_terminal(code)
  local command = terminal.orrery()
  command[#command + 1] = "-e"
  command[#command + 1] = "local orrery = require 'orrery' "
    .. "local opts = { contain = 'keeper', stdio = 'inherit' } " .. code
  local env = helper.env()
  env.LD_PRELOAD = nil
  return spawn(command, { stdio = "pty", env_extend = env })
end

--- Reads until the text has the pattern. Returns the text. [w]
local function await(pty, pattern)
  local text = ""
  while not text:find(pattern) do
    text = text .. assert(pty:read(nil, TIME), text)
  end
  return text
end

describe("a contained child on a terminal #spawn", function()
  it("has Ctrl-C from it, in the group in the foreground", function()
    run(function()
      local child = on_terminal [[
        local interrupted = false
        orrery.process.on("SIGINT", function()
          interrupted = true
          print "here, too"
        end)
        print(orrery.spawn("sh", {"-c", "trap 'echo got it; exit 7' INT; "
          .. "cat /proc/$PPID/stat /proc/$$/stat; echo ready; "
          .. "while :; do sleep 0.01; done"}, opts):wait())
        while not interrupted do orrery.sleep(1) end]]
      local text = await(child.pty, "ready")
      child.pty:write("\3")

      local own = tostring(child.pid)
      for group, session, front in
        text:gmatch("%) %a %d+ (%d+) (%d+) %d+ (%d+)") do
        assert.same({ own, own, own }, { group, session, front })
      end
      text = child.pty:read_all()
      assert.truthy(text:find("got it", 1, true), text)
      assert.truthy(text:find("here, too", 1, true), text)
      assert.matches("\n7\r\n", text)
      assert.equal(0, child:wait())
    end)
  end)

  it("may ask on it, though stdin is another one", function()
    run(function()
      local child = on_terminal [[
        opts.stdio = {"ignore", "inherit", "inherit"}
        orrery.spawn("sh", {"-c",
          "echo ready; read answer </dev/tty; echo it was $answer"},
          opts):wait()]]
      await(child.pty, "ready")
      child.pty:write("yes\n")

      assert.matches("it was yes", child.pty:read_all())
      assert.equal(0, child:wait())
    end)
  end)

  it("stops by Ctrl-Z, and goes on, but its keeper does not stop", function()
    run(function()
      local words = terminal.orrery()
      local env = helper.env {
        PS1 = "$ ", ORRERY = table.concat(words, " ") .. " -e" }
      env.LD_PRELOAD = nil
      local shell = spawn("sh", { "-i" }, { stdio = "pty", env_extend = env })
      await(shell.pty, "%$ $")
      shell.pty:write([[$ORRERY "local orrery = require 'orrery' ]]
        .. [[local child = orrery.spawn('sh', {'-c', 'echo of \$PPID; ]]
        .. [[exec sleep 1000'}, {contain = 'keeper', stdio = 'inherit'}) ]]
        .. [[child:kill(0) io.read() print('got ' .. child:stop().code)"]]
        .. "\n")
      local keeper = await(shell.pty, "of %d+\r\n"):match("of (%d+)\r")
      shell.pty:write("\26")
      await(shell.pty, "%$ $")
      local file <close> = io.open(("/proc/%s/stat"):format(keeper))
      assert.matches("orrery%-keeper%) [SR]", file:read("a"))
      shell.pty:write("fg\n\n")

      await(shell.pty, "got 143\r\n")
      shell.pty:write("exit 5\n")
      shell.pty:read_all()
      assert.equal(5, shell:wait())
    end)
  end)
end)
