local helper = require "spec.helper"
local core = require "orrery.core"

local run, raw_peer = helper.run, helper.raw_peer

--- A peer that reads until the end.
local READ = [[
  local ch = core.fork(peer, "frames", 1 << 20)
  repeat
    core.poll({ch:fileno()}, {}, -1)
    local n = ch:receive()
    while ch:next() do end
  until n == 0]]

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
      helper.await_close(child)
    end)
  end)
end)
