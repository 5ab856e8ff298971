require "spec.helper"
local number_text = require "orrery.runtime.number_text"

describe("number_text.of", function()
  it("fault A13: gives integral values as integers, others exactly", function()
    for _, case in ipairs {
      { 5, "5" }, { 2 ^ 10, "1024" }, { -3.0, "-3" }, { -0.0, "0" },
      { math.mininteger, "-9223372036854775808" }, { 1e15, "1000000000000000" },
      { 2 ^ 63, "9223372036854775808" }, { 1e20, "100000000000000000000" },
      { 1e21, "1e+21" }, { -1e300, "-1e+300" }, { 2.5, "2.5" }, { 0.1, "0.1" },
      { 0.1 + 0.2, "0.30000000000000004" }, { 5e-324, "5e-324" },
      { 1 / 3, "0.3333333333333333" }, { 1 / 0, "inf" }, { -1 / 0, "-inf" },
    } do
      assert.equal(case[2], number_text.of(case[1]))
    end
    assert.matches("nan", number_text.of(0 / 0))
  end)

  it("gives what reads back as the same number", function()
    for i = -40, 40 do
      for _, number in ipairs { math.pi * 10.0 ^ i, 7 * 2.0 ^ i } do
        assert.equal(number, tonumber(number_text.of(number)))
      end
    end
  end)
end)
