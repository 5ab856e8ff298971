local helper = require "spec.helper"
local core = require "orrery.core"
local orrery = require "orrery"
local output_of = require "spec.fixture.children".output_of
local uv = require "luv"

local spawn, run = orrery.spawn, helper.run

describe("spawn #spawn", function()
  it("A1: reports a missing file as error and close(nil, nil) alone "
    .. "(quirk 8)", function()
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
      local _, err = spawn("ls", {},
        { env = { PATH = "/does/not/exist" } }):wait()
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
      local _, err = spawn("secret", {},
        { env = { PATH = dir .. ":/bin" } }):wait()
      os.remove(dir .. "/secret")
      os.remove(dir)

      assert.equal("EACCES", err.code)
    end)
  end)

  it("runs a script without #! by sh, and names a missing "
    .. "interpreter", function()
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

  it("fault B10: looks for the interpreter where the script is, and in no FIFO",
    function()
      run(function()
        local dir = orrery.sh("mktemp -d", { trim = true }).stdout
        local made = orrery.sh([[mkfifo p s && mkdir other && cd other
          echo '#!/no/such/interpreter' >s && chmod +x s]], { cwd = dir })
        local result = helper.lua([[
          local orrery = require "orrery"
          local fifo = orrery.core.open("p", "r+")
          fifo:write "#!/taken"
          for _, file in ipairs { "./p", "./s" } do
            local _, err = orrery.run(file, {}, {cwd = "other"})
            print(err.code, err.path)
          end
          print(fifo:read())]], { cwd = dir, timeout = 10000 })
        orrery.sh(("rm -r '%s'"):format(dir))

        assert.is_true(made.ok)
        assert.equal("ENOENT\t./p\nENOENT\t/no/such/interpreter\n#!/taken\n",
          result.stdout)
      end)
    end)

  it("emits errors of any errno, and throws none (quirk 14): E2BIG, ENOTDIR, "
    .. "EACCES", function()
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

  it("ours does better 9: ends a child with its parent", function()
    run(function()
      local parent = spawn(helper.interpreter, { "-e", [[
        local orrery = require "orrery"
        local child = orrery.spawn("sleep", {"1000"},
          {die_with_parent=true, stdio="ignore"})
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

describe("a channel's variables", function()
  local stdio = { "ignore", "pipe", "inherit", "ipc" }

  --- Returns whose variable tells a program called `name` of its channel. [w]
  local function told(name, serialization)
    local dir = orrery.sh("mktemp -d", { trim = true }).stdout
    local path = dir .. "/" .. name
    uv.fs_symlink("/usr/bin/env", path)
    local child <close> = spawn(path, {},
      { stdio = stdio, serialization = serialization })
    local text = child.stdout:read_all()
    orrery.run("rm", { "-r", dir })
    return text:match("([A-Z]+)_CHANNEL_FD=3")
  end

  it("fault A8: are Node's for programs that speak as Node does", function()
    run(function()
      for _, name in ipairs { "node", "nodejs", "bun", "deno" } do
        assert.equal("NODE", told(name), name)
      end
      for _, name in ipairs { "node20", "lua5.4", "mynode" } do
        assert.equal("ORRERY", told(name), name)
      end
      assert.equal("ORRERY", told("node", "msgpack"))
    end)
  end)
end)
