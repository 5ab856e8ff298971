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

  --- A list in a list …, `depth` of them; `width` times the same in each.
  local function nested(depth, width)
    local value = 1
    for _ = 1, depth do
      local list = {}
      for i = 1, width do list[i] = value end
      value = list
    end
    return value
  end

  it("fault D4: writes what is deep up to a depth", function()
    local text = inspect(nested(1000, 1))

    assert.equal(("{"):rep(20) .. "{…}" .. ("}"):rep(20),
      (text:gsub("%s", "")))
    assert.equal("{{{1}}}", inspect(nested(3, 1)))
    assert.is_true(#inspect(nested(100000, 1)) == #text)
  end)

  it("fault D4: writes what is in many places up to a number", function()
    local wide = {}
    for i = 1, 300000 do wide[i] = i end
    local text = inspect(nested(20, 3))

    assert.matches("…", text)
    assert.is_true(#text < 10000000, #text)
    assert.matches("99999,%s*…%s*}$", inspect(wide):sub(-30))
    assert.not_matches("…", inspect(nested(3, 40)))
  end)

  it("fault D4: loses no digit of a number", function()
    for text, value in pairs {
      ["9007199254740992.0"] = 2 ^ 53, ["9007199254740993"] = 2 ^ 53 | 1,
      ["0.1"] = 0.1, ["0.30000000000000004"] = 0.1 + 0.2, ["1.0"] = 1.0,
      ["100.0"] = 100.0, ["1e+100"] = 1e100,
      ["-9007199254740994.0"] = -2 ^ 53 - 2,
      ["0.3333333333333333"] = 1 / 3, ["4.9406564584125e-324"] = 5e-324,
      inf = math.huge,
    } do
      assert.equal(text, inspect(value))
    end
    assert.equal("-0.0", inspect(-0.0))
    assert.matches("nan", inspect(0 / 0))
    for _ = 1, 200 do
      local value = (math.random() - 0.5) * 10 ^ math.random(-300, 300)
      assert.equal(value, load("return " .. inspect(value))())
    end
  end)

  it("fault D4: is not taken in by metatables", function()
    local function raise() error("never") end
    local hostile = { __index = raise, __len = raise, __pairs = raise,
      __eq = raise, __lt = raise, __concat = raise, __name = "x" }
    assert.equal("{1, 2, a = 3}",
      inspect(setmetatable({ 1, 2, a = 3 }, hostile)))
    assert.equal("{}",
      inspect(setmetatable({}, { __len = function() return 1e15 end })))
    assert.equal("{1}", inspect(setmetatable({ 1 }, { __metatable = "no" })))

    local text = inspect { setmetatable({}, { __tostring = raise }),
      setmetatable({}, { __tostring = function() return {} end }),
      setmetatable({}, { __tostring = function() error({}) end }) }
    assert.matches("<table whose __tostring raises .*never>", text)
    assert.matches("'__tostring' must return a string>", text)
    assert.matches("raises a table>", text)
  end)

  it("fault D4: sorts keys whose text changes", function()
    local keys = {}
    for _ = 1, 100 do
      keys[setmetatable({}, { __tostring = function()
        return tostring(math.random())
      end })] = true
    end

    assert.is_string(inspect(keys))
  end)
end)
