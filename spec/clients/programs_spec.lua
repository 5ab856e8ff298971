--- redis, git and ssh as children: they take what we write into them, report on
--- stderr, and run scripts elsewhere.

local clients = require "spec.fixture.clients"
local helper = require "spec.helper"
local net = require "spec.fixture.net"
local orrery = require "orrery"
local uv = require "luv"

local run, output = helper.run, clients.output

--- Defines a test that needs programs and has a folder.
local function test(name, needs, fn)
  it(name, function()
    clients.need(table.unpack(needs))
    run(function()
      local folder <close> = clients.folder()
      fn(folder)
    end, clients.TIME)
  end)
end

--- Waits for a line of a stream that has a text in it, and then throws away
--- what follows. [w]
local function await_line(stream, text)
  for line in stream:lines() do
    if line:find(text, 1, true) then return stream:resume() end
  end
  error("no line with " .. text)
end

describe("redis #clients", function()
  --- Starts a server on a socket in the folder, where no port can be taken, and
  --- returns it with the arguments of a client. [w]
  local function serve(folder)
    local socket = folder.path .. "/socket"
    local server = orrery.spawn("redis-server", { "--port", "0",
      "--unixsocket", socket, "--dir", folder.path, "--save", "" },
      { stdio = { "ignore", "pipe", "inherit" } })
    await_line(server.stdout, "ready to accept connections")
    return server, { "-s", socket }
  end

  --- A command as redis-cli --pipe takes it.
  local function command(...)
    local words = { "*" .. select("#", ...) .. "\r\n" }
    for i, word in ipairs { ... } do
      words[i + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
    end
    return table.concat(words)
  end

  test("takes 100,000 commands that a script writes",
    { "redis-server", "redis-cli" }, function(folder)
      local _ <close>, args = serve(folder)
      local cli <close> = orrery.spawn("redis-cli",
        { "-s", args[2], "--pipe" }, { stdio = { "pipe", "pipe", "inherit" } })
      for i = 1, 100000 do
        assert(cli.stdin:write_wait(command("SET", "key" .. i, "v" .. i)))
      end
      cli.stdin:finish()

      assert.matches("errors: 0, replies: 100000", cli.stdout:read_all())
      assert.equal(0, cli:wait())
      assert.equal("v77777\n", output { "redis-cli", "-s", args[2], "GET",
        "key77777" })
    end)

  test("answers a client that a script talks to, line by line",
    { "redis-server", "redis-cli" }, function(folder)
      local server <close>, args = serve(folder)
      local cli <close> = orrery.spawn("redis-cli", args,
        { stdio = { "pipe", "pipe", "inherit" } })
      local lines = cli.stdout:lines()
      for i = 1, 100 do
        cli.stdin:write("INCR counter\n")
        assert.equal(tostring(i), lines())
      end
      cli.stdin:finish("INCR\n")

      assert.matches("^ERR wrong number of arguments", lines())
      server:kill("SIGTERM")
      assert.equal(0, server:wait(clients.TIME))
    end)
end)

describe("git #clients", function()
  --- What keeps a user's own settings out.
  local function env(folder)
    return { HOME = folder.path, GIT_CONFIG_NOSYSTEM = "1",
      GIT_TERMINAL_PROMPT = "0", GIT_DIR = false, LC_ALL = "C",
      GIT_AUTHOR_NAME = "a", GIT_AUTHOR_EMAIL = "a@b", GIT_WORK_TREE = false,
      GIT_COMMITTER_NAME = "a", GIT_COMMITTER_EMAIL = "a@b" }
  end

  --- Makes a repository with a commit of 300 files.
  local function repository(folder)
    output({ "sh", "-c", "git init -q from && cd from && "
      .. "for i in $(seq 300); do echo $i >$i; done && git add . && "
      .. "git commit -q -m first" },
      { cwd = folder.path, env_extend = env(folder) })
    return "file://" .. folder.path .. "/from"
  end

  test("clones and fetches, and reports its progress meanwhile", { "git" },
    function(folder)
      local from, lines = repository(folder), {}
      local opts = { cwd = folder.path, env_extend = env(folder),
        on_stderr = function(line) lines[#lines + 1] = line end }
      local cloned = orrery.run("git",
        { "clone", "--progress", from, "to" }, opts)
      assert.is_true(cloned.ok, cloned.stderr)
      assert.equal("Cloning into 'to'...", lines[1])
      assert.matches("Receiving objects: 100%% %(%d+/%d+%)",
        table.concat(lines, "\n"))
      assert.equal(table.concat(lines, "\n") .. "\n", cloned.stderr)

      output({ "git", "-C", "from", "commit", "-q", "--allow-empty", "-m",
        "second" }, opts)
      output({ "git", "-C", "to", "fetch", "-q" }, opts)
      assert.equal("second\nfirst\n", output({ "git", "-C", "to", "log",
        "--format=%s", "FETCH_HEAD" }, opts))
    end)

  test("says why it fails", { "git" }, function(folder)
    local result = orrery.run("git", { "clone", "file:///no/such" },
      { cwd = folder.path, env_extend = env(folder) })

    assert.equal(128, result.code)
    assert.matches("fatal: '?/no/such", result.stderr)
  end)
end)

describe("ssh #clients", function()
  local SSHD, RUN = "/usr/sbin/sshd", "/run/sshd"
  local CONFIG = [[
Port %d
ListenAddress 127.0.0.1
HostKey %s/host
AuthorizedKeysFile %s/user.pub
StrictModes no
UsePAM no
PidFile none
]]

  --- Makes the folder that sshd wants as root, and that a boot makes elsewhere.
  --- It goes with the variable.
  local function run_folder()
    local made = helper.is_root and uv.fs_mkdir(RUN, tonumber("755", 8))
    return setmetatable({}, { __close = function()
      if made then uv.fs_rmdir(RUN) end
    end })
  end

  --- Starts a daemon with keys of its own. Returns it, and the command that
  --- runs commands there. [w]
  local function serve(folder)
    local path, port = folder.path, net.free_port()
    for _, key in ipairs { "host", "user" } do
      output { "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
        path .. "/" .. key }
    end
    folder:write("known", ("[127.0.0.1]:%d %s"):format(port,
      folder:read("host.pub")))
    local daemon = orrery.spawn(SSHD, { "-D", "-e", "-f",
      folder:write("config", CONFIG:format(port, path, path)) },
      { stdio = { "ignore", "ignore", "pipe" } })
    await_line(daemon.stderr, "Server listening on")
    return daemon, { "-F", "none", "-i", path .. "/user", "-p",
      tostring(port), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
      "-o", "UserKnownHostsFile=" .. path .. "/known", "127.0.0.1" }
  end

  --- Defines a test that gets what runs a command there, as `run` does, and
  --- what spawns one.
  local function there(name, fn)
    it(name, function()
      clients.need("ssh", "ssh-keygen", SSHD)
      local shell = uv.os_get_passwd().shell
      if shell:find "nologin$" then
        pending("needs a user with a shell, not " .. shell)
      end
      run(function()
        local folder <close> = clients.folder()
        local _ <close> = run_folder()
        local _ <close>, args = serve(folder)
        local function command(options, line)
          local all = table.move(args, 1, #args, #options + 1,
            table.move(options, 1, #options, 1, {}))
          all[#all + 1] = line
          return all
        end
        fn(function(line, opts)
          return orrery.run("ssh", command({}, line), opts)
        end, function(options, line, opts)
          return orrery.spawn("ssh", command(options, line), opts)
        end)
      end, clients.TIME)
    end)
  end

  there("takes input, gives output, and the exit code", function(run_there)
    local bytes = ("\0\r\n\xff"):rep(100000)
    local result = run_there("cat; echo warned >&2; exit 7", { input = bytes })

    assert.is_true(bytes == result.stdout)
    assert.equal("warned\n", result.stderr)
    assert.equal(7, result.code)
  end)

  there("runs a script, whose input and output are one socket",
    function(run_there)
      local line = ([[%s -e '
        local process = require "orrery".process
        local text = process.stdin:read_all()
        io.write(text, text)
        process.stdout:write(text)
        process.exit(3)']]):format(helper.orrery)
      local bytes = ("0123456789"):rep(50000)
      local result = run_there(line, { input = bytes })

      assert.equal("", result.stderr)
      assert.equal(3 * #bytes, #result.stdout)
      assert.is_true(bytes:rep(3) == result.stdout)
      assert.equal(3, result.code)
    end)

  there("ends a script with its terminal, by SIGHUP", function(_, spawn_there)
    local ssh <close> = spawn_there({ "-tt" }, ([[%s -e '
      local orrery = require "orrery"
      print("script " .. orrery.process.pid .. ".")
      orrery.sleep(60000)']]):format(helper.orrery),
      { stdio = { "pipe", "pipe", "ignore" } })
    local pid = tonumber(ssh.stdout:lines()():match("script (%d+)%."))
    ssh:stop()

    helper.await_end(pid)
  end)
end)
