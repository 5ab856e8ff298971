--- Families whose members are hard to find, to signal, or to look at.

local helper = require "spec.helper"
local members = require "spec.fixture.members"
local orrery = require "orrery"

local run = helper.run

--- Starts a process of a kind of spec/fixture/members.c, which becomes `pids`.
--- [w]
local function start(road, program, kind, count)
  local child = members.start(road, program[1], { kind })
  return child, members.read(child, count)
end

local function await_all(pids)
  for _, pid in ipairs(pids) do helper.await_end(pid) end
end

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

-- As a user who may not do or see all -----------------------------------------

--- Runs code for nobody by a copy of this tree, behind another command. In it
--- `MEMBERS` is spec/fixture/members.c, with root's set-uid bit, and `FAMILY` is
--- spec/fixture/family.c. Returns what it prints. [w]
local function as_nobody(code, behind)
  local program <close> = members.program "members"
  local family <close> = members.program "family"
  assert(orrery.run { "chmod", "4755", program[1] }.ok)
  local words = { "setpriv", "--reuid=65534", "--regid=65534",
    "--clear-groups" }
  local argv = table.move(words, 1, #words, #behind + 1, behind)
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
              child.usage.family)]]):format(contain), { "env" })
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
              child:kill "SIGKILL")]]):format(contain), { "env" })
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
      print(result.code, result.left)
    end
    os.remove(file)
]]

  describe("child:stop as nobody, who may not see others", function()
    for _, behind in ipairs {
      { "env" },
      { "env", "ORRERY_FORCE=no_children" },
      { "unshare", "-mpf", "sh", "-c",
        'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh" },
      { "unshare", "-mpf", "sh", "-c", "ORRERY_FORCE=no_children; "
        .. 'export ORRERY_FORCE; mount -t proc -o hidepid=2 proc /proc; "$@"',
        "sh" },
    } do
      it("ends all of its own behind " .. table.concat(behind, " "), function()
        run(function()
          assert.equal("143\tnil\n143\tnil\n", as_nobody(STOPPED, behind))
        end)
      end)
    end
  end)
end
