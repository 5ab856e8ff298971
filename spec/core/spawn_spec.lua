local helper = require "spec.helper"
local core = require "orrery.core"
local orrery = require "orrery"

local spawn, run = orrery.spawn, helper.run

describe("core.spawn #spawn", function()
  it("A8: checks what the core is given as well", function()
    local n = assert(core.null_fd())
    for _, args in ipairs {
      {}, { 5 }, { "true" }, { "true", {} , { n } },
      { "true", { "t" }, { "x" } },
      { "true", { "t" }, { -2 } }, { "true", { "t" }, {}, 5 },
      { "true", { "t" }, {}, { {} } }, { "true", { "t" }, {}, nil, 5 },
      { "true", { "t\0" }, {} }, { "true", { "t" }, {}, nil, { nice = 99 } },
      { "true", { "t" }, {}, nil, { rlimits = { 1, -1, 1 } } },
      { "true", { "t" }, {}, nil, { cpu_affinity = { 99999 } } },
    } do
      assert.is_false((pcall(core.spawn, table.unpack(args, 1, 5))))
    end
  end)

  it("does not hand the engine's own fds to children in place of "
    .. "closed ones", function()
    run(function()
      local _, err = spawn("true", {},
        { stdio = { "ignore", "ignore", 700 } }):wait()
      assert.equal("fd 700", err.path)
      local result = orrery.sh(helper.interpreter .. [[ -e '
        local core = require "orrery.core"
        core.spawn("sh", {"sh", "-c", "readlink /proc/$$/fd/0 >&2"}, {0, 1, 2})
        repeat until core.reap()' <&- >&-]],
        { env_extend = helper.env() })
      assert.equal("/dev/null\n", result.stderr)
    end)
  end)

  it("is one userdata whose children print", function()
    run(function()
      local child = core.spawn("sleep", { "sleep", "1000" }, { -1, -1, -1 })
      assert.matches("^orrery.spawn %d+: running$", tostring(child))
      assert.is_true(child:kill(9))
      helper.eventually(
        function() return core.reap() or select(2, child:status()) end)

      assert.equal(9, (select(2, child:status())))
      assert.same({ nil, 3 }, { child:kill(9) })
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
          "trace=clone,clone3,vfork,fork,close_range,pidfd_open,"
            .. "pidfd_send_signal,waitid",
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
    local features = core.features()
    features.cgroup = nil -- as the machine has it
    assert.same({ clone_vm = true, pidfd = true, close_range = true,
      keeper = true, children = true }, features)
  end)
end)
