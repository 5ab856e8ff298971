local json = require "orrery.json"
local values = require "spec.fixture.values"

local encode, decode, null = json.encode, json.decode, json.decode("null")
local show, nested = values.show, values.nested

local function list(t)
  return setmetatable(t or {}, getmetatable(decode("[]")))
end

local function raised(...)
  local ok, err = pcall(encode, ...)
  assert.is_false(ok)
  return err
end

describe("json.encode", function()
  it("writes what is no table", function()
    for expected, value in pairs {
      ["true"] = true, ["false"] = false, ["null"] = null, ['""'] = "",
      ['"a b"'] = "a b", ["0"] = 0, ["-1"] = -1,
      ["9223372036854775807"] = math.maxinteger,
      ["-9223372036854775808"] = math.mininteger,
    } do
      assert.equal(expected, encode(value))
    end
  end)

  it("keeps floats floats, in their shortest form", function()
    for expected, value in pairs {
      ["3.0"] = 3.0, ["-0.0"] = -0.0, ["0.1"] = 0.1, ["-1.5"] = -1.5,
      ["1e-7"] = 1e-7, ["0.000001"] = 1e-6, ["1e+21"] = 1e21,
      ["100000000000000000000.0"] = 1e20, ["9223372036854776000.0"] = 2.0 ^ 63,
      ["0.30000000000000004"] = 0.1 + 0.2, ["5e-324"] = 5e-324,
      ["2.2250738585072014e-308"] = 2.2250738585072014e-308,
      ["1.7976931348623157e+308"] = 1.7976931348623157e308,
      ["1.25e-9"] = 1.25e-9,
    } do
      assert.equal(expected, encode(value))
      assert.equal(show(value), show(decode(expected)))
    end
  end)

  it("writes null for what is no number, as JavaScript does", function()
    assert.equal("[null,null,null]", encode { 0 / 0, math.huge, -math.huge })
  end)

  it("escapes no more than it must", function()
    assert.equal([["\"\\/\b\f\n\r\t\u0000\u0001\u001f]]
      .. "\x7fé\u{2028}\u{1f600}\"",
      encode("\"\\/\b\f\n\r\t\0\1\x1f\x7fé\u{2028}\u{1f600}"))
  end)

  it("writes lists and maps, compact", function()
    assert.equal('[1,[2,[]],{"a":{}}]', encode { 1, { 2, list() }, { a = {} } })
    assert.equal("{}", encode {})
    assert.equal("[]", encode(list()))
    assert.equal("[1]", encode(list { 1 }))
    assert.equal('[null,{"a":null}]', encode { null, { a = null } })
  end)

  it("grows beyond its first buffer", function()
    local text = ("é\n"):rep(5000)

    assert.equal('"' .. ("é\\n"):rep(5000) .. '"', encode(text))
    assert.equal('["' .. ("x"):rep(1021) .. '"]', encode { ("x"):rep(1021) })
    assert.equal('"' .. ("\\u0001"):rep(3000) .. '"', encode(("\1"):rep(3000)))
  end)

  it("makes strings of keys that are numbers, as JavaScript does", function()
    for expected, key in pairs {
      ['{"0":1}'] = 0, ['{"-7":1}'] = -7, ['{"1.5":1}'] = 1.5,
      ['{"1e+21":1}'] = 1e21, ['{"1e-7":1}'] = 1e-7,
      ['{"Infinity":1}'] = math.huge, ['{"-Infinity":1}'] = -math.huge,
      ['{"9223372036854775807":1}'] = math.maxinteger,
    } do
      assert.equal(expected, encode { [key] = 1 })
    end
    assert.equal(show { ["1"] = "a", ["2"] = "b", ["4"] = "d" },
      show(decode(encode { "a", "b", [4] = "d" })))
  end)

  it("reads tables raw", function()
    local t = setmetatable({ a = 1 }, {
      __index = function() error("read") end,
      __pairs = function() error("walked") end,
    })

    assert.equal('{"a":1}', encode(t))
  end)

  it("names the place of what cannot be sent", function()
    assert.equal("message: a function cannot be sent", raised(print))
    assert.equal("message: a thread cannot be sent",
      raised(coroutine.create(print)))
    assert.equal("message: a userdata cannot be sent", raised(io.stdout))
    assert.equal("message.a.b: a function cannot be sent",
      raised { a = { b = print } })
    assert.equal("message[2].x[-3]: a userdata cannot be sent",
      raised { 1, { x = { [-3] = io.stdout } } })
    assert.equal("message: nil cannot be sent", raised(nil))
    assert.equal("message: nil cannot be sent", raised())
  end)

  it("speaks of what its caller calls the value", function()
    assert.equal("reply.a: a function cannot be sent",
      raised({ a = print }, "reply"))
    assert.equal("nil cannot be sent", raised(nil, ""):match("^: (.*)"))
    assert.equal('{"a":1}', encode({ a = 1 }, "reply"))
  end)

  it("raises for keys that are neither strings nor numbers", function()
    assert.equal("message.a[boolean]: a boolean cannot be a key in JSON",
      raised { a = { [true] = 1 } })
    assert.equal("message[table]: a table cannot be a key in JSON",
      raised { [{}] = 1 })
    assert.equal("message[userdata]: a userdata cannot be a key in JSON",
      raised { [null] = 1 })
  end)

  it("raises where a number's key would be there twice", function()
    assert.equal("message.a[7]: the key is there twice, as number and string",
      raised { a = { [7] = 1, ["7"] = 2 } })
  end)

  it("raises for strings that are not UTF-8", function()
    local why = ': not UTF-8, which JSON needs '
      .. '(serialization "msgpack" takes any bytes)'
    for _, bad in ipairs {
      "\xff", "a\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
      "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
      "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "é\xf0\x9f\x98", "\xc3(",
      "\xe2\x82(",
    } do
      assert.equal("message.a[1]" .. why, raised { a = { bad } })
      assert.equal("message." .. bad .. why, raised { [bad] = 1 })
    end
    for _, good in ipairs { "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}",
      "\u{e000}",
      "\u{ffff}", "\u{10000}", "\u{10ffff}" } do
      assert.equal('"' .. good .. '"', encode(good))
    end
  end)

  it("takes 100 tables inside each other", function()
    assert.equal(("["):rep(100) .. "1" .. ("]"):rep(100), encode(nested(100)))
    assert.matches(": more than 100 tables inside each other$",
      raised(nested(101)))
    assert.matches(": more than 100 tables inside each other$",
      raised(nested(100000)))
    local cycle = {}
    cycle.a = { cycle }
    assert.matches(
      "^message%.a%[1%].*: a table that contains itself cannot be sent$",
      raised(cycle))
  end)

  it("takes a table that is there twice", function()
    local t = { 1 }

    assert.equal("[[1],[1]]", encode { t, t })
  end)
end)
