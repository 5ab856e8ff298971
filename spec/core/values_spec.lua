local core = require "orrery.core"
local show = require "spec.fixture.values".show

local null, array, pack, unpack = core.null, core.array, core.pack, core.unpack

describe("core.array and core.null", function()
  it("mark lists and stand for nil", function()
    local t = {}

    assert.equal(t, array(t))
    assert.equal(t, array(t))
    assert.equal(null, unpack(pack(null)))
    assert.equal(show { null, { a = null } },
      show(unpack(pack { null, { a = null } })))
  end)

  it("leave metatables of others alone", function()
    assert.has_error(function() array(setmetatable({}, {})) end,
      "bad argument #1 to 'array' (a table with a metatable of its own)")
    assert.has_error(function() array(1) end)
  end)
end)
