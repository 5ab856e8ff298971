local core = require "orrery.core"
local values = require "spec.fixture.values"

local pack, unpack, null, array = core.pack, core.unpack, core.null, core.array
local bytes, show = values.bytes, values.show
local list, map = values.list, values.map

local function same(expected, value)
  assert.equal(show(expected), show(value))
end

--- What unpack says of bytes that it refuses, without the beginning.
local function refused(data)
  local value, err = unpack(data)
  assert.is_nil(value)
  return (err:gsub("^not MessagePack: ", ""))
end

describe("core.unpack", function()
  it("reads every form of the specification, also the longer ones", function()
    for text, value in pairs {
      ["cc 01"] = 1, ["cd 00 01"] = 1, ["ce 00 00 00 01"] = 1,
      ["cf 00 00 00 00 00 00 00 01"] = 1, ["d0 01"] = 1, ["d1 00 01"] = 1,
      ["d2 00 00 00 01"] = 1, ["d3 00 00 00 00 00 00 00 01"] = 1,
      ["d0 ff"] = -1, ["d1 ff ff"] = -1, ["d2 ff ff ff ff"] = -1,
      ["d3 ff ff ff ff ff ff ff ff"] = -1, ["d9 01 61"] = "a",
      ["da 00 01 61"] = "a", ["db 00 00 00 01 61"] = "a", ["c4 01 61"] = "a",
      ["c5 00 01 61"] = "a", ["c6 00 00 00 01 61"] = "a",
      ["dc 00 01 61"] = { 0x61 }, ["dd 00 00 00 01 61"] = { 0x61 },
      ["de 00 01 a1 61 61"] = { a = 0x61 },
      ["df 00 00 00 01 a1 61 61"] = { a = 0x61 }, ["ca 3f c0 00 00"] = 1.5,
      ["ca 80 00 00 00"] = -0.0, ["ca 7f 80 00 00"] = math.huge,
      ["ca 00 00 00 01"] = 2.0 ^ -149,
      ["ca 7f 7f ff ff"] = 3.4028234663852886e38,
    } do
      same(value, unpack(bytes(text)))
    end
  end)

  it("makes floats of integers beyond 64 signed bits", function()
    same(2.0 ^ 63, unpack(bytes "cf 80 00 00 00 00 00 00 00"))
    same(2.0 ^ 64, unpack(bytes "cf ff ff ff ff ff ff ff ff"))
  end)

  it("reads NaN as a value, but not as a key", function()
    for _, nan in ipairs { "cb 7f f8 00 00 00 00 00 00", "ca ff c0 00 00" } do
      local value = unpack(bytes(nan))
      assert.is_true(value ~= value)
      assert.equal("a key is neither string, number nor boolean (byte " ..
        #bytes(nan) + 1 .. ")", refused(bytes("81" .. nan .. "01")))
    end
  end)

  it("reads keys of all kinds that Lua and MessagePack share", function()
    same({ [true] = 1, [false] = 2 }, unpack(bytes "82 c3 01 c2 02"))
    same({ [1.5] = 1, [3] = 2 },
      unpack(bytes "82 ca 3f c0 00 00 01 ca 40 40 00 00 02"))
    for _, key in ipairs { "c0", "90", "80" } do
      assert.matches("^a key is neither string, number nor boolean",
        refused(bytes("81" .. key .. "01")))
    end
  end)

  it("lets the last of equal keys win", function()
    same({ a = 2 }, unpack(bytes "82 a1 61 01 a1 61 02"))
    same({ 2 }, unpack(bytes "82 01 01 cb 3f f0 00 00 00 00 00 00 02"))
    same({ a = null }, unpack(bytes "82 a1 61 01 a1 61 c0"))
  end)

  it("makes lists of empty arrays, and nothing of empty maps", function()
    same({ array {}, {} }, unpack(bytes "92 90 80"))
    same({ array {}, {} }, unpack(bytes "92 dc 00 00 de 00 00"))
    same({ array {}, {} }, unpack(bytes "92 dd 00 00 00 00 df 00 00 00 00"))
  end)

  it("refuses a message that is cut at any byte", function()
    local message =
      bytes("dc 00 15" .. "c0 c2 c3 05 f0 cc ff cd 01 00 ce 00 01 00 00"
      .. "cf 00 00 00 01 00 00 00 00 d0 80 d1 80 00 d2 80 00 00 00"
      .. "d3 80 00 00 00 00 00 00 00"
      .. "ca 3f c0 00 00 cb 3f f8 00 00 00 00 00 00 a1 61 d9 01 61 c4 01 ff"
      .. "82 a1 61 91 01 05 90 de 00 00 93 01 02 03")

    assert.is_table(unpack(message))
    for n = 0, #message - 1 do
      assert.matches("^it ends too early %(byte %d+%)$",
        refused(message:sub(1, n)))
    end
    assert.equal("something follows the value", refused(message .. "\0"))
    assert.equal("it ends too early (byte 0)", refused "")
  end)

  it("refuses counts and lengths that are lies, at no cost", function()
    collectgarbage("stop")
    local before = collectgarbage("count")
    for _, head in ipairs { "df ff ff ff ff", "dd ff ff ff ff",
      "db ff ff ff ff", "c6 ff ff ff ff",
      "de ff ff", "dc ff ff", "da ff ff", "c5 ff ff", "9f", "8f", "bf", "c4 01",
      "d9 ff" } do
      for _, more in ipairs { "", "01", "01 02" } do
        local data = bytes(head .. (head == "c4 01" and "" or more))
        assert.matches("^it ends too early", refused(data))
      end
    end
    local used = collectgarbage("count") - before
    collectgarbage("restart")
    assert.is_true(used < 1000)
  end)

  it("refuses what is no value", function()
    assert.equal("0xc1 is no value (byte 1)", refused(bytes "c1"))
    for _, tag in ipairs { "c7", "c8", "c9", "d4", "d5", "d6", "d7", "d8" } do
      assert.equal("extension types are not known here (byte 2)",
        refused(bytes("91" .. tag .. "01 01 01 01 01 01 01 01 01 01")))
    end
    assert.equal("0xc1 is no value (byte 5)", refused(bytes "93 01 a1 61 c1"))
  end)

  it("takes 100 levels, and refuses more with little effort", function()
    for _, open in ipairs { "91", "81 01", "dc 00 01",
      "df 00 00 00 01 a1 61" } do
      assert.is_table(unpack(bytes((open):rep(100) .. "01")))
      assert.matches("^more than 100 tables are inside each other",
        refused(bytes((open):rep(101) .. "01")))
    end
    assert.matches("^more than 100 tables", refused(("\x91"):rep(1000000)))
  end)

  it("refuses keys that were made to collide, and takes others, "
    .. "however many", function()
    local function keys(n, format, key)
      local parts = { string.pack(">BI4", 0xdf, n) }
      for i = 1, n do parts[i + 1] = string.pack(format, key(i)) .. "\xc0" end
      return table.concat(parts)
    end
    -- 31 bits count
    local function same_hash(i) return 0xcb, 0x3ff0000000000000 + i end
    local function same_place(i) return 0xd3, i * 65535 end -- of 65536 places

    assert.matches("^keys of a map are made to collide",
      refused(keys(65536, ">Bi8", same_place)))
    assert.is_table(unpack(keys(5000, ">BI8", same_hash)))
    assert.is_table(
      unpack(keys(50000, ">Bi8", function(i) return 0xd3, i * i * i end)))
    assert.is_table(
      unpack(keys(50000, ">Bi8", function(i) return 0xd3, -i << 20 end)))
    assert.is_table(
      unpack(keys(200000, ">BI4", function(i) return 0xce, i * 10 end)))
  end)

  it("takes so many fractions for keys, in one map or in many", function()
    local function fractions(n)
      local parts = { string.pack(">BI4", 0xdf, n) }
      for i = 1, n do
        parts[i + 1] = string.pack(">Bd", 0xcb, i + 0.5) .. "\xc0"
      end
      return table.concat(parts)
    end

    assert.is_table(unpack(fractions(20000)))
    for _, data in ipairs { fractions(24000),
      "\x93" .. fractions(15000):rep(3) } do
      assert.matches("^keys of a map are made to collide", refused(data))
    end
  end)

  it("makes no room for counts that are lies inside each other", function()
    local n = 1 << 16
    for head, more in pairs {
      [string.pack(">BI4", 0xdf, n // 2)] = "\1",
      [string.pack(">BI4", 0xdd, n)] = "",
    } do
      local data = (head .. more):rep(100) .. ("\xc0"):rep(n)
      collectgarbage()
      local before = collectgarbage("count")
      assert.equal("it ends too early (byte " .. 2 * #head + #more .. ")",
        refused(data))
      assert.is_true(collectgarbage("count") - before < 2048)
    end
  end)

  it("survives 20,000 messages with random damage", function()
    local seed = tonumber(os.getenv("ORRERY_SEED")) or os.time()
    math.randomseed(seed)
    local message = pack { 1, -1, 1e300, "text", "\xff\xfe",
      { a = { b = { null, true } } },
      list(20, 300), map(20), array {}, ("long"):rep(20) }
    for i = 1, 20000 do
      local from = math.random(#message)
      local damaged = message:sub(1, from - 1)
        .. string.char(math.random(0, 255))
        .. message:sub(from + math.random(0, 2))
      local value, err = unpack(damaged)
      assert.is_true(value ~= nil or type(err) == "string",
        ("ORRERY_SEED=%d, message %d: %q"):format(seed, i, damaged))
    end
  end)

  it("raises for what is no string", function()
    for _, bad in ipairs { true, {}, print } do
      assert.has_error(function() unpack(bad) end)
    end
    assert.has_error(function() unpack() end)
  end)
end)
