local class = require "orrery.runtime.class"

describe("class", function()
  local Animal = class("Animal")
  function Animal:speak() return self.word end
  function Animal:legs() return 4 end
  function Animal.__tostring(self) return "animal " .. self.word end

  it("makes objects that have its methods and its name", function()
    local cow = setmetatable({ word = "moo" }, Animal)

    assert.equal("moo", cow:speak())
    assert.equal("Animal", getmetatable(cow).__name)
  end)

  it("has the members of its base and its parts, the last "
    .. "one winning", function()
    local Bird = class("Bird", Animal, { legs = function() return 2 end })
    local wren = setmetatable({ word = "trill" }, Bird)

    assert.equal("trill", wren:speak())
    assert.equal(2, wren:legs())
    assert.equal("animal trill", tostring(wren))
    assert.equal("Bird", getmetatable(wren).__name)
    assert.equal(Bird.speak, rawget(Bird, "speak"))
    assert.equal(4, Animal.legs())
  end)
end)
