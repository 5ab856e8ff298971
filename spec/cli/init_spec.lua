--- An engine below init: of a pid namespace, and by --init.

local helper = require "spec.helper"
local keeper = require "orrery.child_process.keeper"
local orrery = require "orrery"
local terminal = require "spec.fixture.terminal"

--- As helper.run, with time for many programs on a busy machine.
local function run(fn) return helper.run(fn, 120000) end

local UNSHARE = { "unshare", helper.is_root and "-pf" or "-Urpf",
  "--mount-proc", "--kill-child" }

local can_unshare =
  os.execute(table.concat(UNSHARE, " ") .. " true 2>/dev/null")

local function joined(...)
  local words = {}
  for _, list in ipairs { ... } do
    table.move(list, 1, #list, #words + 1, words)
  end
  return words
end

--- How to come below init, and why a machine may not let us.
local ROADS = {
  ["as pid 1"] = { words = joined(UNSHARE, terminal.orrery()),
    missing = not can_unshare and "needs pid namespaces" },
  ["by --init"] = { words = joined(terminal.orrery(), { "--init" }) },
}

--- `orrery` and `process` are there for all code, and so is `signal(name)`,
--- which has another process send a signal to init. What code starts is not
--- preloaded as we may be: a sanitizer finds that mktemp leaks, and fails it.
local PRELUDE = [[
  local orrery = require "orrery"
  local process = orrery.process
  process.env.LD_PRELOAD = nil
  local function signal(name)
    return orrery.run("kill", {"-s", name, process.ppid}, {check = true})
  end ]]

--- Runs code below init to its end. [w]
local function below(words, code, opts)
  opts = opts or {}
  opts.timeout = opts.timeout or 120000
  local env = helper.env(opts.env_extend)
  env.LD_PRELOAD = nil -- words have it
  opts.env_extend = env
  return assert(orrery.run(joined(words, { "-e", PRELUDE .. code }), opts))
end

--- Declares a test on each road.
--- @param fn fun(words: string[])
local function on_each_road(declare, fn)
  for name, road in pairs(ROADS) do
    declare(" " .. name, function()
      if road.missing then return pending(road.missing) end
      run(function() fn(road.words) end)
    end)
  end
end

-- 500 whose parent has ended, and who all end at once: they wait for a line of
-- a FIFO that has no other writers.
local ORPHANS = [=[
  local function children_of_init()
    local file <close> = assert(io.open(
      ("/proc/%d/task/%d/children"):format(process.ppid, process.ppid)))
    local _, count = file:read("a"):gsub("%d+", "")
    return count
  end
  local parent = orrery.spawn("sh", {"-c", [[
    fifo=$(mktemp -u) && mkfifo "$fifo" && exec 3<>"$fifo" && rm "$fifo"
    for i in $(seq 500); do read line <&3 & done]]},
    {detached = true, stdio = {"ignore", "ignore", "inherit"}})
  print((parent:wait()), children_of_init())
  process.kill(-parent.pid, "SIGKILL")
  while children_of_init() > 1 do orrery.sleep(1) end
  print(children_of_init())
]=]

-- All but those that have a meaning of their own between init and its child.
local SIGNALS = [[
  local names = {"HUP", "INT", "QUIT", "USR1", "USR2", "PIPE", "ALRM", "TERM",
    "CONT", "TSTP", "TTIN", "TTOU", "WINCH", "URG"}
  for _, name in ipairs(names) do
    orrery.go(function()
      print(name, (process:wait_for("SIG" .. name, 20000)))
    end)
  end
  orrery.sleep(0)
  for _, name in ipairs(names) do
    local caught = orrery.go(function() process:wait_for("SIG" .. name) end)
    orrery.sleep(0)
    signal(name)
    caught:join()
  end]]

-- Each stands for code, and the status that it ends with.
local ENDINGS = {
  [""] = 0,
  ["os.exit(3)"] = 3,
  ["error 'x'"] = 1,
  ["process.abort()"] = 134,
  ["process.kill(process.pid, 'SIGKILL') orrery.sleep(60000)"] = 137,
  ["signal 'HUP' orrery.sleep(60000)"] = 129,
  ["signal 'USR1' orrery.sleep(60000)"] = 138,
  ["signal 'TERM' orrery.sleep(60000)"] = 143,
}

describe("orrery below init", function()
  on_each_road(function(road, test)
    it("ours does better 10: has 500 orphans reaped" .. road, test)
  end, function(words)
    local result = below(words, ORPHANS)
    assert.same({ "0\t501\n1\n", "" }, { result.stdout, result.stderr })
  end)

  on_each_road(function(road, test)
    it("gets each signal that init gets, once" .. road, test)
  end, function(words)
    local result = below(words, SIGNALS)
    assert.equal("", result.stderr)
    local count = 0
    for name, caught in result.stdout:gmatch("(%u+%d?)\t(%w+)\n") do
      assert.equal("SIG" .. name, caught)
      count = count + 1
    end
    assert.equal(14, count, result.stdout)
  end)

  on_each_road(function(road, test)
    it("fault D9: ends by a signal without a listener, and gives its status"
      .. road, test)
  end, function(words)
    for code, status in pairs(ENDINGS) do
      assert.equal(status, below(words, code).code, code)
    end
  end)
end)

--- A program of C's or Python's own below init, which knows nothing of us.
local function below_keeper(...)
  return orrery.run(keeper.path, { "init", ... },
    { timeout = 60000, env_extend = { LD_PRELOAD = false } })
end

describe("orrery-keeper init", function()
  it("hands on real-time signals, each of them", function()
    run(function()
      local result = below_keeper("/usr/bin/env", "env", "python3", "-c", [[
import os, signal
caught = []
signal.pthread_sigmask(signal.SIG_BLOCK, {40, 64})
for _ in range(3):
    os.system("kill -40 %d" % os.getppid())
os.system("kill -64 %d" % os.getppid())
print([int(signal.sigwait({40, 64})) for _ in range(4)])]])

      assert.equal("[40, 40, 40, 64]\n", result.stdout)
    end)
  end)

  it("hands nothing back that its program has sent to the group", function()
    run(function()
      local result = below_keeper("/usr/bin/env", "env", "setsid", "-w",
        keeper.path, "init", "/usr/bin/env", "env", "python3", "-c", [[
import os, signal
caught = []
signal.signal(signal.SIGTERM, lambda *_: caught.append("TERM"))
os.kill(0, signal.SIGTERM)
signal.signal(signal.SIGUSR1, lambda *_: caught.append("USR1"))
os.system("kill -USR1 %d" % os.getppid())
while "USR1" not in caught:
    signal.pause()
print(caught)]])

      assert.equal("['TERM', 'USR1']\n", result.stdout)
    end)
  end)

  it("says what it cannot run, and ends with 127 or 126", function()
    run(function()
      local missing = below_keeper("/no/such/program", "x")
      local forbidden = below_keeper("/etc/passwd", "x")

      assert.equal("orrery-keeper: cannot run /no/such/program: errno 2\n",
        missing.stderr)
      assert.same({ 127, 126 }, { missing.code, forbidden.code })
    end)
  end)

  it("restores an ignored SIGCHLD, the mask, and all that was "
    .. "ignored", function()
    run(function()
      local code = [[
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
for name in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTSTP, 40):
    signal.signal(name, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])]]
      local show = { "/bin/grep", "grep", "^Sig[BI]", "/proc/self/status" }
      local function signals_of(words)
        local result = orrery.run(joined({ "python3", "-c", code }, words))
        assert.equal(0, result.code)
        return result.stdout
      end

      local without = signals_of { table.unpack(show, 2) }
      assert.equal(without, signals_of(joined({ keeper.path, "init" }, show)))
      assert.matches("SigBlk:\t0*800\n", without)
    end)
  end)
end)

local INIT = ROADS["by --init"].words

--- Starts code by --init; it prints "ready" when it is.
local function start(code, opts)
  opts = opts or {}
  opts.env_extend = helper.env { LD_PRELOAD = false }
  opts.stdio = opts.stdio or { "pipe", "pipe", "inherit" }
  return orrery.spawn(joined(INIT, { "-e", PRELUDE .. code }), opts)
end

describe("orrery --init", function()
  it("runs a script, code and stdin, as without it", function()
    run(function()
      local path = helper.tmpname()
      local file = io.open(path, "w")
      file:write("print(arg[0], #arg, ...)")
      file:close()
      local script = helper.cli { "--init", path, "--init", "x" }
      local dashes = helper.cli { "--init", "--", path }
      local stdin = helper.cli({ "--init", "-", "y" },
        { input = "print(#arg, ...)" })
      os.remove(path)

      assert.equal(path .. "\t2\t--init\tx\n", script.stdout)
      assert.equal(path .. "\t0\n", dashes.stdout)
      assert.equal("1\ty\n", stdin.stdout)
      assert.equal(9, helper.cli({ "--init" }).code)
      assert.matches("usage: .*%-%-init", helper.cli({ "--init" }).stderr)
      assert.equal(9, helper.cli({ "--init", "--bogus" }).code)
    end)
  end)

  it("stays in the process group, and passes fds on", function()
    run(function()
      local result = below(INIT, [[
        local line = orrery.sh("ps -o pgid= -p " .. process.pid
          .. "; ps -o pgid= -p " .. process.ppid).stdout
        local a, b = line:match("(%d+)%s+(%d+)")
        print(a == b, (io.open("/dev/fd/3"):read()))]],
        { stdio = { "ignore", "pipe", "pipe", { file = "/proc/version" } } })

      local file <close> = io.open("/proc/version")
      assert.equal("true\t" .. file:read() .. "\n", result.stdout)
    end)
  end)

  it("readdresses sockets and a watchdog that were for its pid", function()
    run(function()
      local words = joined({ "sh", "-c", [[LISTEN_PID=$$ WATCHDOG_PID=$$ \
        SYSTEMD_EXEC_PID=1 LISTEN_FDS=1 exec "$@"]], "sh" }, INIT)
      local result = below(words, [[local env, pid = process.env, process.pid
        print(env.LISTEN_PID + 0 == pid, env.WATCHDOG_PID + 0 == pid,
          env.SYSTEMD_EXEC_PID, env.LISTEN_FDS)]])

      assert.equal("true\ttrue\t1\t1\n", result.stdout)
    end)
  end)

  it("holds neither a channel nor an output of the script's", function()
    run(function()
      local child = start([[
        process.send("hello")
        process:once("message", function()
          process.disconnect()
          process.execve("/bin/sh", {"-c", "exec >&-; read line; exit 6"})
        end)]], { stdio = { "pipe", "pipe", "inherit", "ipc" } })
      assert.equal("hello", (child:receive(20000)))
      child:send("go")
      child:wait_for("disconnect", 20000)
      assert.equal("", child.stdout:read_all())

      assert.is_nil(child.exit_code)
      child.stdin:finish("\n")
      assert.equal(6, child:wait(20000))
      helper.await_close(child)
    end)
  end)

  it("ends the script when init is killed", function()
    run(function()
      local child = start [[print(process.pid) orrery.sleep(60000)]]
      local pid = tonumber(child.stdout:lines()())
      child:kill("SIGKILL")

      assert.equal("SIGKILL", select(2, child:wait(20000)))
      helper.await_end(pid)
      assert.equal("", child.stdout:read_all())
    end)
  end)

  it("dies with its parent if it is to, and the script with it", function()
    run(function()
      local parent = orrery.spawn(helper.interpreter, { "-e", ([[
        local orrery = require "orrery"
        orrery.spawn(%q, {"--init", "-e", "print(require 'orrery'.process.pid) "
          .. "require 'orrery'.sleep(60000)"},
          {stdio = "inherit", die_with_parent = true}):wait()]]):format(
        helper.orrery) }, { env_extend = helper.env(),
        stdio = { "ignore", "pipe", "inherit" } })
      local pid = tonumber(parent.stdout:lines()())
      parent:kill("SIGKILL")
      parent:wait(20000)

      helper.await_end(pid)
      assert.equal("", parent.stdout:read_all())
    end)
  end)

  it("leaves others alone when the script has ended", function()
    run(function()
      local child = start [[print(orrery.sh(
        "(exec sleep 60) >/dev/null & echo $!", {trim = true}).stdout)]]
      local pid = tonumber(child.stdout:lines()())
      assert.equal(0, child:wait(20000))

      assert.is_true(orrery.process.kill(pid, "SIGKILL"))
      helper.await_end(pid)
    end)
  end)

  it("says what is missing", function()
    run(function()
      local dir = orrery.sh("mktemp -d", { trim = true }).stdout
      assert(orrery.sh(("mkdir -p '%s/build/orrery' && cp -r bin lua '%s' && "
        .. "cp '%s' '%s/build/orrery'"):format(dir, dir,
        require "orrery.core".library, dir)).ok)
      local env = { env_extend = { LD_PRELOAD = helper.env().LD_PRELOAD } }
      local result = orrery.run(dir .. "/bin/orrery",
        { "--init", "-e", "print 'never'" }, env)
      orrery.sh(("rm -r '%s'"):format(dir))

      assert.same({ 1, "", "orrery: --init needs " .. dir
        .. "/build/orrery/orrery-keeper, which make build makes: "
        .. "No such file or directory\n" },
        { result.code, result.stdout, result.stderr })
    end)
  end)
end)

--- Counts a signal until another one has come by way of init, which would have
--- handed on the first one by then.
local COUNT = PRELUDE .. [[
  local count = 0
  process:on("%s", function() count = count + 1 end)
  print "ready"
  process:wait_for("%s")
  orrery.go(signal, "USR1")
  process:wait_for("SIGUSR1")
  print("came " .. count) os.exit(4)]]

describe("the terminal of orrery --init", function()
  --- Runs code by --init on a terminal, and types.
  local function on_terminal(code, typed)
    return terminal.run(joined(INIT, { "-e", code }), typed)
  end

  it("sends a Ctrl-C once", function()
    run(function()
      local ended, text = on_terminal(COUNT:format("SIGINT", "SIGINT"))

      assert.equal(-4, ended)
      assert.matches("ready\n^Ccame 1\n", text, 1, true)
    end)
  end)

  it("ends the script by Ctrl-C and Ctrl-\\, as shells have it", function()
    run(function()
      local wait = PRELUDE .. "print 'ready' orrery.sleep(60000)"

      assert.equal(-130, (on_terminal(wait)))
      assert.equal(-131, (on_terminal(wait, "\x1c")))
    end)
  end)

  it("stops both by Ctrl-Z, and fg continues both", function()
    run(function()
      local code = PRELUDE .. [[print "ready"
        process:wait_for "SIGCONT" print "again" os.exit(5)]]
      local _, text = terminal.run({ "sh", "-mc", [[$ORRERY "$1"
        echo "stopped $?"; fg >/dev/null; echo "ended $?"]], "sh", code },
        "\x1a", { ORRERY = table.concat(INIT, " ") .. " -e" })

      assert.matches("stopped 147\nagain\nended 5\n", text)
    end)
  end)

  it("stops both when the script stops itself for Ctrl-Z", function()
    run(function()
      local code = PRELUDE .. [[
        process:on("SIGTSTP", function()
          print "tidy" process.kill(process.pid, "SIGSTOP")
        end)
        print "ready" process:wait_for "SIGCONT" os.exit(5)]]
      local _, text = terminal.run({ "sh", "-mc", [[$ORRERY "$1"
        echo "stopped $?"; fg >/dev/null; echo "ended $?"]], "sh", code },
        "\x1a", { ORRERY = table.concat(INIT, " ") .. " -e" })

      assert.matches("tidy\nstopped 147\nended 5\n", text)
    end)
  end)

  it("tells of its end, though only init leads the session", function()
    run(function()
      local path = helper.tmpname()
      local code = PRELUDE .. ([[
        process:on("SIGHUP", function()
          io.open(%q, "w"):write("hung up"):close() os.exit(6)
        end)
        print "ready" orrery.sleep(60000)]]):format(path)
      local ended = on_terminal(code, "hang up")
      local file <close> = io.open(path)
      os.remove(path)

      assert.same({ -6, "hung up" }, { ended, file:read("a") })
    end)
  end)
end)
