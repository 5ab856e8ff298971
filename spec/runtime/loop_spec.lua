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
end)
