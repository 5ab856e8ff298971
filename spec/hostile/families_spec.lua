--- Families whose members are hard to find, to signal, or to look at.

local helper = require "spec.helper"
local members = require "spec.fixture.members"
local orrery = require "orrery"
local uv = require "luv"

local run = helper.run

-- The sanitizer's look at leaks has to see the process in /proc.
local NO_LEAK_CHECK = "ASAN_OPTIONS="
  .. helper.without_leak_check.ASAN_OPTIONS

local start, await_all = members.start_kind, members.await_all

for _, road in ipairs(members.roads) do
  describe("child:stop by the " .. road[1], function()
    it("ends a member that takes orphans in, and those", function()
      run(function()
        local program <close> = members.program "members"
        local child, pids = start(road, program, "subreaper", 3)

        local result = members.stop(child, { grace = 60000 })
        assert.same({ 143, nil }, { result.code, result.left })
        await_all(pids)
      end)
    end)

    it("ends a member that cannot be disturbed", function()
      run(function()
        local program <close> = members.program "members"
        local child, pids = start(road, program, "vfork", 1)
        members.await_state(child.pid, "D")

        local result = members.stop(child, { grace = 60000 })
        assert.same({ 143, nil }, { result.code, result.left })
        await_all(pids)
      end)
    end)

    it("does not wait for a zombie of a member", function()
      run(function()
        local program <close> = members.program "members"
        local child, pids = start(road, program, "zombie", 2)

        assert.is_true(child:kill_tree("SIGWINCH"))
        local result = members.stop(child, { grace = 60000 })
        assert.same({ 143, nil }, { result.code, result.left })
        await_all(pids)
      end)
    end)

    it("does not wait for a zombie that nobody reaps", function()
      run(function()
        local program <close> = members.program "members"
        local child = members.start(road, "sh", { "-c", program[1]
          .. " zombie & exec sleep 1000" })
        local pids = members.read(child, 2)
        orrery.process.kill(pids[2], "SIGSTOP")

        assert.equal(143, members.stop(child, { grace = 60000 }).code)
        await_all(pids)
      end)
    end)

    it("ends a process whose first thread has ended", function()
      run(function()
        local program <close> = members.program "members"
        local child, pids = start(road, program, "headless", 1)
        members.await_state(child.pid, "Z")

        assert.is_true(child:kill_tree(0))
        assert.equal(143, members.stop(child, { grace = 60000 }).code)
        await_all(pids)
      end)
    end)

    it("ends a member that another process traces", function()
      run(function()
        local program <close> = members.program "members"
        local child = members.start(road, "sh",
          { "-c", "sleep 1000 & echo $!; wait" })
        local pids = members.read(child, 1)
        local tracer = orrery.spawn(program[1], { "tracer", pids[1] },
          { stdio = "ignore" })
        members.await_state(pids[1], "t")

        assert.is_true(members.stop(child, { grace = 0 }).forced)
        await_all(pids)
        tracer:stop { grace = 0 }
      end)
    end)
  end)
end

describe("child:stop", function()
  it("names a child that its tracer keeps from being reaped", function()
    run(function()
      local program <close> = members.program "members"
      local child = orrery.spawn("sleep", { "1000" }, { stdio = "ignore" })
      local tracer = orrery.spawn(program[1], { "tracer", child.pid },
        { stdio = "ignore" })
      members.await_state(child.pid, "t")

      assert.same({ child.pid }, child:stop { grace = 0 }.left)
      tracer:stop { grace = 0 }
      assert.equal(137, child:wait())
    end)
  end)

  it("knows no exit code of a kept child that its tracer has not let go of",
    function()
      run(function()
        local program <close> = members.program "members"
        local child = orrery.spawn("sleep", { "1000" },
          { stdio = "ignore", contain = "keeper" })
        local tracer = orrery.spawn(program[1], { "tracer", child.pid },
          { stdio = "ignore" })
        members.await_state(child.pid, "t")

        assert.is_nil(members.stop(child, { grace = 0 }).code)
        assert.equal("ECHILD", select(2, child:wait()).code)
        tracer:stop { grace = 0 }
      end)
    end)
end)

-- As a user who may not do or see all ----------------------------------------

--- Runs code for nobody by a copy of this tree, behind another command. In it
--- MEMBERS is spec/fixture/members.c, with root's set-uid bit, and FAMILY is
--- spec/fixture/family.c. Returns what it prints. [w]
local function as_nobody(code, behind)
  local program <close> = members.program "members"
  local family <close> = members.program "family"
  assert(uv.fs_chmod(program[1], tonumber("4755", 8)))
  local argv = { "env", NO_LEAK_CHECK, table.unpack(behind) }
  for _, word in ipairs { "setpriv", "--reuid=65534", "--regid=65534",
    "--clear-groups" } do argv[#argv + 1] = word end
  local result = helper.lua_as(([[
    local orrery = require "orrery"
    local function start(contain, line)
      return orrery.spawn("sh", { "-c", line }, { contain = contain,
        stdio = { "ignore", "pipe", "inherit" } })
    end
    local function read(child) return tonumber(child.stdout:lines()()) end ]]
    .. code):gsub("%u+", { MEMBERS = program[1], FAMILY = family[1] }),
    { behind = argv })
  assert.equal("", result.stderr)
  return result.stdout
end

if helper.is_root then
  describe("child:stop of a member that we may not signal", function()
    for _, contain in ipairs { "'keeper'", "nil" } do
      it("names and awaits it not, " .. contain, function()
        run(function()
          local pid, left = as_nobody(([[
            local child = start(%s, "MEMBERS denied & sleep 1000 & wait")
            local pid = read(child)
            local result = child:stop { grace = 60000 }
            print(pid, table.concat(result.left, " "), result.code,
              child.usage.family)]]):format(contain), {})
            :match("^(%d+)\t(%d+)\t143\tnil\n$")
          orrery.process.kill(assert(math.tointeger(tonumber(pid))), "SIGKILL")

          assert.equal(pid, left)
        end)
      end)
    end

    it("names the child itself, which goes on", function()
      run(function()
        for _, contain in ipairs { "'keeper'", "nil" } do
          local pid, left, err = as_nobody(([[
            local child = start(%s, "exec MEMBERS denied"):unref()
            local pid = read(child)
            local result = child:stop { grace = 60000 }
            print(pid, table.concat(result.left, " "), result.code,
              child:kill "SIGKILL")]]):format(contain), {})
            :match("^(%d+)\t(%d+)\tnil\tfalse\t(.*)\n$")
          orrery.process.kill(assert(math.tointeger(tonumber(pid))), "SIGKILL")

          assert.equal(pid, left)
          assert.equal(("kill '%s': Operation not permitted (EPERM)")
            :format(pid), err)
        end
      end)
    end)
  end)

  local STOPPED = [[
    local file = os.tmpname()
    local out = io.open(file, "w")
    out:write(string.pack("j", 0))
    out:close()
    for _, contain in ipairs { "keeper", false } do
      local child = start(contain, "exec FAMILY still 20 " .. file)
      child.stdout:lines()()
      local result = child:stop { grace = 0 }
      print(result.code > 128, result.left)
    end
    os.remove(file)
]]

  describe("child:stop as nobody, who may not see others", function()
    for _, behind in ipairs {
      {}, { "env", "ORRERY_FORCE=no_children" },
      { "unshare", "-mpf", "sh", "-c",
        'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh" },
      { "unshare", "-mpf", "sh", "-c", "ORRERY_FORCE=no_children; "
        .. 'export ORRERY_FORCE; mount -t proc -o hidepid=2 proc /proc; "$@"',
        "sh" },
    } do
      it("ends all of its own behind " .. table.concat(behind, " "), function()
        run(function()
          assert.equal(("true\tnil\n"):rep(2), as_nobody(STOPPED, behind))
        end)
      end)
    end
  end)
end

-- Pids that are taken again ---------------------------------------------------

--- Runs a script in a pid namespace of its own. `await_end(child)` and
--- `take(pid)` are there for it, which starts a process that gets the pid.
--- Returns what it prints. [w]
local function in_namespace(code, force)
  local result = assert(orrery.run("unshare", { "-mpf", "--mount-proc", "sh",
    "-c", '"$@"; exit $?', "sh", helper.orrery, "-e", [[
      local orrery = require "orrery"
      local function take(pid)
        for _ = 1, 100 do
          local file <close> = io.open("/proc/sys/kernel/ns_last_pid", "w")
          file:write(pid - 1)
          file:close()
          local child = orrery.spawn("sleep", {"1000"}, {stdio="ignore"})
          if child.pid == pid then return child end
          child:kill("SIGKILL")
          child:wait()
        end
      end ]] .. code }, { env_extend = helper.env { ORRERY_FORCE = force,
      ASAN_OPTIONS = helper.without_leak_check.ASAN_OPTIONS } }))
  assert.equal("", result.stderr)
  return result.stdout
end

if helper.is_root then
  describe("a signal to a child whose pid another process has got", function()
    for _, force in ipairs { "", "no_pidfd", "no_children" } do
      it("does not reach that one " .. force, function()
        run(function()
          assert.equal(("false\tfalse\tnil\n"):rep(2), in_namespace([[
            for _, contain in ipairs { "keeper", false } do
              local child = orrery.spawn("true", {},
                {contain=contain or nil, stdio="ignore"})
              child:wait()
              child:stop()
              local other = take(child.pid)
              local sent = child:kill("SIGKILL")
              print(sent, child:kill_tree("SIGKILL"), child:stop().left)
              assert(other:kill(0))
              other:kill("SIGKILL")
              assert(other:wait() == 137)
            end]], force))
        end)
      end)

      it("does not while the family is still being ended " .. force, function()
        run(function()
          assert.equal("SIGKILL\n", in_namespace([[
            local child = orrery.spawn("sh", {"-c",
              "(trap '' TERM; echo; exec sleep 1000) & exec sleep 1000"},
              {stdio={"ignore", "pipe", "inherit"}})
            child.stdout:read(1)
            local stopping = orrery.go(function()
              return child:stop{grace=60000}
            end)
            child:wait()
            local other = take(child.pid)
            child:stop{grace=0}
            stopping:join()
            assert(other:kill(0))
            child.stdout:destroy()
            other:kill("SIGKILL")
            print(select(2, other:wait()))]], force))
        end)
      end)
    end
  end)
end

-- Marks -----------------------------------------------------------------------

--- Returns the ORRERY_FAMILY of a child's child, where ours would be `outer`;
--- without the ids of the two. [w]
local function marked(outer, code)
  local result = helper.lua('local orrery = require "orrery" ' .. (code or "")
    .. [[ io.write(":", orrery.sh("echo $ORRERY_FAMILY").stdout)]],
    { env_extend = { ORRERY_FAMILY = outer } })
  return result.stdout:match("^:(.-):?%x+%.%x+:%x+%.1\n$") or result.stdout
end

--- Returns a list of ids as the variable has it.
local function ids(count)
  local list = {}
  for i = 1, count do list[i] = ("%016x.%x"):format(i, i) end
  return table.concat(list, ":")
end

describe("the mark of a family", function()
  it("goes where there is no environment", function()
    run(function()
      local result = helper.lua [[
        local orrery = require "orrery"
        local env = orrery.process.env
        for name in pairs(env) do env[name] = nil end
        io.write(orrery.run("/usr/bin/env").stdout)]]
      assert.matches("^ORRERY_FAMILY=%x+%.1\n$", result.stdout)
    end)
  end)

  it("is left out of an `env` option, whatever that has", function()
    run(function()
      for _, env in ipairs { {}, { ORRERY_FAMILY = "x" } } do
        local result = orrery.run("/usr/bin/env", {}, { env = env })
        assert.equal(env.ORRERY_FAMILY and "ORRERY_FAMILY=x\n" or "",
          result.stdout)
      end
    end)
  end)

  it("stands behind those of 100 engines, one in the other", function()
    run(function()
      local outer = ids(100)
      assert.equal(outer, marked(outer))
    end)
  end)

  it("stands behind the innermost of more than can be", function()
    run(function()
      local outer = ids(6000)
      local kept = marked(outer)
      assert.is_true(#kept > 16300 and #kept <= 16384)
      assert.equal(":" .. kept, outer:sub(-#kept - 1))
    end)
  end)

  it("replaces what is no list, and far too long", function()
    run(function()
      assert.matches("^:%x+%.1\n$", marked("", [[
        orrery.process.env.ORRERY_FAMILY = ("x"):rep(1 << 20)]]))
    end)
  end)

  it("leaves a variable alone that is there twice", function()
    run(function()
      local result = helper.lua [[
        local core = require "orrery.core"
        local child = core.spawn("/usr/bin/env", {"env"}, {0, 1, 2},
          {"ORRERY_FAMILY=a", "B=c", "ORRERY_FAMILY=d"})
        repeat until core.reap() == child]]
      assert.matches("^ORRERY_FAMILY=a\nB=c\nORRERY_FAMILY=d:%x+%.1\n$",
        result.stdout)
    end)
  end)
end)

-- More than once --------------------------------------------------------------

for _, road in ipairs(members.roads) do
  describe("child:stop and child:kill_tree by the " .. road[1], function()
    it("may be called by many at once", function()
      run(function()
        local child = members.start(road, "sleep", { "1000" })
        local keeper = members.keeper(child)
        local calls = {}
        for i = 1, 50 do
          calls[i] = function() return child:stop { grace = 60000 }.code end
          calls[i + 50] = function() return child:kill_tree("SIGWINCH") end
        end
        local results = orrery.all(calls)
        if keeper then members.await_reaped(keeper) end

        for i = 1, 50 do assert.equal(143, results[i]) end
        assert.is_boolean(results[51])
        child.stdout:destroy()
      end)
    end)

    it("do nothing to a child that has ended, or never started", function()
      run(function()
        local child = members.start(road, "true")
        child.stdout:read_all()
        child:wait()
        assert.same({ 0, false }, { child:stop().code, child:stop().forced })
        assert.is_false(child:kill_tree())

        local failed = members.start(road, "/no/such")
        assert.is_false(failed:kill_tree("SIGKILL"))
        local result, err = failed:stop()
        assert.same({ nil, "ENOENT" }, { result, err.code })
        do local closed <close> = failed end -- luacheck: ignore
      end)
    end)

    --- Has `act` end a family if waiting is forbidden. [w]
    local function end_where(act)
      local child = members.start(road, "sh", { "-c",
        "(setsid sleep 1000 & echo $!); echo $$; exec sleep 1000" })
      local pids, keeper = members.read(child, 2), members.keeper(child)
      act(child)
      await_all(pids)
      assert.equal(137, child:wait())
      if keeper then members.await_reaped(keeper) end
    end

    it("go on by themselves in a listener, which may not wait", function()
      run(function()
        end_where(function(child)
          local emitter = orrery.events.new()
          emitter:on("event", function()
            assert.is_true(child:kill_tree("SIGKILL"))
          end)
          emitter:emit("event")
        end)
      end)
    end)

    it("go on by themselves where a <close> variable may not wait", function()
      run(function()
        end_where(function(child)
          table.sort({ 1, 2 }, function()
            local closed <close> = child -- luacheck: ignore
            return false
          end)
        end)
      end)
    end)
  end)
end

describe("child:stop and child:kill_tree", function()
  it("may be called while the Lua state closes", function()
    run(function()
      local result = helper.lua([[
        local orrery = require "orrery"
        local children = {}
        for i, contain in ipairs { false, "keeper" } do
          children[i] = orrery.spawn("sleep", {"1000"},
            {stdio="ignore", contain=contain or nil}):unref()
        end
        print(children[1].pid, children[2].pid)
        setmetatable({}, {__gc = function()
          for _, child in ipairs(children) do
            print(child:kill_tree("SIGWINCH"), child:stop().code)
          end
        end})]], { env_extend = helper.without_leak_check }) -- luv's timer

      assert.equal("", result.stderr)
      local first, second, rest =
        result.stdout:match("^(%d+)\t(%d+)\n(.*)$")
      assert.equal("true\t143\ntrue\t143\n", rest)
      helper.await_end(first)
      helper.await_end(second)
    end)
  end)
end)
