local helper = require "spec.helper"
local uv = require "luv"
local orrery = require "orrery"
local cgroup = require "orrery.runtime.cgroup"
local members = require "spec.fixture.members"

local run, spawn = helper.run, orrery.spawn
local core = orrery.core

-- Prints its group, starts a daemon that has left it in every other way, and
-- stays. The daemon ignores SIGTERM.
local ESCAPES = [[
grep ^0:: /proc/self/cgroup
setsid env -i sh -c 'trap "" TERM; sleep 1000 & echo $!; wait' &
read line]]

--- Starts a family as above. Returns the child, the path of its group, and the
--- pid of who has fled. [w]
local function family(opts)
  local _, top = cgroup.own()
  opts.stdio = { "pipe", "pipe", "inherit" }
  local child = spawn("sh", { "-c", ESCAPES }, opts)
  assert(child.pid, tostring(child.error_))
  local lines = {}
  for line in child.stdout:lines() do
    lines[#lines + 1] = line
    if #lines == 2 then break end
  end
  return child, top .. lines[1]:match("^0::(.*)$"), tonumber(lines[2])
end

local function is_there(path) return uv.fs_stat(path) ~= nil end

--- Waits until something is so. [w]
local function await(fn)
  for _ = 1, 1000 do
    if fn() then return end
    orrery.sleep(10)
  end
  error("it has not come about", 2)
end

--- Tells whether a process is gone, or a zombie that its parent has not seen.
local function has_ended(pid)
  local file <close> = io.open(("/proc/%d/stat"):format(pid))
  local text = file and file:read("a")
  return not text or text:match("%) (%S)") == "Z"
end

local function failure_of(opts)
  local child = spawn("true", opts)
  assert.is_nil(child.pid)
  local _, err = child:wait()
  return err
end

describe("a control group #spawn", function()
  if not core.features().cgroup then
    it("can be made", function() pending("needs a cgroup2 to write to") end)
    return
  end

  it("is one family, which ends as a whole, and is removed", function()
    run(function()
      for _, contain in ipairs { "cgroup", true } do
        local child, path, fled = family { contain = contain }
        local own = cgroup.own()

        assert.equal(own .. "/", path:match("^(.*/)orrery%-[%d-]+$"))
        local result = child:stop { grace = 50 }
        assert.is_true(result.forced)
        assert.is_nil(result.left)
        assert.is_true(has_ended(fled))
        assert.is_false(is_there(path))
      end
    end)
  end)

  it("is a family also when the program has ended by itself", function()
    run(function()
      local child, path, fled = family { contain = "cgroup" }

      child.stdin:finish()
      assert.equal(1, child:wait())
      assert.is_false(has_ended(fled))
      assert.is_nil(child.usage.family)
      assert.is_true(child:kill_tree(0))
      assert.is_true(child:kill_tree("SIGKILL"))
      await(function() return child.usage.family end)
      assert.is_false(is_there(path))
      assert.is_false(child:kill_tree("SIGKILL"))
      assert.is_false(child:stop().forced)
    end)
  end)

  it("is removed also if the program ends at once", function()
    run(function()
      for _ = 1, 50 do
        local child = spawn("true", {}, { contain = "cgroup",
          stdio = "ignore" })
        local path = child.family_.path
        child:wait()
        await(function() return not is_there(path) end)
      end
    end)
  end)

  it("is removed also if all has ended before anybody watches it", function()
    run(function()
      local other = spawn("sleep", { "1000" },
        { contain = "cgroup", stdio = "ignore" })
      local keeper = members.server()
      orrery.process.kill(keeper, "SIGSTOP")
      members.await_state(keeper, "T")
      local child = spawn("true", {}, { contain = "cgroup", stdio = "ignore" })
      local path = child.family_.path
      child:wait()
      orrery.process.kill(keeper, "SIGCONT")

      await(function() return not is_there(path) end)
      other:stop { grace = 0 }
    end)
  end)

  it("tells what the family has used", function()
    run(function()
      local child = spawn("sh", { "-c", "i=0; while [ $i -lt 20000 ]; do "
        .. "i=$((i + 1)); done & wait" }, { contain = "cgroup" })
      child:wait()
      child:stop()

      local family_usage = child.usage.family
      assert.is_true(family_usage.user > 0)
      assert.is_true(family_usage.system >= 0)
      assert.equal("integer", math.type(family_usage.max_rss))
    end)
  end)

  it("is signalled once in each member, and in who is born meanwhile",
    function()
    run(function()
      local child = spawn("sh", { "-c", "trap 'echo got' USR1; echo ready; "
        .. "(trap 'echo got' USR1; echo ready; while :; do sleep 0.01; done) & "
        .. "while :; do sleep 0.01; done" },
        { contain = "cgroup", stdio = { "ignore", "pipe", "ignore" } })
      local text = ""
      while select(2, text:gsub("ready", "")) < 2 do
        text = text .. child.stdout:read()
      end
      assert.is_true(child:kill_tree("SIGUSR1"))
      while select(2, text:gsub("got", "")) < 2 do
        text = text .. child.stdout:read()
      end
      child:stop { grace = 0 }
      text = text .. (child.stdout:read_all() or "")

      assert.equal(2, select(2, text:gsub("got", "")))
    end)
  end)

  it("is made with all that is missing above it, and removed with that",
    function()
    run(function()
      local own = cgroup.own()
      local child, path = family { cgroup = "orrery-a/b" }

      assert.equal(own .. "/orrery-a/b", path)
      child:stop { grace = 0 }
      assert.is_false(is_there(own .. "/orrery-a"))
    end)
  end)

  it("that was there has others in it, and stays", function()
    run(function()
      local path = cgroup.own() .. "/orrery-kept"
      assert(uv.fs_mkdir(path, 493))
      finally(function() uv.fs_rmdir(path) end)
      local other <close> = spawn("sleep", { "1000" }, { cgroup = path })
      local child, entered, fled = family { cgroup = path }
      local inner, below, also = family { cgroup = path, contain = true }

      assert.equal(path, entered)
      child:stop { grace = 50 }
      assert.is_true(is_there(path))
      assert.is_nil(child.usage.family)
      assert.is_true(other:kill(0))
      assert.equal(path, below:match("^(.*)/orrery%-[%d-]+$"))
      inner:stop { grace = 0 }
      assert.is_true(has_ended(also))
      assert.is_false(is_there(below))
      uv.kill(fled, "sigkill") -- it has no mark, as the guide says
      other:stop { grace = 0 }
      await(function() return has_ended(fled) end)
    end)
  end)

  it("gets its limits before the child starts", function()
    run(function()
      local child = spawn("sh", { "-c", "cat /proc/self/cgroup; exec cat "
        .. cgroup.own() .. "/orrery-max/cgroup.max.d*" },
        { cgroup = { path = "orrery-max", max = {
          ["cgroup.max.depth"] = 3, ["cgroup.max.descendants"] = math.huge,
        } } })

      assert.matches("/orrery%-max\n3\nmax\n$", child.stdout:read_all())
      child:stop()
    end)
  end)

  it("with impossible limits starts nothing, and names the file", function()
    run(function()
      local path = cgroup.own() .. "/orrery-bad"
      for name, code in pairs {
        ["cgroup.max.depth"] = "EINVAL", ["no.such.max"] = "ENOENT",
      } do
        local err = failure_of { cgroup = { path = "orrery-bad",
          max = { [name] = "few" } } }

        assert.equal("cgroup", err.stage)
        assert.equal(code, err.code)
        assert.equal(path .. "/" .. name, err.path)
        assert.is_false(is_there(path))
      end
    end)
  end)

  it("lies below the mount, and below our own group if it is relative",
    function()
    run(function()
      local err = failure_of { cgroup = "/tmp/orrery" }

      assert.equal("cgroup", err.stage)
      assert.equal("EINVAL", err.code)
      assert.matches("begins with '/", err.message)
      assert.error_matches(function()
        spawn("true", { cgroup = "a/../b" })
      end, "option 'cgroup' must be a path such as")
      assert.error_matches(function()
        spawn("true", { cgroup = { path = "a", max = { ["../x"] = 1 } } })
      end, "option 'cgroup' must be a path such as")
      assert.error_matches(function()
        spawn("true", { contain = "jail" })
      end, 'a boolean, "cgroup" or "keeper"')
    end)
  end)

  it("of a program that cannot start is removed", function()
    run(function()
      local child = spawn("/no/such/program", { cgroup = "orrery-none" })
      local _, err = child:wait()
      local path = cgroup.own() .. "/orrery-none"

      assert.equal("exec", err.stage)
      await(function() return not is_there(path) end)
    end)
  end)

  it("that may not be written gives way to a keeper", function()
    run(function()
      local result = helper.script([[
        local child = orrery.spawn("true", { contain = true })
        print(child:wait())
        local strict = orrery.spawn("true", { contain = "cgroup" })
        local _, err = strict:wait()
        print(err.stage, err.code)]], {
          env_extend = { ORRERY_FORCE = "no_cgroup" } })

      assert.equal("0\ncgroup\tENOTSUP\n", result.stdout)
    end)
  end)

  it("may have groups inside, which members have made", function()
    run(function()
      local child, path, fled = family { contain = "cgroup" }
      assert(uv.fs_mkdir(path .. "/inner", 493))
      local file <close> = io.open(path .. "/inner/cgroup.procs", "w")
      file:write(fled)
      file:flush()

      assert.is_true(child:kill_tree(0))
      child:stop { grace = 50 }
      assert.is_true(has_ended(fled))
      assert.is_false(is_there(path))
    end)
  end)

  it("is watched by another keeper if the first is killed", function()
    run(function()
      local child, path, fled = family { contain = "cgroup" }
      local keepers = io.popen("pgrep -x orrery-keeper -P "
        .. orrery.process.pid):read("a")
      local killed = tonumber(keepers:match("%d+"))

      uv.kill(killed, "sigkill")
      await(function() return has_ended(killed) end)
      child:stop { grace = 50 }
      assert.is_true(has_ended(fled))
      assert.is_false(is_there(path))
    end)
  end)

  it("of many children, ended at once, is removed for each", function()
    run(function()
      local children, tasks = {}, {}
      for i = 1, 400 do
        children[i] = spawn("sleep", { "1000" },
          { contain = "cgroup", stdio = "ignore" })
      end
      for i, child in ipairs(children) do
        tasks[i] = orrery.go(child.stop, child)
      end
      for i, result in ipairs(orrery.all(tasks)) do
        assert.equal("SIGTERM", result.signal)
        assert.is_table(children[i].usage.family)
      end
    end)
  end)

  for _, die in ipairs { true, false } do
    it(("of an engine that is killed %s"):format(die
      and "ends with it, if it is to die with it" or "goes on else"), function()
      run(function()
        local engine = spawn(helper.orrery, { "-e", [[
          local orrery = require "orrery"
          local child = orrery.spawn("sh", { "-c", arg[1] }, { contain =
            "cgroup", die_with_parent = arg[2] == "true",
            stdio = { "pipe", "inherit", "inherit" } })
          child:wait()]], ESCAPES, tostring(die) },
          { stdio = { "pipe", "pipe", "inherit" },
            env_extend = helper.env() })
        local text = ""
        while select(2, text:gsub("\n", "")) < 2 do
          text = text .. engine.stdout:read()
        end
        local name, fled = text:match("^0::(%S+)\n(%d+)")
        local path, pid = select(2, cgroup.own()) .. name, tonumber(fled)
        engine:kill("SIGKILL")
        engine:wait()

        if die then
          await(function() return has_ended(pid) end)
        else
          assert.is_false(has_ended(pid))
          uv.kill(pid, "sigkill")
        end
        await(function() return not is_there(path) end)
      end)
    end)
  end
end)
