--- Several copies of the library in one Lua state: a host clears package.loaded
--- and requires it again, or a vendored copy lies beside it.

local helper = require "spec.helper"
local orrery = require "orrery"

local BUILD = os.getenv("ORRERY_BUILD") or "build"

--- What programs here begin with: `again()` gives another copy of `orrery`.
local AGAIN = [[
  local function again()
    for name in pairs(package.loaded) do
      if name:find "^orrery" or name == "luv" then
        package.loaded[name] = nil
      end
    end
    return require "orrery"
  end
  local orrery = require "orrery" ]]

--- Makes a copy of the library, its core included. [w]
--- @return string dir with lua/ and build/ in it
local function copied()
  local dir = orrery.sh("mktemp -d", { trim = true }).stdout
  assert(orrery.sh(("cp -r lua '%s' && mkdir '%s/build' && "
    .. "cp -r '%s/orrery' '%s/build'"):format(dir, dir, BUILD, dir)).ok)
  return dir
end

describe("several copies in one Lua state #spawn", function()
  it("fault A6: two spec files under busted's own insulation", function()
    helper.run(function()
      local result = orrery.run("busted", { "-o", "TAP" },
        { cwd = "spec/fixture/project", env_extend = helper.env() })

      assert.equal("", result.stderr)
      assert.equal(4, select(2, ("\n" .. result.stdout):gsub("\nok ", "")))
      assert.is_true(result.ok)
    end, 60000)
  end)

  it("fault A6: each copy reaps, whosever the child is", function()
    helper.run(function()
      local result = helper.lua(AGAIN .. [[
        local all = {}
        for i = 1, 20 do
          all[i] = orrery.spawn("sh", {"-c", "exit " .. i},
            {stdio = "ignore"})
          orrery = again()
        end
        for i = 1, 20 do assert(all[i]:wait() == i) end
        print(orrery.exec_file_sync("echo", {"end"}))]])

      assert.equal("", result.stderr)
      assert.equal("end\n\n", result.stdout)
    end)
  end)

  it("fault A6: twenty copies hold no more fds and handles than two", function()
    helper.run(function()
      local result = helper.lua(AGAIN .. [[
        local uv = require "luv"
        local function use()
          orrery.process.on("SIGUSR1", print)
          orrery.run("true")
          orrery.sleep(1)
        end
        local function held()
          local count, scan = 0, uv.fs_scandir("/proc/self/fd")
          while uv.fs_scandir_next(scan) do count = count + 1 end
          uv.walk(function() count = count + 1 end)
          return count
        end
        use()
        local before = held()
        for _ = 1, 20 do
          orrery = again()
          use()
        end
        print(held() - before, require "luv" == uv)]])

      assert.equal("", result.stderr)
      assert.equal("0\ttrue\n", result.stdout)
    end)
  end)

  it("fault A6: the process keeps its channel, exit and listeners", function()
    helper.run(function()
      local child = helper.fork(AGAIN:gsub("local orrery[^\n]*$", "") .. [[
        process.on("exit", function() process.stdout:write "first" end)
        process.on("uncaught_exception", function(err) print(err) end)
        orrery = again()
        orrery.process.on("message", function(m)
          orrery.process.send(m + 1)
          orrery.process.disconnect()
        end)
        orrery.go(error, "mine", 0)]], { stdio = { 0, "pipe", 2, "ipc" } })
      child:send(1)

      assert.equal(2, child:receive(20000))
      assert.equal("mine\nfirst", child.stdout:read_all())
      assert.equal(0, child:wait())
      helper.await_close(child)
    end)
  end)

  it("fault A6: a vendored copy waits in a task of the other, and names the "
    .. "user's line", function()
    helper.run(function()
      local dir = copied()
      local result = helper.lua(AGAIN .. ([[
        package.path = "%s/lua/?.lua;%s/lua/?/init.lua;" .. package.path
        package.cpath = "%s/build/?.so;" .. package.cpath
        local run = orrery.run
        local vendored = again()
        assert(vendored.run ~= run)
        local t = orrery.go(function()
          return vendored.run("echo", {"1"}).stdout
        end)
        print(t:join(), vendored.all{t}[1])
        vendored.go(function()
          print(pcall(orrery.sleep, "x"))
          print(pcall(vendored.sleep, "x"))
          print(pcall(function() vendored.run("x", {}, {timeout = "x"}) end))
        end):join()]]):format(dir, dir, dir))
      orrery.run("rm", { "-r", dir })

      assert.equal("", result.stderr)
      assert.equal("1\n\t1\n\n", result.stdout:sub(1, 6))
      assert.is_nil(result.stdout:find(dir, 1, true))
      assert.is_nil(result.stdout:find("/lua/orrery/", 1, true))
      assert.matches("command line", result.stdout:match("([^\n]+)\n$"))
    end)
  end)
end)
