local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local run = helper.run

--- What runs below a process: pid → command line.
local function descendants(root)
  local parents, commands = {}, {}
  local scan = uv.fs_scandir("/proc")
  for name in uv.fs_scandir_next, scan do
    local stat = name:find("^%d+$") and io.open("/proc/" .. name .. "/stat")
    if stat then
      parents[tonumber(name)] =
        tonumber((stat:read("a") or ""):match("%) %a (%d+)"))
      stat:close()
    end
  end
  for pid, parent in pairs(parents) do
    if parent == root then
      local file = io.open("/proc/" .. pid .. "/cmdline")
      commands[pid] = file and file:read("a") or ""
      if file then file:close() end
    end
  end
  return commands
end

--- The tour, started with its own environment.
local function tour(env)
  env.LD_PRELOAD = false
  return orrery.spawn(helper.orrery, { "scripts/tour.lua" },
    { stdio = { "ignore", "pipe", "inherit" }, env_extend = helper.env(env) })
end

--- The row of a job: how it ended, and its memory in MB.
local function row(text, name)
  for line in text:gmatch("[^\n]+") do
    if line:sub(1, #name) == name then
      local ended, memory =
        line:sub(#name + 1):match("^%s+(.-)%s%s+.*%s<?([%d.]+) MB$")
      return ended, tonumber(memory)
    end
  end
end

--- Peak memory in MB as /usr/bin/time has it.
local function peak(command)
  local result = orrery.run("/usr/bin/time",
    { "-f", "%M", table.unpack(command) },
    { env_extend = { LD_PRELOAD = false } })
  return tonumber(result.stderr:match("(%d+)%s*$")) * 1024 / 1e6
end

describe("scripts/tour.lua", function()
  local text

  it("runs a tool on each source file, with one that fails and one "
    .. "that hangs", function()
    run(function()
      local child = tour { TOUR_PATIENCE = "300" }
      text = child.stdout:read_all()

      assert.equal(0, child:wait())
      assert.equal("exit 0", (row(text, "cc core/engine/launch.c")))
      assert.equal("exit 0",
        (row(text, "luacheck lua/orrery/runtime/loop.lua")))
      assert.equal("exit 1", (row(text, "a command that fails")))
      assert.equal("SIGTERM, timed out", (row(text, "a command that hangs")))
    end, 60000)
  end)

  it("measures the peak memories that /usr/bin/time measures", function()
    run(function()
      local commands = {
        ["cc core/engine/launch.c"] = { "cc", "-std=c11", "-D_GNU_SOURCE",
          "-Icore",
          "-I/usr/include/lua5.4", "-fsyntax-only", "core/engine/launch.c" },
        ["luacheck lua/orrery/stream.lua"] = { "luacheck", "--quiet",
          "lua/orrery/stream.lua" },
      }
      for name, command in pairs(commands) do
        local _, ours = row(text, name)
        local theirs = peak(command)
        assert.is_true(math.abs(ours - theirs) <= 0.2 * theirs,
          ("%s: %.1f MB here, %.1f MB there"):format(name, ours, theirs))
      end
    end, 60000)
  end)

  it("shows it when somebody else stops one of its tools #long", function()
    run(function()
      local child = tour { TOUR_PATIENCE = "60000" }
      local victim
      helper.eventually(function()
        for pid, command in pairs(descendants(child.pid)) do
          if command:find("sleep\0001000", 1, true) then victim = pid end
        end
        return victim
      end, 30000)
      orrery.process.kill(victim, "SIGUSR1")
      local changed = child.stdout:read_all()

      assert.equal(0, child:wait())
      assert.equal("SIGUSR1", (row(changed, "a command that hangs")))
    end, 60000)
  end)
end)

--- Runs a script, with another `orrery` in PATH that only fails, and gives its
--- output. On stderr there is `opts.stderr`, nothing without.
local function script(path, args, opts)
  opts = opts or {}
  local bin = orrery.sh([[dir=$(mktemp -d) && ln -s /bin/false $dir/orrery &&
    echo $dir]], { trim = true }).stdout
  local result = helper.cli({ "scripts/" .. path, table.unpack(args or {}) },
    { input = opts.input, env_extend = { LD_PRELOAD = false,
      PATH = bin .. ":" .. os.getenv("PATH") } })
  orrery.sh("rm -r " .. bin)
  assert.equal(opts.stderr or "", result.stderr)
  return result.stdout, result
end

describe("scripts/process", function()
  local patterns = {
    ["about.lua"] = "^pid\t%d+\n.*script_dir\t%S+/scripts/process\n",
    ["memory_usage.lua"] = "^before  rss .*\nafter   rss .*\n16777216\n$",
    ["next_tick.lua"] = "^now\nnext tick\ntimer\n$",
    ["chdir.lua"] = "^here\t(%S+)\nabove\t%S*\nENOENT\t/does/not/exist\n$",
    ["kill.lua"] = "^true\n143\tSIGTERM\nESRCH\n$",
    ["uptime.lua"] = "^%d%.%d s\n%d%.%d s\n$",
    ["hrtime.lua"] = "^%d+ bytes in 0 s and %d+ ns\n$",
    ["uncaught_exception.lua"] =
      "^caught in a task\t.*nobody expects this\nstill here\n$",
    ["shutdown.lua"] =
      "^working\n.*shutting down: SIGTERM\nall done\n$",
    ["title.lua"] = "^before: .*title.lua\nafter:  worker: 0 %% done\n.*100 %%",
    ["usage.lua"] = "^the loop took %d+.*ms.*\nat most .*\n%d+ MB are left",
    ["signal.lua"] = "^SIGINT %(2%), number 1\n.*number 3\n$",
  }
  for name, pattern in pairs(patterns) do
    it(name .. " prints what it says", function()
      run(function() assert.matches(pattern, (script("process/" .. name))) end)
    end)
  end

  it("argv.lua prints its arguments", function()
    run(function()
      assert.equal("0\tscripts/process/argv.lua\n1\ta\n2\tb c\n",
        (script("process/argv.lua", { "a", "b c" })))
    end)
  end)

  it("stdin.lua prints what it reads", function()
    run(function()
      assert.equal("received: hello\n",
        (script("process/stdin.lua", {}, { input = "hello" })))
    end)
  end)

  it("cwd.lua prints where it runs", function()
    run(function()
      assert.equal(uv.cwd() .. "\n", (script "process/cwd.lua"))
    end)
  end)

  it("init.lua has its orphan adopted and reaped", function()
    run(function()
      local result = helper.cli({ "--init", "scripts/process/init.lua" },
        { env_extend = { LD_PRELOAD = false } })
      assert.equal("the script's parent: orrery-keeper\n"
        .. "the orphan's parent: orrery-keeper\nthe orphan: reaped\n",
        result.stdout)
    end)
  end)

  it("exit.lua ends with its code", function()
    run(function()
      local text, result = script "process/exit.lua"
      assert.same({ "leaving\n", 3 }, { text, result.code })
    end)
  end)

  it("exit_event.lua listens to its end", function()
    run(function()
      local text, result = script "process/exit_event.lua"
      assert.same({ "working\nleaving with 0\n", 0 }, { text, result.code })
    end)
  end)
end)

describe("scripts/child_process", function()
  local outputs = {
    ["spawn.lua"] = "WORKING DIRECTORY: /\nARGUMENT: A\n",
    ["stdio.lua"] = "inherited\ninto a file\n",
    ["close_event.lua"] = "all of it\nclose\t0\tnil\nclose\tnil\tSIGINT\n",
    ["exit_event.lua"] = "exit\t3\nstill writing\nclose\t3\n",
    ["error_event.lua"] =
      "ENOENT\texec\tno-such-program\nENOENT\tchdir\t/no/such/folder\n",
    ["kill.lua"] = "ready\nnot yet\n137\tSIGKILL\n",
    ["exec.lua"] = "C\nB\nA\n",
    ["pty.lua"] = "Password: \n7\n24 80\nwaiting\n40 132\nexit\t0\n",
    ["containment.lua"] = "bare\ttrue\ncontained\ttrue\nstopped\tfalse\n",
    ["limits.lua"] = "32\n5\n1\nSIGXCPU\ttrue\nEINVAL\trlimit\tnofile\n",
    ["exec_file.lua"] = "$HOME; rm -rf *\n",
    ["exec_error.lua"] = "3\tnil\tfalse\t0\t7\techo reason >&2; exit 3\n"
      .. "nil\tSIGINT\ttrue\t0\t0\texec sleep 1000\n"
      .. "ERR_CHILD_PROCESS_STDIO_MAXBUFFER\tSIGTERM\ttrue\t1000\t0\t"
      .. "exec yes\n",
  }
  for name, output in pairs(outputs) do
    it(name .. " prints what it says", function()
      run(function()
        local text, result = script("child_process/" .. name)
        assert.same({ output, 0 }, { text, result.code })
      end)
    end)
  end

  it("sh.lua counts the scripts beside it", function()
    run(function()
      local scripts = 0
      local scan = uv.fs_scandir("scripts/child_process")
      for name in uv.fs_scandir_next, scan do
        if name:find("%.lua$") then scripts = scripts + 1 end
      end

      assert.equal(("scripts\t%d\nfalse\t3\n"):format(scripts),
        (script "child_process/sh.lua"))
    end)
  end)

  it("inherit.lua lends its input and output", function()
    run(function()
      assert.equal("a\nb\n",
        (script("child_process/inherit.lua", {}, { input = "b\na\n" })))
    end)
  end)

  it("shared_stderr.lua lends its stderr alone", function()
    run(function()
      assert.equal("received\thello\n",
        (script("child_process/shared_stderr.lua", {},
          { stderr = "trouble\n" })))
    end)
  end)

  it("fault E8: detached.lua ends before its child, which goes on", function()
    run(function()
      local pid, path =
        script("child_process/detached.lua"):match("^(%d+)\t(%S+)\n$")
      helper.await_end(tonumber(pid))
      local lines = 0
      for _ in io.lines(path) do lines = lines + 1 end
      os.remove(path)

      assert.equal(5, lines)
    end)
  end)
end)

describe("scripts/fork", function()
  --- The lines of a script's output, sorted: two processes print.
  local function lines_of(path)
    local text, result = script("fork/" .. path)
    assert.equal(0, result.code)
    local lines = {}
    for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    return lines
  end

  it("messages.lua prints what both sides get", function()
    run(function()
      assert.same({ "the child got name\tzfpx", "the parent got age\t9" },
        lines_of "messages.lua")
    end)
  end)

  it("server.lua has each client answered by one of two processes", function()
    run(function()
      local lines = lines_of "server.lua"
      assert.equal(10, #lines)
      for _, line in ipairs(lines) do
        assert.is_true(line == "answered by the parent"
          or line == "answered by the child")
      end
    end)
  end)

  local outputs = {
    ["silent.lua"] = "the first ended with\t0\na\nb c\n",
    ["socket.lua"] = ("answered by the parent\nanswered by the child\n"):rep(2),
    ["node_child.lua"] =
      "1606938044258990275541962092341162602522202993782792835301376\n0\n",
    ["python_worker.lua"] =
      "5.0625\t4.5\nnil\tmean requires at least one data point\n",
  }
  for name, output in pairs(outputs) do
    it(name .. " prints what it says", function()
      run(function()
        local text, result = script("fork/" .. name)
        assert.same({ output, 0 }, { text, result.code })
      end)
    end)
  end
end)
