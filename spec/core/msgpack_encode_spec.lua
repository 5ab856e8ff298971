local core = require "orrery.core"
local values = require "spec.fixture.values"

local pack, unpack, null, array = core.pack, core.unpack, core.null, core.array
local bytes, show, nested = values.bytes, values.show, values.nested
local list, map = values.list, values.map

local function hex(data)
  return (data:gsub(".",
    function(c) return ("%02x "):format(c:byte()) end):sub(1, -2))
end

local function same(expected, value)
  assert.equal(show(expected), show(value))
end

local function raised(...)
  local ok, err = pcall(pack, ...)
  assert.is_false(ok)
  return (err:gsub("^[^ ]+%.lua:%d+: ", ""))
end

describe("core.pack", function()
  it("writes what the specification of MessagePack says, "
    .. "byte by byte", function()
    for text, value in pairs {
      ["c0"] = null, ["c2"] = false, ["c3"] = true,
      ["00"] = 0, ["7f"] = 127, ["ff"] = -1, ["e0"] = -32,
      ["cb 00 00 00 00 00 00 00 00"] = 0.0,
      ["cb 80 00 00 00 00 00 00 00"] = -0.0,
      ["cb 3f f8 00 00 00 00 00 00"] = 1.5,
      ["cb 40 08 00 00 00 00 00 00"] = 3.0,
      ["cb 7f f0 00 00 00 00 00 00"] = math.huge,
      ["cb ff f0 00 00 00 00 00 00"] = -math.huge, ["a0"] = "", ["a1 61"] = "a",
      ["a2 c3 a9"] = "é", ["c4 01 ff"] = "\xff", ["80"] = {}, ["90"] = array {},
      ["93 01 a1 32 c3"] = { 1, "2", true },
      ["81 a1 61 91 c0"] = { a = { null } },
    } do
      assert.equal(text, hex(pack(value)))
      same(value, unpack(bytes(text)))
    end
  end)

  it("writes the example of msgpack.org", function()
    assert.equal("82 a7 63 6f 6d 70 61 63 74 c3 a6 73 63 68 65 6d 61 00",
      hex(pack { compact = true, schema = 0 }):gsub(
        "^82 a6 73 63 68 65 6d 61 00 (.*)$", "82 %1 a6 73 63 68 65 6d 61 00"))
  end)

  it("writes integers in the shortest form", function()
    for value, text in pairs {
      [127] = "7f", [128] = "cc 80", [255] = "cc ff", [256] = "cd 01 00",
      [65535] = "cd ff ff", [65536] = "ce 00 01 00 00",
      [0xffffffff] = "ce ff ff ff ff",
      [0x100000000] = "cf 00 00 00 01 00 00 00 00",
      [math.maxinteger] = "cf 7f ff ff ff ff ff ff ff", [-32] = "e0",
      [-33] = "d0 df", [-128] = "d0 80", [-129] = "d1 ff 7f",
      [-32768] = "d1 80 00", [-32769] = "d2 ff ff 7f ff",
      [-2147483648] = "d2 80 00 00 00",
      [-2147483649] = "d3 ff ff ff ff 7f ff ff ff",
      [math.mininteger] = "d3 80 00 00 00 00 00 00 00",
    } do
      assert.equal(text, hex(pack(value)))
      same(value, unpack(bytes(text)))
    end
  end)

  it("writes text as str and other bytes as bin, in the "
    .. "shortest form", function()
    for n, heads in pairs {
      [31] = { "bf", "c4 1f" }, [32] = { "d9 20", "c4 20" },
      [255] = { "d9 ff", "c4 ff" }, [256] = { "da 01 00", "c5 01 00" },
      [65535] = { "da ff ff", "c5 ff ff" },
      [65536] = { "db 00 01 00 00", "c6 00 01 00 00" },
    } do
      for i, text in ipairs { ("x"):rep(n), ("x"):rep(n - 1) .. "\xff" } do
        local packed = pack(text)
        assert.equal(heads[i], hex(packed:sub(1, -n - 1)))
        assert.is_true(unpack(packed) == text)
      end
    end
  end)

  it("takes for text what is UTF-8", function()
    for _, text in ipairs { "\0", "\x7f", "\u{80}", "\u{7ff}", "\u{800}",
      "\u{d7ff}", "\u{e000}",
      "\u{ffff}", "\u{10000}", "\u{10ffff}", "12345678é",
      "1234567é12345678é" } do
      assert.equal(0xa0 | #text, pack(text):byte())
    end
    for _, text in ipairs { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3",
      "\xe0\x9f\xbf",
      "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
      "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
      "\xc3\x28", "12345678\xff", "é\xe9" } do
      assert.equal(0xc4, pack(text):byte())
    end
  end)

  it("writes lists and maps in the shortest form", function()
    for n, heads in pairs {
      [15] = { "9f", "8f" }, [16] = { "dc 00 10", "de 00 10" },
      [65535] = { "dc ff ff", "de ff ff" },
      [65536] = { "dd 00 01 00 00", "df 00 01 00 00" },
    } do
      for i, value in ipairs { list(n, true), map(n) } do
        local packed = pack(value)
        assert.equal(heads[i], hex(packed:sub(1, (#heads[i] + 1) // 3)))
        local read = unpack(packed)
        for key, item in pairs(value) do assert(read[key] == item) end
        for key in pairs(read) do assert(value[key] ~= nil) end
      end
    end
  end)

  it("takes for a list what has the keys 1 to n, in any order", function()
    local backwards = {}
    for i = 20, 1, -1 do backwards[i] = i end

    assert.equal(0xdc, pack(backwards):byte())
    assert.equal("93 01 02 03", hex(pack { [2] = 2, [3] = 3, [1] = 1 }))
    assert.equal("92 01 02", hex(pack { [1.0] = 1, [2] = 2 }))
  end)

  it("takes for a map what has other keys, or gaps", function()
    for _, value in ipairs { {}, { a = 1 }, { 1, a = 2 }, { [0] = 1 },
      { [2] = 1 }, { 1, [3] = 3 },
      { [1.5] = 1 }, { [-1] = 1 }, { 1, 2, [2.5] = 3 },
      { [math.maxinteger] = 1 } } do
      local packed = pack(value)
      assert.equal(0x80, packed:byte() & 0xf0)
      same(value, unpack(packed))
    end
  end)

  it("keeps the mark of empty lists only", function()
    assert.equal("90", hex(pack(array {})))
    assert.equal("91 01", hex(pack(array { 1 })))
    assert.equal("81 a1 61 01", hex(pack(array { a = 1 })))
    assert.equal("90", hex(pack(assert(unpack(pack(array {}))))))
    assert.is_nil(getmetatable(unpack(pack(array { 1 }))))
  end)

  it("fault C11: takes booleans for keys", function()
    assert.equal("81 c3 c2", hex(pack { [true] = false }))
    local value = { [true] = 1, [false] = { [true] = "a" }, b = 2, 3 }
    same(value, unpack(pack(value)))
  end)

  it("reads tables raw", function()
    local t = setmetatable({ a = 1 }, {
      __index = function() error("read") end,
      __pairs = function() error("walked") end,
      __len = function() error("measured") end,
    })

    assert.equal("81 a1 61 01", hex(pack(t)))
  end)

  it("names the place of what cannot be sent", function()
    local loop, odd = { a = {} }, setmetatable({}, { __name = "odd" })
    loop.a.b = { loop }
    for expected, value in pairs {
      ["message: a function cannot be sent"] = print,
      ["message: a thread cannot be sent"] = coroutine.create(print),
      ["message: a userdata cannot be sent"] = io.stdout,
      ["message[2]: a function cannot be sent"] = { 1, print },
      ["message.a.b: a function cannot be sent"] = { a = { b = print } },
      ["message[1][2].x[-3]: a userdata cannot be sent"] =
        { { 1, { x = { [-3] = io.stdout } } } },
      ["message[number]: a function cannot be sent"] = { [1.5] = print },
      ["message[boolean]: a function cannot be sent"] = { [true] = print },
      ["message: keys must be strings, numbers or booleans, not a userdata"] =
        { [null] = 1 },
      ["message.a: keys must be strings, numbers or booleans, not a table"] =
        { a = { [odd] = 1 } },
    } do
      assert.equal(expected, raised(value))
    end
    assert.matches("a table that contains itself cannot be sent$", raised(loop))
    assert.matches("^message%.a%.b%[1%]", raised(loop))
    assert.equal("message: a nil cannot be sent", raised(nil))
    assert.matches("value expected", raised())
  end)

  it("begins with the line that called it", function()
    local _, err = pcall(function() pack(print) end)

    assert.matches("^[^\n]*msgpack_encode_spec%.lua:%d+: message: ", err)
  end)

  it("keeps long and odd paths short", function()
    local deep = print
    for _ = 1, 50 do deep = { key = deep } end

    assert.equal("message" .. (".key"):rep(10)
      .. "...: a function cannot be sent", raised(deep))
    assert.equal("message." .. ("k"):rep(60) .. ": a function cannot be sent",
      raised { [("k"):rep(1000)] = print })
  end)

  it("takes 100 levels, and names cycles beyond", function()
    local ring = {}
    local last = ring
    for _ = 2, 100 do
      last[1] = {}
      last = last[1]
    end
    last[1] = ring

    same(nested(100), unpack(pack(nested(100))))
    assert.matches("more than 100 tables inside each other$",
      raised(nested(101)))
    assert.matches("more than 100 tables inside each other$",
      raised(nested(100000)))
    assert.matches("a table that contains itself cannot be sent$", raised(ring))
  end)

  it("sends a table twice that is there twice", function()
    local t = { 1 }

    same({ a = { 1 }, b = { 1 } }, unpack(pack { a = t, b = t }))
  end)

  it("gives 300 random values back as they were", function()
    local seed = tonumber(os.getenv("ORRERY_SEED")) or os.time()
    math.randomseed(seed)
    local random = math.random
    local function bits() return random(0) >> random(0, 63) end
    local function text()
      return string.pack("I8", random(0)):rep(random(0, 5)):sub(random(8))
    end
    local function real()
      return (string.unpack("d", string.pack("j", random(0))))
    end
    local function value(depth)
      local kind = random(depth > 0 and 8 or 5)
      if kind == 1 then return random() < 0.5 and bits() or -bits() end
      if kind == 2 then return text() end
      if kind == 3 then return random() < 0.5 end
      if kind == 4 then return null end
      if kind == 5 then return real() end
      local t = {}
      for i = 1, random(0, 20) do
        t[kind == 6 and i or kind == 7 and text() or bits()] = value(depth - 1)
      end
      return t
    end

    for i = 1, 300 do
      local v = value(4)
      assert.equal(show(v), show(unpack(pack(v))),
        ("ORRERY_SEED=%d, value %d"):format(seed, i))
    end
  end)
end)
