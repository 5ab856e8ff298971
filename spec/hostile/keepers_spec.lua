--- Keepers that are killed, stopped, lied to, or cannot be started.

local core = require "orrery.core"
local helper = require "spec.helper"
local members = require "spec.fixture.members"
local orrery = require "orrery"
local uv = require "luv"

local run, kill = helper.run, orrery.process.kill

-- Two members that ignore SIGTERM, one of them without a living parent and in a
-- session of its own. Both print their pids.
local STUBBORN = [[trap '' TERM; echo $$
(setsid sh -c 'echo $$; exec sleep 1000' &)
exec sleep 1000]]

local KEPT, WALK = members.roads[1], members.roads[2]

--- Starts a family that takes SIGKILL to end. Returns the child and its pids.
--- [w]
local function stubborn(road, opts)
  local child = members.start(road, "sh", { "-c", STUBBORN }, opts)
  return child, members.read(child, 2)
end

local function await_all(pids)
  for _, pid in ipairs(pids) do helper.await_end(pid) end
end

--- Starts to stop a child, and waits until all members have the signal. Returns
--- the task. [w]
local function begin_to_stop(child)
  local stopping = orrery.go(function()
    return child:stop { grace = 60000 }
  end)
  child:kill_tree(0)
  return stopping
end

describe("a keeper that is killed", function()
  it("leaves a child whose end is not known", function()
    run(function()
      local child, pids = stubborn(KEPT)
      local log = helper.record(child, { "exit", "close" })
      kill(members.keeper(child), "SIGKILL")
      helper.await_close(child)

      assert.same({ { "exit" }, { "close" } }, log)
      local code, err = child:wait()
      assert.same({ nil, "ECHILD" }, { code, err.code })
      assert.matches("is not known, for its keeper was killed", err.message)
      assert.is_false(child:kill("SIGKILL"))
      assert.truthy(members.stat(pids[1]) and members.stat(pids[2]))
      child:stop { grace = 0 }
      await_all(pids)
    end)
  end)

  it("has the whole family be ended all the same", function()
    run(function()
      for _, opts in ipairs { {}, { env = { PATH = os.getenv("PATH") } } } do
        local child, pids = stubborn(KEPT, opts)
        kill(members.keeper(child), "SIGKILL")
        child:wait()

        assert.is_true(child:kill_tree("SIGWINCH"))
        assert.is_nil(child:stop { grace = 0 }.left)
        assert.is_false(child:kill_tree("SIGKILL"))
        helper.await_end(pids[1])
        if opts.env then kill(pids[2], "SIGKILL") end -- it bears no mark
        helper.await_end(pids[2])
      end
    end)
  end)

  it("in the middle of a stop, has it go on", function()
    run(function()
      local child, pids = stubborn(KEPT)
      local stopping = begin_to_stop(child)
      kill(members.keeper(child), "SIGKILL")
      child:wait()

      assert.is_nil(child:stop { grace = 0 }.left)
      assert.is_nil(assert(stopping:join()).left)
      await_all(pids)
    end)
  end)

  it("in the middle of a stop by walk, has it go on", function()
    run(function()
      local child, pids = stubborn(WALK)
      local stopping = begin_to_stop(child)
      kill(members.server(), "SIGKILL")
      begin_to_stop(child):cancel()

      assert.equal("SIGKILL", child:stop { grace = 0 }.signal)
      assert.equal("SIGKILL", assert(stopping:join()).signal)
      await_all(pids)
    end)
  end)

  it("while it signals, leaves nobody stopped", function()
    run(function()
      for _ = 1, 10 do
        local child, pids = stubborn(WALK)
        local signalling = orrery.go(child.kill_tree, child, "SIGWINCH")
        orrery.sleep(0)
        local server = members.server()
        if server then kill(server, "SIGKILL") end
        assert(signalling:join())

        assert.not_equal("T", members.stat(pids[1]))
        assert.not_equal("T", members.stat(pids[2]))
        child:stop { grace = 0 }
        await_all(pids)
      end
    end)
  end)
end)

describe("a keeper that is stopped", function()
  it("holds up nothing but the news of its family, until it is asked",
    function()
      run(function()
        local child, pids = stubborn(KEPT)
        local keeper = members.keeper(child)
        kill(keeper, "SIGSTOP")
        members.await_state(keeper, "T")
        assert.equal("x", orrery.sh("printf x").stdout)

        assert.equal("SIGKILL", members.stop(child, { grace = 0 }).signal)
        await_all(pids)
      end)
    end)

  it("is woken by a request while it serves", function()
    run(function()
      local child, pids = stubborn(WALK)
      local stopping = begin_to_stop(child)
      kill(members.server(), "SIGSTOP")
      members.await_state(members.server(), "T")

      assert.equal("SIGKILL", child:stop { grace = 0 }.signal)
      assert(stopping:join())
      await_all(pids)
    end)
  end)
end)

-- Messages --------------------------------------------------------------------

local REQUEST = 80 -- bytes of struct request in core/keeper/messages.h

describe("a keeper", function()
  it("is not harmed by requests that are none", function()
    run(function()
      local child, pids = stubborn(KEPT)
      local fd = child.family_.handle:fileno()
      for _, bytes in ipairs {
        ("\255"):rep(REQUEST), ("\255"):rep(REQUEST - 1), "\1",
        ("\1\0\0\0"):rep(2 * REQUEST), ("\9"):rep(REQUEST),
        ("\0"):rep(REQUEST), ("\2\0\0\0"):rep(3000),
        "\1\0\0\0" .. ("\255"):rep(REQUEST - 4),
        string.pack("<i4i4i4i4I8I4I4", 1, 9, -1, 0, 0, 0, 0) .. ("x"):rep(48),
      } do assert.equal(#bytes, uv.fs_write(fd, bytes, -1)) end

      members.stop(child, { grace = 0 })
      await_all(pids)
      assert.equal(137, child:wait())
    end)
  end)
end)

--- Both ends of a keeper's socket: the core's keeper, and the number of the end
--- that a keeper has, which stays the core's.
local function lied_to()
  local exe <close> = core.open("/dev/null", "r")
  local keeper = core.keeper(exe, false)
  return keeper, function(bytes) uv.fs_write(keeper:peer(), bytes, -1) end
end

describe("core.keeper", function()
  it("takes no reply that is none", function()
    local keeper, say = lied_to()
    local EPROTO = core.errnos.EPROTO
    for _, bytes in ipairs {
      "\1", "\1\0\0\0", ("\255"):rep(5000), ("\0"):rep(88), ("\7"):rep(2000),
      string.pack("<I4I4I4I4I4", 1, 1, 0, 0, 1), -- one left, and none there
      string.pack("<I4I4I4I4I4", 1, 1, 0, 0, 0xffffffff) .. ("x"):rep(800),
      string.pack("<I4I4I4I4I4", 1, 1, 0, 0, 201) .. ("x"):rep(2000),
      string.pack("<I4", 2) .. ("\0"):rep(84), -- an exit where nothing runs
      string.pack("<I4", 3) .. ("\0"):rep(84),
    } do
      say(bytes)
      assert.same({ nil, EPROTO }, { keeper:receive() })
    end
    say(string.pack("<I4I4I4I4I4i4", 1, 7, 2, 1, 1, 42))
    assert.same({ "done", 7, 2, 1, { 42 } }, { keeper:receive() })
    assert.same({ nil, core.errnos.EAGAIN }, { keeper:receive() })
    keeper:close_peer()
    assert.same({ nil, core.errnos.EPIPE }, { keeper:receive() })
    keeper:close()
    assert.is_nil(keeper:receive())
    assert.is_nil(keeper:request("end", 1, 9, 0))
    assert.same({ nil, nil, false }, { keeper:status() })
  end)
end)

-- Programs --------------------------------------------------------------------

-- For programs that are run: `await_none()` waits until they have no children.
local CHILDREN = [[
  local orrery = require "orrery"
  local function await_none()
    local pid = orrery.process.pid
    local path = ("/proc/%d/task/%d/children"):format(pid, pid)
    while true do
      local file <close> = io.open(path)
      if file:read("a") == "" then return end
      orrery.sleep(1)
    end
  end ]]

--- Makes a copy of the modules, in which a line of sh has done something to the
--- keeper's program, K. Returns what a program prints that uses it. [w]
local function with_keeper(line, code)
  local build = os.getenv("ORRERY_BUILD") or "build"
  local dir = orrery.sh("mktemp -d", { trim = true }).stdout
  assert(orrery.sh(("cp -r %s/orrery %s/ && K=%s/orrery/orrery-keeper && %s")
    :format(build, dir, dir, line)).ok)
  local result = helper.lua(CHILDREN .. [[
    local function show(err)
      print(err.code, err.stage, err.path:match("[^/]*$"))
    end ]] .. code .. " await_none()",
    { env_extend = { LUA_CPATH = dir .. "/?.so;;" } })
  orrery.sh("rm -rf " .. dir)
  assert.equal("", result.stderr)
  return result.stdout
end

local broken = {
  { "is missing", "rm $K", "ENOENT" },
  { "is not executable", "chmod -x $K", "EACCES" },
  { "is empty", ": > $K", "ENOEXEC" },
  { "is cut off", "head -c 40 $K > $K.1; cat $K.1 > $K", "ENOEXEC" },
  { "is for another machine", "printf '\\010\\000' | "
    .. "dd of=$K bs=1 seek=18 conv=notrunc 2>/dev/null", "ENOEXEC" },
}

for _, case in ipairs(broken) do
  describe("a keeper whose program " .. case[1], function()
    it("is a failed start, of which nothing is left", function()
      run(function()
        local expected = case[3] .. "\tcgroup\torrery-keeper\n"
        assert.equal(expected:rep(2), with_keeper(case[2], [[
          local child = orrery.spawn("sleep", {"1000"}, {contain="keeper"})
          show(select(2, child:wait()))
          show(select(2, child:stop()))]]))
      end)
    end)

    it("has the group, or the child alone, be ended", function()
      run(function()
        assert.equal("137\tSIGKILL\n137\tSIGKILL\n143\tSIGTERM\n",
          with_keeper(case[2], [[
            local child = orrery.spawn("sleep", {"1000"})
            child:kill_tree("SIGKILL")
            print(child:wait())
            child = orrery.spawn("sh", {"-c", "sleep 1000 & wait"},
              {pgroup=true, stdio={"ignore", "pipe"}})
            child:kill_tree("SIGKILL")
            print(child:wait())
            child.stdout:read_all()
            child = orrery.spawn("sleep", {"1000"})
            local result = child:stop()
            print(result.code, result.signal)]]))
      end)
    end)
  end)
end

-- Want of fds and of processes ------------------------------------------------

describe("a start with a keeper", function()
  it("says that fds are short, whichever is the first that lacks", function()
    run(function()
      local result = helper.lua(CHILDREN .. [[
        local core = require "orrery.core"
        local function start()
          local child = orrery.spawn("true", {}, {contain="keeper",
            stdio={"ignore", "pipe", "ignore"}})
          local code, err = child:wait()
          if code then child.stdout:destroy() end
          return code, err
        end
        assert(start() == 0)
        local free = 0
        repeat
          local taken = {}
          repeat
            local fd = core.open("/dev/null", "r")
            taken[#taken + 1] = fd
          until not fd
          for _ = 1, free do table.remove(taken):close() end
          free = free + 1
          local code, err = start()
          for _, fd in ipairs(taken) do fd:close() end
          if err then print(err.code, err.stage) end
          await_none()
        until code]], { rlimits = { nofile = 64 } })

      assert.equal("", result.stderr)
      local stages = result.stdout:gsub("EMFILE\t(%a+)\n", "%1 ")
      assert.matches("^pipe pipe [pipe ]*fork [fork ]*cgroup [cgroup ]*$",
        stages)
    end)
  end)

  it("says that processes are short, and leaves none", function()
    run(function()
      local printed = {}
      for limit = 1, 3 do
        printed[limit] = helper.lua_as(CHILDREN .. [[
          local child = orrery.spawn("true", {}, {contain="keeper",
            stdio="ignore"})
          local code, err = child:wait()
          print(code, err and err.code, err and err.stage)
          await_none()]], { rlimits = { nproc = limit },
          behind = { "env", "ASAN_OPTIONS=detect_leaks=0" }, -- it starts one
          uid = helper.is_root and 64123 or nil }).stdout
      end
      assert.equal("nil\tEAGAIN\tfork\n", printed[1])
      if not helper.is_root then return end -- nobody has other processes
      assert.same({ printed[1], printed[1], "0\tnil\tnil\n" }, printed)
    end)
  end)
end)
