local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run

local SHOW = [[
  local orrery = require "orrery"
  local function show(ok, err)
    local path = err and err.path
    print(ok and "ok" or ("%s %s %s"):format(err.code, err.stage, path))
  end ]]

--- Runs a program by plain lua5.4 behind another command. Returns what it
--- prints. [w]
local function behind(command, code, env)
  local argv = { table.unpack(command) }
  for _, word in ipairs { helper.interpreter, "-e", SHOW .. code } do
    argv[#argv + 1] = word
  end
  local result = assert(orrery.run(argv,
    { env_extend = helper.env(env), timeout = 20000 }))
  assert.equal("", result.stderr)
  return result.stdout
end

--- Mounts an empty folder over another one before the program runs.
local function without(folder)
  return { "unshare", helper.is_root and "-m" or "-rm", "sh", "-c",
    ("mount -t tmpfs none %s && exec \"$@\""):format(folder), "sh" }
end

--- A command that refuses system calls to the program; it is removed with it.
local function deny(errno, calls)
  local path = helper.tmpname()
  local built = orrery.run("cc", { "-std=c11", "-D_GNU_SOURCE", "-o", path,
    "spec/fixture/deny.c" })
  assert.equal("", built.stderr)
  return setmetatable({ path, tostring(core.errnos[errno]), calls },
    { __close = function() os.remove(path) end })
end

local can_mount = os.execute(("unshare %s mount -t tmpfs none /mnt 2>/dev/null")
  :format(helper.is_root and "-m" or "-rm"))

describe("a process #root", function()
  it("fault D7: without /proc starts programs, and says what a fork "
    .. "lacks", function()
    if not can_mount then return pending("needs mount namespaces") end
    if helper.env().LD_PRELOAD then return end -- the sanitizer needs /proc
    run(function()
      assert.equal("ok\nENOENT exec /proc/self/exe\nok\nnil\n",
        behind(without "/proc", [[
          show(orrery.run("true"))
          local failed = orrery.fork("/no/script")
          show(failed:wait())
          show(orrery.fork("/dev/null", {}, {exec_path="lua5.4"}):wait())
          print(orrery.process.memory_usage().rss)]]))
    end)
  end)

  it("fault D7: without /dev/null starts programs that need none, "
    .. "and names it", function()
    if not can_mount then return pending("needs mount namespaces") end
    run(function()
      local command = without "/dev"
      command[5] = command[5]:gsub("exec", "exec 0<&-; exec")
      assert.equal("ENOENT open /dev/null\nok\nx\n\n", behind(command, [[
        show(orrery.run("true"))
        show(orrery.spawn("true", {}, {stdio="inherit"}):wait())
        print(orrery.run("cat", {}, {input="x"}).stdout)
        print(orrery.run("cat", {}, {stdio={"inherit", "pipe"}}).stdout)]]))
    end)
  end)
end)

describe("a process", function()
  it("fault D7: leaks no fd into a child if it cannot list them", function()
    run(function()
      local command <close> = deny("EPERM", "getdents64")
      for _, road in ipairs { "", ",no_clone_vm" } do
        assert.equal("3 is not open\n", behind({ "sh", "-c",
          'exec "$@" 3</etc/passwd', "sh", table.unpack(command) }, [[
            local line = "(: <&3) 2>/dev/null || echo 3 is not open"
            io.write(orrery.sh(line).stdout)]],
          { ORRERY_FORCE = "no_close_range" .. road }))
      end
    end)
  end)

  it("fault D7: says that it may not wait, and leaves no zombie", function()
    run(function()
      for _, errno in ipairs { "EPERM", "ENOSYS" } do
        local command <close> = deny(errno, "waitid")
        assert.equal((errno .. " wait nil\n"):rep(3) .. "\n", behind(command, [[
          for _ = 1, 3 do show(orrery.run("true")) end
          local pid = orrery.process.pid
          local file = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
          print(file:read("a"))]]))
      end
    end)
  end)

  it("fault D7: says that fds are short, also of a module", function()
    run(function()
      local command = { "prlimit", "--nofile=10" }
      assert.equal("EMFILE fork nil\ntrue\n", behind(command, [[
        show(orrery.run("true"))
        local _, err = pcall(function() return orrery.process end)
        print(err:find("'orrery.process' cannot be loaded, for no file can be "
          .. "opened: Too many open files", 1, true) ~= nil)]]))
      for fds = 6, 9 do
        local result = assert(orrery.run("prlimit", { "--nofile=" .. fds,
          helper.orrery, "-e", "" }, { env_extend = helper.env() }))
        assert.matches("^orrery: cannot load %S+: [^\n]*too many open files\n",
          result.stderr:lower())
        assert.equal(1, result.code)
      end
    end)
  end)

  it("fault D7: does not take want of fds for the end of stdin", function()
    run(function()
      local result = helper.script([[
        local files = { require "orrery.process.standard_streams" }
        repeat
          local file = io.open("/")
          files[#files + 1] = file
        until not file
        local data, err = process.stdin:read()
        print(data, err and err.code)]],
        { input = "x", rlimits = { nofile = 64 } })

      assert.equal("nil\tEMFILE\n", result.stdout)
    end)
  end)

  it("fault D7: does with a stack of 64 KiB", function()
    run(function()
      assert.equal("ok\nok\n", behind({ "prlimit", "--stack=65536" }, [[
        show(orrery.run("cat", {}, {input=("x"):rep(200000)}))
        show(orrery.spawn_sync("echo", {"x"}).status == 0)]]))
    end)
  end)

  it("loads bytecode though a sandbox lets nobody copy memory", function()
    run(function()
      local command <close> = deny("EPERM", "process_vm_readv")
      local result = orrery.sh(table.concat(command, " ") .. " bin/orrery -e "
        .. [['print(debug.getinfo(require "orrery".run).source)']])

      assert.equal("=[orrery.child_process.run]\n", result.stdout)
    end)
  end)
end)
