--- The script of `orrery -`.

local core = require "orrery.core"
local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run

--- Starts `orrery -` with a file as its stdin.
local function start(stdin)
  return orrery.spawn(helper.orrery, { "-", "argument" },
    { env_extend = helper.env(), stdio = { stdin, "pipe", "pipe" } })
end

--- Waits until a process reads stdin, or waits until it can. [w]
local function await_reading(child)
  helper.eventually(function()
    local file <close> =
      assert(io.open(("/proc/%d/wchan"):format(child.pid)))
    local at = file:read "a"
    return at:find "pipe" or at:find "poll"
  end)
end

--- Returns what `orrery -` prints and how it ends, of a script.
local function outcome(text)
  local child = start "pipe"
  child.stdin:finish(text)
  return child.stdout:read_all() .. child.stderr:read_all(), (child:wait())
end

describe("orrery -", function()
  it("fault B2: waits for a script that comes late and bit by bit", function()
    run(function()
      local reading, writing = core.pipe()
      reading:set_nonblocking(true)
      local child = start(core.fd(reading:fileno()))
      reading:close()
      await_reading(child)
      writing:write "print('late', "
      await_reading(child)
      writing:write "...)"
      writing:close()

      assert.equal("late\targument\n", child.stdout:read_all())
      assert.equal(0, child:wait())
    end)
  end)

  it("fault B2: passes over a byte order mark and a #! line", function()
    run(function()
      assert.same({ "3\n", 0 }, { outcome("\u{FEFF}#!/usr/bin/orrery\n\n"
        .. "print(debug.getinfo(1, 'l').currentline)") })
      assert.same({ "", 0 }, { outcome "" })
      assert.same({ "1\n", 0 },
        { outcome(string.dump(load "print(1)")) })
    end)
  end)

  it("fault B2: says in a line what it cannot read", function()
    run(function()
      local folder <close> = core.open "/tmp"
      local child = start(folder)

      assert.equal("orrery: cannot read stdin: Is a directory\n",
        child.stderr:read_all())
      assert.equal(1, child:wait())
      assert.same({ "orrery: stdin:1: unexpected symbol near '='\n", 1 },
        { outcome "= 1" })
    end)
  end)

  it("fault A1: ends by the first SIGINT while it waits for the script",
    function()
      run(function()
        local child = start "pipe"
        await_reading(child)
        child:kill("SIGINT")

        assert.equal("SIGINT", select(2, child:wait(5000)))
      end)
    end)
end)
