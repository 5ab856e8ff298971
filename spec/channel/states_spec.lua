local helper = require "spec.helper"
local core = require "orrery.core"
local poller = require "orrery.runtime.poller"
local states = require "orrery.channel.states"

local run, raw_peer = helper.run, helper.raw_peer
local await_close = helper.await_close

--- A peer that reads until the end.
local READ = [[
  local ch = core.fork(peer, "frames", 1 << 20)
  repeat
    core.poll({ch:fileno()}, {}, -1)
    local n = ch:receive()
    while ch:next() do end
  until n == 0]]
local FRAMES = 'local ch = core.fork(peer, "frames", 1 << 20) '
local STAY = " core.poll({}, {}, 20000)"

--- A peer that sends `count` messages and then does what `finally` says.
local function sender(count, finally)
  return raw_peer(FRAMES .. ([[
    for i = 1, %d do ch:send(i) end
    while ch:flush() == false do core.poll({}, {ch:fileno()}, -1) end ]])
    :format(count) .. finally)
end

--- Writes down which way the states of a channel go.
local function record(channel)
  local log, go = {}, channel.go_
  function channel.go_(self, direction, event)
    local from = self[direction .. "_"]
    local went = go(self, direction, event)
    if went then
      log[#log + 1] = ("%s > %s"):format(from, self[direction .. "_"])
    end
    return went
  end
  return log
end

--- Sends until the peer is known to take no more, without a turn of the loop.
local function send_until_broken(child)
  local errs = {}
  while child.connected do
    child:send("x", nil, nil, function(err) errs[#errs + 1] = err end)
    child.channel:flush()
    core.poll({}, {}, 1)
  end
  return errs
end

local function await_paused(child)
  helper.eventually(function()
    return child.channel.receiving_ == "paused"
  end)
end

--- What is done with a child, and which way its channel goes.
local walks = {
  {
    "by disconnect",
    { "open > leaving", "leaving > left" },
    function() return sender(0, STAY) end,
    function(child)
      child:disconnect()
      assert.is_false(child:send("too late"))
      child:disconnect()
      child:wait_for("disconnect", 5000)
      child:kill()
    end,
  },
  {
    "where the peer has gone before a message could be sent",
    { "open > broken", "reading > ended" },
    function() return sender(2, "") end,
    function(child)
      local errs = send_until_broken(child)
      assert.is_false(child:send("too late"))
      assert.equal(1, (child:receive(5000)))
      assert.equal(2, (child:receive(5000)))
      helper.eventually(function() return errs[1] end)
      assert.matches("E%u+", errs[#errs].code)
    end,
  },
  {
    "by disconnect from a peer that has gone, when that is known",
    { "open > broken", "broken > leaving", "leaving > left" },
    function() return sender(2, "") end,
    function(child)
      send_until_broken(child)
      child:disconnect()
      assert.is_false(child.channel:flush())
      assert.equal(1, (child:receive(5000)))
      assert.equal(2, (child:receive(5000)))
    end,
  },
  {
    "where the inbox is full, until it is emptied",
    { "reading > paused", "paused > reading", "open > leaving",
      "leaving > left" },
    function() return sender(1500, STAY) end,
    function(child)
      await_paused(child)
      local count = 0
      child:on("message", function() count = count + 1 end)
      helper.eventually(function() return count == 1500 end)
      child:disconnect()
      child:wait_for("disconnect", 5000)
      child:kill()
    end,
  },
  {
    "where the peer goes while the inbox is full",
    { "reading > paused", "paused > gone", "gone > ended" },
    function() return sender(1500, STAY) end,
    function(child)
      await_paused(child)
      child:kill()
      child:wait_for("disconnect", 5000)
      for i = 1, 1500 do assert.equal(i, (child:receive())) end
    end,
  },
  {
    "by disconnect while the inbox is full and the peer has gone",
    { "reading > paused", "open > leaving", "paused > ended",
      "leaving > left" },
    function() return sender(1024, STAY) end,
    function(child)
      await_paused(child)
      child:kill("SIGKILL")
      core.poll({ child.channel:fileno() }, {}, 5000) -- until it is at its end
      child:disconnect()
    end,
  },
  {
    "where the peer goes, and the poll says so",
    { "reading > gone", "gone > ended" },
    function() return sender(1, "") end,
    function(child)
      local other <close> = core.socketpair()
      local watched = poller.watch(other:fileno(), print)
      child:wait_for("disconnect", 5000)
      watched:close()
    end,
  },
}

describe("the states of a channel go their way", function()
  for _, walk in ipairs(walks) do
    local name, way, start, act = table.unpack(walk)
    it(name, function()
      run(function()
        local child = start()
        local log = record(child.channel_)
        act(child)
        await_close(child)

        assert.same(way, log)
      end)
    end)
  end

  it("and know no other", function()
    local walked, known = {}, {}
    for _, walk in ipairs(walks) do
      for _, step in ipairs(walk[2]) do walked[step] = true end
    end
    for _, direction in pairs(states) do
      for from, events in pairs(direction) do
        for _, to in pairs(events) do
          assert.is_table(direction[to])
          known[("%s > %s"):format(from, to)] = true
        end
      end
    end

    assert.same(known, walked)
  end)
end)

describe("a channel after disconnect", function()
  it("takes no message, though all that was queued has gone out", function()
    run(function()
      local child = raw_peer(READ)
      local block = ("x"):rep(100000)
      repeat until not child:send(block)
      child:disconnect()
      while not child.channel:flush() do -- in the same turn of the loop
        core.poll({}, { child.channel:fileno() }, 1000)
      end

      assert.is_false(child:send("too late"))
      await_close(child)
    end)
  end)
end)
