local helper = require "spec.helper"
local core = require "orrery.core"
local orrery = require "orrery"
local uv = require "luv"

local spawn, run = orrery.spawn, helper.run

--- Runs to the end and gives stdout.
local function output_of(command, args, opts)
  local child = spawn(command, args, opts)
  local text = assert(child.stdout:read_all())
  child:wait()
  if child.stderr then child.stderr:destroy() end
  return text, child
end

--- The message of what `spawn` raises.
local function raised(...)
  local ok, err = pcall(function(...)
    local child = spawn(...)
    return child
  end, ...)
  assert.is_false(ok)
  return err
end

describe("spawn #spawn", function()
  it("A1: reports a missing file as error and close(nil, nil) alone (quirk 8)", function()
    run(function()
      local child = spawn("foo123", { "a" })
      local log = helper.record(child, { "spawn", "error", "exit", "close" })
      child:wait_for("close")

      assert.equal("error close", helper.names(log))
      local err = log[1][2]
      assert.equal("ENOENT", err.code)
      assert.equal(2, err.errno)
      assert.equal("spawn", err.syscall)
      assert.equal("exec", err.stage)
      assert.equal("foo123", err.path)
      assert.is_nil(child.pid)
      assert.is_nil(child.exit_code)
      assert.is_nil(log[2][2])
      assert.equal(child.stdin, child.stdio[0])
      assert.equal(child.stdout, child.stdio[1])
      assert.equal("", child.stdout:read_all())
    end)
  end)

  it("A1: ends and closes the streams of what did not start", function()
    run(function()
      local child = spawn("foo123")
      child:on("error", function() end)
      local log = helper.record(child.stdout, { "end", "close" })
      child.stdout:resume()
      helper.eventually(function() return #log == 2 end)

      assert.equal("end close", helper.names(log))
    end)
  end)

  it("A1: gives waiters the error instead of an event", function()
    run(function()
      local code, err = spawn("foo123"):wait()

      assert.is_nil(code)
      assert.equal("ENOENT", err.code)
    end)
  end)

  it("A2: emits spawn once, before everything else", function()
    run(function()
      local child = spawn("sh", { "-c", "echo hi" })
      local log = helper.record(child, { "spawn", "error", "exit", "close" })
      local stdout = helper.record(child.stdout, { "data", "end", "close" })
      child.stdout:once("data", function() log[#log + 1] = { "data" } end)
      child.stderr:resume()
      child:wait_for("close")

      assert.equal("spawn", log[1][1])
      assert.equal("close", log[#log][1])
      assert.equal("data end close", helper.names(stdout))
    end)
  end)

  it("A3: reports a full fd table as EMFILE", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local spawn, fds = orrery.spawn, {}
        repeat
          local fd = orrery.core.open("/dev/null", "r")
          fds[#fds + 1] = fd
        until not fd
        local child = spawn("true")
        for i = 1, 30 do fds[i]:close() end
        child:on("exit", function() print "exit" end)
        child:on("error", function(e) print(e.code, e.stage) end)
        child:on("close", function() print "close" end)
        require "luv".run()
        print(spawn("true"):wait())]], { rlimits = { nofile = 64 } })

      assert.matches("^EMFILE\t%a+\nclose\n0\n$", result.stdout)
    end)
  end)

  it("A4: starts in cwd, and names a cwd that is missing", function()
    run(function()
      local there = output_of("pwd", {}, { cwd = "/" })
      local here = output_of("pwd", {}, { cwd = "" })
      local child = spawn("pwd", {}, { cwd = "/does/not/exist" })
      local log = helper.record(child, { "exit", "error", "close" })
      child:wait_for("close")

      assert.equal("/\n", there)
      assert.equal(uv.cwd() .. "\n", here)
      assert.equal("error close", helper.names(log))
      assert.equal("ENOENT", log[1][2].code)
      assert.equal("chdir", log[1][2].stage)
      assert.equal("/does/not/exist", log[1][2].path)
    end)
  end)

  it("A5: takes command, arguments and options in all their forms", function()
    run(function()
      local opts = { stdio = "ignore" }
      for _, args in ipairs {
        { "true" }, { "true", {} }, { "true", nil, opts }, { "true", opts },
        { "true", {}, opts }, { { "true" } }, { { "true", "x" }, opts },
        { "true", {}, nil }, { "true", { 1, 2.5 } },
      } do
        assert.equal(0, spawn(table.unpack(args, 1, 3)):wait())
      end
    end)
  end)

  it("A5: raises at the caller's line where an argument is wrong", function()
    for _, case in ipairs {
      { nil }, { 5 }, { true }, { "" }, { {} }, { { 1 } },
      { "x", "y" }, { "x", 5 }, { "x", { true } }, { "x", { {} } },
      { "x", {}, 5 }, { "x", {}, "y" }, { "x", {}, print },
      { "x", {}, { uid = 2 ^ 63 } }, { "x", {}, { gid = -1 } },
      { { "x" }, {}, {} },
    } do
      local err = raised(table.unpack(case, 1, 3))
      assert.matches("^spec/child_process/spawn_spec.lua:%d+: spawn: ", err)
    end
  end)

  it("A6: accepts and rejects values of each option", function()
    local cases = {
      cwd = { good = { "/" }, bad = { 5, true, {} } },
      detached = { good = { true, false }, bad = { 0, "x", {} } },
      uid = { good = {}, bad = { "x", 1.5, -1, 2 ^ 32, {} } },
      gid = { good = {}, bad = { "x", 1.5, -1, 2 ^ 32, {} } },
      shell = { good = { true, false, "/bin/sh" }, bad = { 5, {}, "" } },
      argv0 = { good = { "x" }, bad = { 5, true, {} } },
      windows_hide = { good = { true, false }, bad = {} },
      timeout = { good = { 0, 60000 }, bad = { -1, 1.5, "x", {} } },
      kill_signal = {
        good = { "SIGTERM", "sigterm", "TERM", 15, 9 },
        bad = { 0, 500, -200, 3.14, "SIGFOO", {}, true },
      },
      umask = { good = { 0, 18, 511 }, bad = { -1, 512, "022", {} } },
      nice = { good = { 19 }, bad = { 20, -21, "x" } },
      cpu_affinity = { good = { { 0 } }, bad = { 0, { -1 }, { "x" }, { 5000 } } },
      rlimits = {
        good = { { core = 0 }, { cpu = { soft = 9, hard = 10 } } },
        bad = { 5, { cores = 1 }, { core = -1 }, { core = "x" }, { cpu = { 1 } } },
      },
      pgroup = { good = { true, 0, false }, bad = { -1, "x" } },
      env = { good = { {} }, bad = { 5, "x" } },
      die_with_parent = { good = { true }, bad = { 1 } },
      scope = { good = {}, bad = { {}, 5 } },
      stdio_grace = { good = { 0 }, bad = { -1 } },
      serialization = { good = { "json", "msgpack" }, bad = { "xml", 1 } },
    }
    run(function()
      for name, values in pairs(cases) do
        for _, value in ipairs(values.good) do
          local child = spawn("/bin/true", {}, { [name] = value, stdio = "ignore" })
          assert.equal(0, child:wait(), name)
        end
        for _, value in ipairs(values.bad) do
          local err = raised("true", {}, { [name] = value })
          assert.matches("option '" .. name .. "'", err)
        end
      end
    end)
  end)

  it("A5: raises for options among the arguments, which would be lost", function()
    assert.matches('has the key "cwd"', raised("ls", { "-l", cwd = "/" }))
    assert.matches('has the key "cwd"', raised { "ls", cwd = "/" })
  end)

  it("A6: raises for unknown options and names the nearest", function()
    local err = raised("true", {}, { kil_signal = 9 })

    assert.matches("unknown option \"kil_signal\"; did you mean 'kill_signal'", err)
  end)

  it("A7: raises for NUL bytes anywhere", function()
    for _, case in ipairs {
      { "tr\0ue" }, { "true", { "a\0b" } }, { "true", {}, { cwd = "/\0" } },
      { "true", {}, { argv0 = "a\0" } }, { "true", {}, { shell = "/bin/sh\0" } },
      { "true", {}, { env = { ["a\0"] = "b" } } },
      { "true", {}, { env = { a = "b\0" } } },
      { "true", {}, { env_extend = { a = "b\0" } } },
      { "true", {}, { stdio = { { file = "/dev\0null" } } } },
      { "true", {}, { user = "roo\0t" } }, { { "true", "\0" } },
    } do
      assert.matches("^spec/child_process/spawn_spec.lua", raised(table.unpack(case, 1, 3)))
    end
  end)

  it("A8: checks what the core is given as well", function()
    local n = assert(core.null_fd())
    for _, args in ipairs {
      {}, { 5 }, { "true" }, { "true", {} , { n } }, { "true", { "t" }, { "x" } },
      { "true", { "t" }, { -2 } }, { "true", { "t" }, {}, 5 },
      { "true", { "t" }, {}, { {} } }, { "true", { "t" }, {}, nil, 5 },
      { "true", { "t\0" }, {} }, { "true", { "t" }, {}, nil, { nice = 99 } },
      { "true", { "t" }, {}, nil, { rlimits = { 1, -1, 1 } } },
      { "true", { "t" }, {}, nil, { cpu_affinity = { 99999 } } },
    } do
      assert.is_false((pcall(core.spawn, table.unpack(args, 1, 5))))
    end
  end)

  it("A9: takes nil and {} as no arguments, with options still honoured", function()
    run(function()
      assert.equal("/\n", (output_of("pwd", nil, { cwd = "/" })))
      assert.equal("/\n", (output_of("pwd", {}, { cwd = "/" })))
      assert.equal("/\n", (output_of("pwd", { cwd = "/" })))
    end)
  end)

  it("A10: passes env as it is: numbers as text, empty values kept, case told apart",
    function()
      run(function()
        local base = setmetatable({ HELLO = "WORLD", EMPTY = "", N = 5, n = "x" },
          { __index = { INHERITED = "no" } })
        local text = output_of("/usr/bin/env", {}, { env = base })
        local lines = {}
        for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
        table.sort(lines)

        assert.same({ "EMPTY=", "HELLO=WORLD", "N=5", "n=x" }, lines)
      end)
    end)

  it("A11: gives children the environment as it is now", function()
    run(function()
      uv.os_setenv("ORRERY_SPEC", "1")
      local default = output_of("sh", { "-c", "echo $ORRERY_SPEC" })
      local extended = output_of("sh", { "-c", "echo $ORRERY_SPEC$MORE" },
        { env_extend = { MORE = "2" } })
      local without = output_of("sh", { "-c", "echo ${ORRERY_SPEC-unset}" },
        { env_extend = { ORRERY_SPEC = false } })
      uv.os_unsetenv("ORRERY_SPEC")

      assert.equal("1\n", default)
      assert.equal("12\n", extended)
      assert.equal("unset\n", without)
    end)
  end)

  it("A12: sets argv0, which is the command by default", function()
    run(function()
      local script = { "-c", "tr '\\0' ' ' < /proc/$$/cmdline" }
      assert.matches("^/bin/sh %-c", (output_of("/bin/sh", script)))
      assert.matches("^moon %-c", (output_of("/bin/sh", script, { argv0 = "moon" })))
    end)
  end)

  it("A13: reports exit codes", function()
    run(function()
      local child = spawn("sh", { "-c", "exit 23" }, { stdio = "ignore" })
      local log = helper.record(child, { "exit", "close" })
      assert.same({ 23 }, { child:wait() })
      child:wait_for("close")

      assert.same({ { "exit", 23 }, { "close", 23 } }, log)
      assert.equal(23, child.exit_code)
      assert.is_nil(child.signal_code)
    end)
  end)

  it("A14: fails to start as root where we may not", function()
    run(function()
      if helper.is_root then
        local result = helper.lua_as([[
          local spawn = require "orrery".spawn
          local _, err = spawn("true", {}, {uid=0}):wait() print(err.code, err.stage)
          _, err = spawn("true", {}, {gid=0}):wait() print(err.code, err.stage)
          _, err = spawn("true", {}, {groups={0}}):wait() print(err.code, err.stage)]],
          { uid = 65534, gid = 65534, groups = {} })
        assert.equal("EPERM\tuid\nEPERM\tgid\nEPERM\tgroups\n", result.stdout)
        return
      end
      for stage, opts in pairs { uid = { uid = 0 }, gid = { gid = 0 } } do
        local _, err = spawn("true", {}, opts):wait()
        assert.equal("EPERM", err.code)
        assert.equal(stage, err.stage)
      end
    end)
  end)

  it("A15: runs a command line by a shell", function()
    run(function()
      local text, child = output_of("echo", { "foo" }, { shell = true })
      assert.equal("foo\n", text)
      assert.equal("/bin/sh", child.spawn_file)
      assert.equal("echo foo", child.spawn_args[#child.spawn_args])
      assert.equal("bar\n", (output_of("echo bar | cat", nil, { shell = true })))
      assert.equal("buzz\n", (output_of("echo $BAZ", nil,
        { shell = true, env_extend = { BAZ = "buzz" } })))

      local lost = spawn("does-not-exist", nil, { shell = true, stdio = "ignore" })
      local log = helper.record(lost, { "spawn", "error", "exit" })
      assert.equal(127, lost:wait())
      lost:wait_for("close")
      assert.equal("spawn exit", helper.names(log))
    end)
  end)

  it("A15: keeps shell metacharacters in arguments as data", function()
    run(function()
      local odd = { "a;b", "$(id)", "it's", "*", "", " x " }
      local text = output_of("printf '<%s>'", odd, { shell = true })

      assert.equal("<a;b><$(id)><it's><*><>< x >", text)
    end)
  end)

  it("A16: ignores options that come from a metatable", function()
    run(function()
      local opts = setmetatable({}, { __index = { cwd = "/", shell = true } })

      assert.equal(uv.cwd() .. "\n", (output_of("pwd", {}, opts)))
    end)
  end)

  it("A17: reports a path that is not there, and 127 by a shell", function()
    run(function()
      local _, err = spawn("./nothing/here.bat"):wait()
      assert.equal("ENOENT", err.code)
      local viashell = spawn("./nothing/here.bat", nil,
        { shell = true, stdio = "ignore" })
      assert.equal(127, viashell:wait())
    end)
  end)

  it("finds the command in the child's PATH", function()
    run(function()
      local _, err = spawn("ls", {}, { env = { PATH = "/does/not/exist" } }):wait()
      assert.equal("ENOENT", err.code)
      assert.equal(0, spawn("true", {}, { env = {}, stdio = "ignore" }):wait())
    end)
  end)

  it("prefers EACCES of one directory of PATH to ENOENT of the next", function()
    run(function()
      local dir = os.tmpname()
      os.remove(dir)
      uv.fs_mkdir(dir, 493)
      io.open(dir .. "/secret", "w"):close()
      local _, err = spawn("secret", {}, { env = { PATH = dir .. ":/bin" } }):wait()
      os.remove(dir .. "/secret")
      os.remove(dir)

      assert.equal("EACCES", err.code)
    end)
  end)

  it("runs a script without #! by sh, and names a missing interpreter", function()
    run(function()
      local path = os.tmpname()
      local function write(text)
        local file <close> = io.open(path, "w")
        file:write(text)
      end
      uv.fs_chmod(path, 493)
      write("echo $0 $1\n")
      local text = output_of(path, { "arg" })
      write("#!/no/such/interpreter\n")
      local _, err = spawn(path):wait()
      os.remove(path)

      assert.equal(path .. " arg\n", text)
      assert.equal("ENOENT", err.code)
      assert.equal("/no/such/interpreter", err.path)
    end)
  end)

  it("emits errors of any errno, and throws none (quirk 14): E2BIG, ENOTDIR, EACCES", function()
    run(function()
      local _, big = spawn("true", { ("x"):rep(3000000) }):wait()
      local _, notdir = spawn("true", {}, { cwd = "/etc/passwd" }):wait()
      local _, denied = spawn("/etc/passwd"):wait()

      assert.same({ "E2BIG", "exec" }, { big.code, big.stage })
      assert.same({ "ENOTDIR", "chdir" }, { notdir.code, notdir.stage })
      assert.same({ "EACCES", "exec" }, { denied.code, denied.stage })
    end)
  end)

  it("reports EAGAIN of RLIMIT_NPROC", function()
    run(function()
      local who = helper.is_root and { uid = 64123, gid = 64123 } or {}
      who.rlimits = { nproc = 1 }
      local result = helper.lua_as([[
        local spawn = require "orrery".spawn
        local child = spawn("/bin/true")
        local _, err = child:wait()
        print(err.code, err.stage)]], who)

      assert.equal("EAGAIN\tfork\n", result.stdout)
    end)
  end)

  it("leaves nothing behind after 1,000 failed starts", function()
    run(function()
      local before = helper.fds()
      for i = 1, 1000 do
        local bad = i % 2 == 0 and { cwd = "/does/not/exist" } or {}
        local _, err = spawn("/does/not/exist", {}, bad):wait()
        assert.equal("ENOENT", err.code)
      end

      collectgarbage()
      assert.same(before, helper.fds())
      assert.same({}, helper.children())
    end)
  end)

  it("sets resources: umask, nice, affinity, limits", function()
    run(function()
      local text = output_of("sh", { "-c",
        "umask; nice; ulimit -n; ulimit -c; grep Cpus_allowed_list /proc/self/status" },
        { umask = 63, nice = 5, cpu_affinity = { 0 },
          rlimits = { nofile = 77, core = 0 } })

      assert.matches("^0077\n5\n77\n0\nCpus_allowed_list:%s+0\n$", text)
    end)
  end)

  it("limits fds below what its own work takes", function()
    run(function()
      local text = output_of("/bin/echo", { "few" },
        { rlimits = { nofile = 4 }, stdio = { "ignore", "pipe", "stdout" } })

      assert.equal("few\n", text)
    end)
  end)

  it("does not hand the engine's own fds to children in place of closed ones", function()
    run(function()
      local _, err = spawn("true", {}, { stdio = { "ignore", "ignore", 700 } }):wait()
      assert.equal("fd 700", err.path)
      local result = orrery.sh(helper.interpreter .. [[ -e '
        local core = require "orrery.core"
        core.spawn("sh", {"sh", "-c", "readlink /proc/$$/fd/0 >&2"}, {0, 1, 2})
        repeat until core.reap()' <&- >&-]],
        { env_extend = helper.env() })
      assert.equal("/dev/null\n", result.stderr)
    end)
  end)

  it("keeps us dumpable when a child changes its ids #root", function()
    if not helper.is_root then return pending("needs root") end
    run(function()
      local result = helper.lua([[
        local orrery, uv = require "orrery", require "luv"
        local before = uv.fs_stat("/proc/self/environ").uid
        orrery.run("true", {}, {uid=65533, gid=65533})
        print(before == uv.fs_stat("/proc/self/environ").uid)]])

      assert.equal("true\n", result.stdout)
    end)
  end)

  it("starts a session leader that asks for its own group too", function()
    run(function()
      assert.equal(0, spawn("true", {}, { detached = true, pgroup = true,
        stdio = "ignore" }):wait())
    end)
  end)

  it("refuses a limit that we may not raise, and names it", function()
    run(function()
      local who = helper.is_root and { uid = 65534, gid = 65534 } or {}
      who.rlimits = { core = { soft = 0, hard = 0 } }
      local result = helper.lua_as([[
        local spawn = require "orrery".spawn
        local _, err = spawn("true", {}, {rlimits={core=math.huge}}):wait()
        print(err.code, err.stage, err.path)]], who)

      assert.equal("EPERM\trlimit\tcore\n", result.stdout)
    end)
  end)

  it("sets uid, gid and groups #root", function()
    if not helper.is_root then return pending("needs root") end
    run(function()
      local text = output_of("sh", { "-c", "id -u; id -g; id -G" },
        { uid = 65534, gid = 65533, groups = { 5, 7 } })
      assert.equal("65534\n65533\n65533 5 7\n", text)
      local nobody = output_of("id", { "-un" }, { user = "nobody" })
      assert.equal("nobody\n", nobody)
    end)
  end)

  it("fails to start as a user that is unknown", function()
    run(function()
      local _, err = spawn("true", {}, { user = "no-such-user" }):wait()

      assert.same({ "ENOENT", "uid", "no-such-user" },
        { err.code, err.stage, err.path })
    end)
  end)

  it("gives children default signals and an empty mask", function()
    run(function()
      core.process():ignore_sigpipe()
      local text = output_of("grep", { "^Sig[BI]", "/proc/self/status" })

      assert.matches("SigBlk:%s+0+\n", text)
      assert.matches("SigIgn:%s+0+\n", text)
    end)
  end)

  it("gives children no fds but those of stdio (quirk 11)", function()
    run(function()
      local leaky = io.open("/dev/null") -- without CLOEXEC
      local text = output_of("ls", { "/proc/self/fd" })
      leaky:close()

      assert.equal("0\n1\n2\n3\n", text) -- 3 is the listing itself
    end)
  end)

  it("starts at the same cost to its fds with many of them open", function()
    run(function()
      local fds = {}
      for i = 1, 300 do fds[i] = core.open("/dev/null", "r") end
      local child = spawn("cat", {}, { stdio = { "pipe", "pipe", "pipe", "pipe",
        "pipe", "pipe" } })
      child.stdin:finish("through high numbers")
      local text = child.stdout:read_all()
      child:wait()
      for _, stream in pairs(child.stdio) do stream:destroy() end
      for _, fd in ipairs(fds) do fd:close() end

      assert.equal("through high numbers", text)
    end)
  end)

  it("ends a child with its parent", function()
    run(function()
      local parent = spawn(helper.interpreter, { "-e", [[
        local orrery = require "orrery"
        local child = orrery.spawn("sleep", {"1000"}, {die_with_parent=true, stdio="ignore"})
        print(child.pid)
        io.stdout:flush()
        orrery.core.process():kill(orrery.process.pid, 9)]] },
        { env_extend = helper.env(), stdio = { "ignore", "pipe", "inherit" } })
      local pid = tonumber(parent.stdout:read_all())
      parent:wait()

      helper.await_end(pid)
    end)
  end)

  it("never blocks, whatever the order in which children end", function()
    run(function()
      local children = {}
      for i = 1, 50 do
        children[i] = spawn("sh", { "-c", "exit " .. i }, { stdio = "ignore" })
      end
      for i = 50, 1, -1 do assert.equal(i, children[i]:wait()) end
    end)
  end)
end)

describe("the roads into a child", function()
  local calls = {
    no_clone_vm = "CLONE_VFORK",
    no_pidfd = "pidfd",
    no_close_range = "close_range",
  }
  for road, trace in pairs(calls) do
    it(("with %s make no call of %s"):format(road, trace), function()
      run(function()
        local env = helper.env { ORRERY_FORCE = road }
        local preload = env.LD_PRELOAD or ""
        env.LD_PRELOAD = nil
        local result = assert(orrery.run("strace", { "-f", "-qq", "-e",
          "trace=clone,clone3,vfork,fork,close_range,pidfd_open,pidfd_send_signal,waitid",
          "-E", "LD_PRELOAD=" .. preload, "-E", "ASAN_OPTIONS=detect_leaks=0",
          helper.interpreter, "-e", [[
            local orrery = require "orrery"
            local child = orrery.spawn("sleep", {"100"}, {stdio="ignore"})
            child:kill()
            print(child:wait())
            local features = orrery.core.features()
            print(features.clone_vm, features.pidfd, features.close_range)]] },
          { env_extend = env }))

        assert.matches("143\tSIGTERM", result.stdout)
        local own = result.stderr:gsub("[^\n]*CLONE_THREAD[^\n]*", "")
        assert.is_nil(own:lower():find(trace:lower(), 1, true))
        assert.is_truthy(own:find("clone", 1, true))
      end)
    end)
  end

  it("use the calls that exist where nothing is forced", function()
    if helper.forced then return end
    assert.same({ clone_vm = true, pidfd = true, close_range = true },
      core.features())
  end)
end)
