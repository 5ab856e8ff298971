local helper = require "spec.helper"
local core = require "orrery.core"
local poller = require "orrery.runtime.poller"
local task = require "orrery.task"

local run = helper.run

--- Watches an end of a socket pair, and notes what is told of it.
local function watched_pair()
  local a, b = core.socketpair()
  local told = {}
  local watched = poller.watch(a:fileno(), function(owner, ...)
    assert.equal("owner", owner)
    told[#told + 1] = { ... }
  end, "owner")
  return {
    watched = watched, a = a, b = b, told = told,
    close = function()
      watched:close()
      a:close()
      b:close()
    end,
  }
end

local function last(pair) return pair.told[#pair.told] end

describe("the poller", function()
  it("tells that an fd can be read, also when it is the only one", function()
    run(function()
      local pair = watched_pair()
      pair.b:write("x")
      helper.eventually(function() return last(pair) end)

      assert.same({ true, false, false }, last(pair))
      pair.close()
    end)
  end)

  it("tells each of several fds of its own", function()
    run(function()
      local pairs_ = { watched_pair(), watched_pair(), watched_pair() }
      pairs_[2].b:write("x")
      helper.eventually(function() return last(pairs_[2]) end)

      assert.same({}, pairs_[1].told)
      assert.same({}, pairs_[3].told)
      for _, pair in ipairs(pairs_) do pair.close() end
    end)
  end)

  it("tells that an fd can be written only if it listens to that", function()
    run(function()
      local pair = watched_pair()
      for _ = 1, 3 do task.sleep(1) end
      assert.same({}, pair.told)
      pair.watched:listen(true, true)
      helper.eventually(function() return last(pair) end)

      assert.same({ false, true, false }, last(pair))
      pair.close()
    end)
  end)

  it("tells that the peer has gone", function()
    run(function()
      local pair, other = watched_pair(), watched_pair()
      pair.b:close()
      helper.eventually(function() return last(pair) end)

      assert.is_true(last(pair)[1] and last(pair)[3])
      pair.close()
      other.close()
    end)
  end)

  it("goes on with the others when the function of one raises", function()
    run(function()
      local result = helper.lua([[
        local core = require "orrery.core"
        local poller = require "orrery.runtime.poller"
        local loop = require "orrery.runtime.loop"
        loop.on_uncaught = function(err) print("uncaught", err) end
        local watched, kept = {}, {}
        for i = 1, 3 do
          local a, b = core.socketpair()
          b:write("x")
          kept[#kept + 1] = b
          watched[i] = poller.watch(a:fileno(), function()
            watched[i]:close()
            a:close()
            if i == 2 then error("of 2", 0) end
            print(i)
          end)
          watched[i]:set_ref(true)
        end
        require "luv".run()]])

      assert.equal("1\nuncaught\tof 2\n3\n", result.stdout)
    end)
  end)

  it("keeps the loop alive only for what is referenced", function()
    run(function()
      local result = helper.lua([[
        local core = require "orrery.core"
        local poller = require "orrery.runtime.poller"
        local a, b = core.socketpair()
        local watched = poller.watch(a:fileno(), print)
        require "luv".run()
        watched:set_ref(true)
        print(require "luv".loop_alive())
        watched:close()
        print(require "luv".loop_alive())]])

      assert.equal("true\nfalse\n", result.stdout)
    end)
  end)

  it("refuses a file, which is always ready", function()
    local file <close> = core.open("README.md", "r")
    local watched, err = poller.watch(file:fileno(), print)

    assert.is_nil(watched)
    assert.equal("EPERM", err.code)
  end)
end)
