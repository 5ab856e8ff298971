local helper = require "spec.helper"

local run, script = helper.run, helper.script

-- How a script sees itself as ps(1) does.
local SHOWN = [[
  local function shown()
    local file <close> = io.open("/proc/self/cmdline", "rb")
    return file:read("a")
  end ]]

describe("process.title", function()
  it("L126: is the command line until it is set", function()
    run(function()
      local result = script [[print(process.title)]]

      assert.matches("^%S*lua%S* %S*bin/orrery %-e local orrery", result.stdout)
    end)
  end)

  it("L126: is shown whole, however long, and once as thread's name", function()
    run(function()
      local result = script(SHOWN .. [[
        for _, title in ipairs {"web: 3 calls", ("x"):rep(100000), "", "b"} do
          process.title = title
          assert(process.title == title)
          assert(shown() == title .. "\0", #shown())
        end
        process.title = "a long name of a thread"
        local file <close> = io.open("/proc/self/comm")
        print(file:read("a"))]])

      assert.equal("a long name of \n\n", result.stdout)
      assert.equal("", result.stderr)
    end)
  end)

  it("shows what fits if the kernel lets nobody change it", function()
    run(function()
      local result = helper.cli({ "-e", SHOWN .. [[
        local process = require "orrery".process
        local room = #shown()
        process.title = ("t"):rep(room * 2)
        print(shown():match("^t*%z*$") and #shown() == room,
          #process.title == 2 * room)]] },
        { env_extend = { ORRERY_FORCE = "no_mm_map" } })

      assert.equal("true\ttrue\n", result.stdout, result.stderr)
    end)
  end)

  it("takes no memory from one title to the next", function()
    run(function()
      local result = script [[
        local titles = {("x"):rep(1 << 20), ("y"):rep((1 << 20) + 8192)}
        local function size()
          for line in io.lines("/proc/self/status") do
            local kb = line:match("^VmSize:%s*(%d+)")
            if kb then return tonumber(kb) end
          end
        end
        process.title = titles[2]
        local before = size()
        for i = 1, 51 do process.title = titles[i % 2 + 1] end
        for _ = 1, 500 do process.title = titles[1] end
        for i = 1, 10000 do process.title = "worker " .. i end
        process.title = titles[1]
        print(size() <= before + 2048, process.title == titles[1])]]

      assert.equal("true\ttrue\n", result.stdout, result.stderr)
    end)
  end)

  it("refuses what is no title, at the caller's line", function()
    run(function()
      for _, bad in ipairs { '"a\\0b"', "5", "{}", "nil" } do
        local result = script("print(pcall(function() process.title = " .. bad
          .. " end))")
        assert.matches("^false\t%(command line%):1: process.title: the title "
          .. "must be a string without NUL bytes?", result.stdout
          :gsub("must be a string, got", "must be a string without NUL bytes"))
      end
    end)
  end)
end)
