local core = require "orrery.core"
local loop = require "orrery.runtime.loop"
local uv = require "luv"

describe("the loop", function()
  it("runs ticks in order before events, and later ones a "
    .. "turn later", function()
    local log = {}
    loop.soon(function()
      loop.later(function() log[#log + 1] = "later" end)
      loop.soon(function()
        log[#log + 1] = "soon"
        loop.soon(function() log[#log + 1] = "nested" end)
      end)
    end)
    uv.run()

    assert.same({ "soon", "nested", "later" }, log)
  end)

  it("lets uv.run end when nothing is left", function()
    loop.soon(function() end)
    uv.run()

    assert.is_false(uv.loop_alive())
  end)

  it("calls at the turn's end when the queue has run dry", function()
    local log = {}
    local function note(what) log[#log + 1] = what end
    loop.soon(function()
      loop.at_turn_end(function(owner)
        note(owner)
        loop.soon(note, "tick of the end")
        loop.at_turn_end(note, "second end")
      end, "end")
      loop.soon(note, "tick")
    end)
    uv.run()

    assert.same({ "tick", "end", "tick of the end", "second end" }, log)
  end)

  it("loses no tick and no end of a turn to an error", function()
    local log, on_uncaught = {}, loop.on_uncaught
    loop.on_uncaught = function(err) log[#log + 1] = err end
    loop.soon(error, "tick", 0)
    loop.at_turn_end(function() error("end", 0) end)
    loop.at_turn_end(function() log[#log + 1] = "other end" end)
    loop.soon(function() log[#log + 1] = "other tick" end)
    uv.run()
    loop.on_uncaught = on_uncaught

    assert.same({ "tick", "other tick", "end", "other end" }, log)
  end)

  it("closes a handle once, and calls back", function()
    local handle, calls = uv.new_timer(), 0
    loop.close(handle, function() calls = calls + 1 end)
    loop.close(handle, function() calls = calls + 1 end)
    uv.run()

    assert.equal(1, calls)
  end)

  it("closes a handle that cannot take an fd, which stays open", function()
    local fd <close> = core.open("README.md", "r")
    local handle = uv.new_udp()
    local taken, code = loop.open(handle, fd)

    assert.is_nil(taken)
    assert.equal("ENOTSOCK", code)
    assert.is_true(handle:is_closing())
    assert.is_truthy(fd:fileno())
    uv.run()
  end)
end)
