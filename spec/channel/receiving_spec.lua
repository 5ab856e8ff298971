local helper = require "spec.helper"
local core = require "orrery.core"
local events = require "orrery.events"
local messaging = require "orrery.channel.messaging"
local orrery = require "orrery"
local steps = require "spec.fixture.steps"

local run, Messaging = helper.run, messaging.Messaging

--- Calls fn(here, there) with the owners of both ends of a channel, and closes
--- it. [w]
local function with_channel(fn)
  local owners = {}
  for i, fd in ipairs { core.socketpair() } do
    owners[i] = setmetatable({}, { __index = function(_, name)
      return Messaging[name] or events.Emitter[name]
    end })
    assert(messaging.open(owners[i], fd, {}))
  end
  fn(table.unpack(owners))
  for _, owner in ipairs(owners) do
    owner:disconnect()
    helper.eventually(function() return owner.channel_.over_ end)
  end
end

describe("receive", function()
  it("serves tasks in order, whichever are cancelled before", function()
    run(function()
      with_channel(function(here, there)
        local tasks, got = {}, {}
        for i = 1, 6 do
          tasks[i] = orrery.go(function()
            got[i] = here:receive() or "cancelled"
          end)
        end
        orrery.go(type, nil):join() -- begins behind them
        for _, i in ipairs { 1, 3, 6 } do
          tasks[i]:cancel()
          tasks[i]:join()
        end
        for i = 1, 3 do there:send("m" .. i) end
        for _, i in ipairs { 2, 4, 5 } do tasks[i]:join() end

        assert.same({ nil, "m1", nil, "m2", "m3" }, got)
      end)
    end)
  end)

  it("ends for all tasks with the channel", function()
    run(function()
      with_channel(function(here, there)
        local tasks = {}
        for i = 1, 3 do tasks[i] = orrery.go(here.receive, here) end
        orrery.go(type, nil):join()
        there:disconnect()

        for i = 1, 3 do
          local message, err = tasks[i]:join()
          assert.is_nil(message)
          assert.equal("ERR_IPC_CHANNEL_CLOSED", err.code)
        end
      end)
    end)
  end)

  it("fault C8: takes as many steps for a task, however many wait", function()
    run(function()
      local growth = steps.growth(function(n)
        with_channel(function(here, there)
          local tasks = {}
          for i = 1, n do tasks[i] = orrery.go(here.receive, here) end
          orrery.go(type, nil):join()
          for i = n, n // 2 + 1, -1 do tasks[i]:cancel() end
          for i = 1, n // 2 do there:send(i) end
          for i = 1, n // 2 do assert.equal(i, (tasks[i]:join())) end
        end)
      end)
      assert.is_true(growth < 6, "grows by " .. growth)
    end)
  end)
end)

describe("callbacks of messages that go out one by one", function()
  --- Makes a channel's core one that takes a message a flush. Returns what
  --- undoes that.
  local function slow_down(channel)
    local real, accepted, sent = channel.core_end_, 0, 0
    channel.core_end_ = setmetatable({
      totals = function() return accepted, sent end,
      post = function()
        accepted = accepted + 1
        return accepted - sent
      end,
      flush = function()
        sent = math.min(sent + 1, accepted)
        if sent == accepted then return true end
        return false, core.errnos.EAGAIN
      end,
    }, { __index = function(_, name)
      return function(_, ...) return real[name](real, ...) end
    end })
    return function() channel.core_end_ = real end
  end

  it("fault C8: take as many steps each, however many are owed", function()
    run(function()
      local growth = steps.growth(function(n)
        with_channel(function(here)
          local called, undo = 0, slow_down(here.channel_)
          for _ = 1, n do
            here:send("x", nil, nil, function() called = called + 1 end)
          end
          for _ = 1, n do here.channel_:flush() end
          orrery.go(type, nil):join()
          assert.equal(n, called)
          undo()
        end)
      end)
      assert.is_true(growth < 6, "grows by " .. growth)
    end)
  end)
end)
