local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"
local output_of = require "spec.fixture.children".output_of
local spawn_options = require "orrery.child_process.options"
local uv = require "luv"

local spawn, run = orrery.spawn, helper.run

--- Returns the message of what `spawn` raises.
local function raised(...)
  local ok, err = pcall(spawn, ...)
  assert.is_false(ok)
  return err
end

describe("spawn's options #spawn", function()
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
      cpu_affinity = { good = { { 0 } },
        bad = { 0, { -1 }, { "x" }, { 5000 } } },
      rlimits = {
        good = { { core = 0 }, { cpu = { soft = 9, hard = 10 } } },
        bad = { 5, { cores = 1 }, { core = -1 }, { core = "x" },
          { cpu = { 1 } } },
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
          local child = spawn("/bin/true", {},
            { [name] = value, stdio = "ignore" })
          assert.equal(0, child:wait(), name)
        end
        for _, value in ipairs(values.bad) do
          local err = raised("true", {}, { [name] = value })
          assert.matches("option '" .. name .. "'", err)
        end
      end
    end)
  end)

  it("A6: raises for unknown options and names the nearest", function()
    local err = raised("true", {}, { kil_signal = 9 })

    assert.matches("unknown option \"kil_signal\"; did you mean 'kill_signal'",
      err)
  end)

  it("A16: ignores options that come from a metatable", function()
    run(function()
      local opts = setmetatable({}, { __index = { cwd = "/", shell = true } })

      assert.equal(uv.cwd() .. "\n", (output_of("pwd", {}, opts)))
    end)
  end)

  it("A14: fails to start as root where we may not", function()
    run(function()
      if helper.is_root then
        local result = helper.lua_as([[
          local spawn = require "orrery".spawn
          local _, err = spawn("true", {}, {uid=0}):wait()
          print(err.code, err.stage)
          _, err = spawn("true", {}, {gid=0}):wait()
          print(err.code, err.stage)
          _, err = spawn("true", {}, {groups={0}}):wait()
          print(err.code, err.stage)]],
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

  it("sets resources: umask, nice, affinity, limits", function()
    run(function()
      local text = output_of("sh", { "-c",
        "umask; nice; ulimit -n; ulimit -c; "
          .. "grep Cpus_allowed_list /proc/self/status" },
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

  it("ours does better 28: sets uid, gid and groups #root", function()
    if not helper.is_root then return pending("needs root") end
    run(function()
      local text = output_of("sh", { "-c", "id -u; id -g; id -G" },
        { uid = 65534, gid = 65533, groups = { 5, 7 } })
      assert.equal("65534\n65533\n65533 5 7\n", text)
      local nobody = output_of("id", { "-un" }, { user = "nobody" })
      assert.equal("nobody\n", nobody)
    end)
  end)

  it("fault D6: starts nobody else with our groups #root", function()
    if not helper.is_root then return pending("needs root") end
    run(function()
      local result = assert(orrery.run("setpriv", { "--groups", "5,7",
        "--bounding-set", "-setgid", helper.interpreter, "-e", [[
          local run = require "orrery".run
          for _, who in ipairs { {uid=65534}, {user="nobody"}, {gid=65534},
              {uid=65534, gid=0} } do
            local _, err = run("true", {}, who)
            print(err.code, err.stage)
          end
          print(run("id", {"-G"}, {uid=0}).stdout)]] },
        { env_extend = helper.env() }))

      assert.equal("EPERM\tgroups\nEPERM\tgroups\nEPERM\tgid\n"
        .. "EPERM\tgroups\n0 5 7\n\n", result.stdout)
    end)
  end)

  it("fault D6: minds no groups where there are none #root", function()
    if not helper.is_root then return pending("needs root") end
    run(function()
      local result = assert(orrery.run("setpriv", { "--clear-groups",
        "--bounding-set", "-setgid", helper.interpreter, "-e", [[
          print(require "orrery".run("id", {"-u"}, {uid=65534}).stdout)]] },
        { env_extend = helper.env() }))

      assert.equal("65534\n\n", result.stdout)
    end)
  end)

  it("fails to start as a user that is unknown", function()
    run(function()
      local _, err = spawn("true", {}, { user = "no-such-user" }):wait()

      assert.same({ "ENOENT", "uid", "no-such-user" },
        { err.code, err.stage, err.path })
    end)
  end)
end)


describe("an option of spawn", function()
  it("is told to the core under its name there", function()
    assert.same({ setsid = true, umask = 18, pgroup = 0 },
      spawn_options.attributes {
        detached = true, umask = 18, pgroup = true, cwd = "", stdio = "pipe",
      })
  end)

  it("costs nothing if it is not for the core", function()
    assert.is_nil(spawn_options.attributes {})
    assert.is_nil(spawn_options.attributes {
      stdio = "ignore", timeout = 5, shell = true, encoding = "utf8",
    })
  end)

  it("is a limit by number, and named when it fails", function()
    local attributes = spawn_options.attributes {
      rlimits = { nofile = { soft = 8, hard = 9 } },
    }

    assert.same({ core.rlimits.nofile, 8, 9 }, attributes.rlimits)
    assert.equal("nofile", spawn_options.failed_on("rlimit", 0, attributes))
  end)

  it("lets a scope's child die with us, unless it says otherwise", function()
    run(function()
      orrery.scope(function(s)
        local tell = spawn_options.attributes

        assert.same({ die_with_parent = true }, tell { scope = s })
        assert.same({ die_with_parent = false },
          tell { scope = s, die_with_parent = false })
      end)
    end)
  end)

  it("names in err.path what its stage failed on", function()
    local function path(stage, opts)
      return spawn_options.failed_on(stage, 0, spawn_options.attributes(opts))
    end

    assert.equal("/x", path("chdir", { cwd = "/x" }))
    assert.equal("7", path("gid", { gid = 7 }))
    assert.equal("0", path("pgroup", { pgroup = true }))
    assert.equal("-5", path("nice", { nice = -5 }))
    assert.is_nil(path("setsid", { detached = true }))
    assert.is_nil(path("fork", {}))
  end)

  it("replaces the name of a user by what the core takes", function()
    local attributes = spawn_options.attributes { user = "root", uid = 5 }

    assert.is_true(spawn_options.look_up_user(attributes))
    assert.same({ 0, 0 }, { attributes.uid, attributes.gid })
    attributes.user = "no such user"
    local ok, err = spawn_options.look_up_user(attributes)
    assert.is_nil(ok)
    assert.same({ "uid", "no such user" }, { err.stage, err.path })
  end)
end)
