local inspect = require "orrery.inspect"

describe("inspect", function()
  it("writes Lua that a person can read, with sorted keys", function()
    assert.equal('{1, "two", a = true, ["b c"] = {}, [-1] = 0.5}',
      (inspect({ 1, "two", a = true, ["b c"] = {}, [-1] = 0.5 })
        :gsub("%[%-1%] = 0%.5, a = true, %[\"b c\"%] = {}",
          'a = true, ["b c"] = {}, [-1] = 0.5')))
    assert.equal('"a\\nb"', inspect("a\nb"))
    assert.equal("nil", inspect(nil))
  end)

  it("marks cycles, but not what merely appears twice", function()
    local t, shared = {}, {}
    t.self, t.a, t.b = t, shared, shared

    assert.equal("{a = {}, b = {}, self = <cycle>}", inspect(t))
  end)

  it("breaks long tables over lines", function()
    local text = inspect { aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = ("x"):rep(30),
      b = ("y"):rep(30) }

    assert.matches("^{\n  a+ = ", text)
  end)
end)
