local helper = require "spec.helper"
local core = require "orrery.core"

local pack, unpack, null, array = core.pack, core.unpack, core.null, core.array

--- Bytes from "c3 00", in which anything but hex digits is a blank.
local function bytes(text)
  return (text:gsub("%X", ""):gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end))
end

local function hex(data)
  return (data:gsub(".", function(c) return ("%02x "):format(c:byte()) end):sub(1, -2))
end

--- A value as a text that also tells integers from floats and lists from maps.
local function show(value)
  if value == null then return "null" end
  if math.type(value) == "float" then return ("%a"):format(value) end
  if type(value) ~= "table" then return ("%q"):format(value) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = show(key) .. "=" .. show(item) end
  table.sort(parts)
  return (getmetatable(value) and "list" or "") .. "{" .. table.concat(parts, ",") .. "}"
end

local function same(expected, value)
  assert.equal(show(expected), show(value))
end

local function raised(...)
  local ok, err = pcall(pack, ...)
  assert.is_false(ok)
  return (err:gsub("^[^ ]+%.lua:%d+: ", ""))
end

--- What unpack says of bytes that it refuses, without the beginning.
local function refused(data)
  local value, err = unpack(data)
  assert.is_nil(value)
  return (err:gsub("^not MessagePack: ", ""))
end

--- Tables inside each other: `n` of them.
local function nested(n)
  local t = {}
  for _ = 2, n do t = { t } end
  return t
end

--- A list of n items.
local function list(n, item)
  local t = {}
  for i = 1, n do t[i] = item end
  return t
end

--- A map of n pairs.
local function map(n)
  local t = {}
  for i = 1, n do t["key " .. i] = i end
  return t
end

describe("core.pack", function()
  it("writes what the specification of MessagePack says, byte by byte", function()
    for text, value in pairs {
      ["c0"] = null, ["c2"] = false, ["c3"] = true,
      ["00"] = 0, ["7f"] = 127, ["ff"] = -1, ["e0"] = -32,
      ["cb 00 00 00 00 00 00 00 00"] = 0.0, ["cb 80 00 00 00 00 00 00 00"] = -0.0,
      ["cb 3f f8 00 00 00 00 00 00"] = 1.5, ["cb 40 08 00 00 00 00 00 00"] = 3.0,
      ["cb 7f f0 00 00 00 00 00 00"] = math.huge, ["cb ff f0 00 00 00 00 00 00"] = -math.huge,
      ["a0"] = "", ["a1 61"] = "a", ["a2 c3 a9"] = "é", ["c4 01 ff"] = "\xff",
      ["80"] = {}, ["90"] = array {}, ["93 01 a1 32 c3"] = { 1, "2", true },
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
      [127] = "7f", [128] = "cc 80", [255] = "cc ff", [256] = "cd 01 00", [65535] = "cd ff ff",
      [65536] = "ce 00 01 00 00", [0xffffffff] = "ce ff ff ff ff",
      [0x100000000] = "cf 00 00 00 01 00 00 00 00",
      [math.maxinteger] = "cf 7f ff ff ff ff ff ff ff",
      [-32] = "e0", [-33] = "d0 df", [-128] = "d0 80", [-129] = "d1 ff 7f",
      [-32768] = "d1 80 00", [-32769] = "d2 ff ff 7f ff", [-2147483648] = "d2 80 00 00 00",
      [-2147483649] = "d3 ff ff ff ff 7f ff ff ff",
      [math.mininteger] = "d3 80 00 00 00 00 00 00 00",
    } do
      assert.equal(text, hex(pack(value)))
      same(value, unpack(bytes(text)))
    end
  end)

  it("writes text as str and other bytes as bin, in the shortest form", function()
    for n, heads in pairs {
      [31] = { "bf", "c4 1f" }, [32] = { "d9 20", "c4 20" }, [255] = { "d9 ff", "c4 ff" },
      [256] = { "da 01 00", "c5 01 00" }, [65535] = { "da ff ff", "c5 ff ff" },
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
    for _, text in ipairs { "\0", "\x7f", "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}",
      "\u{ffff}", "\u{10000}", "\u{10ffff}", "12345678é", "1234567é12345678é" } do
      assert.equal(0xa0 | #text, pack(text):byte())
    end
    for _, text in ipairs { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf",
      "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf0\x90\x80",
      "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3\x28", "12345678\xff", "é\xe9" } do
      assert.equal(0xc4, pack(text):byte())
    end
  end)

  it("writes lists and maps in the shortest form", function()
    for n, heads in pairs {
      [15] = { "9f", "8f" }, [16] = { "dc 00 10", "de 00 10" },
      [65535] = { "dc ff ff", "de ff ff" }, [65536] = { "dd 00 01 00 00", "df 00 01 00 00" },
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
    for _, value in ipairs { {}, { a = 1 }, { 1, a = 2 }, { [0] = 1 }, { [2] = 1 }, { 1, [3] = 3 },
      { [1.5] = 1 }, { [-1] = 1 }, { 1, 2, [2.5] = 3 }, { [math.maxinteger] = 1 } } do
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

  it("reads tables raw", function()
    local t = setmetatable({ a = 1 }, {
      __index = function() error("read") end, __pairs = function() error("walked") end,
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
      ["message: keys must be strings or numbers, not a boolean"] = { [true] = 1 },
      ["message.a: keys must be strings or numbers, not a table"] = { a = { [odd] = 1 } },
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

    assert.matches("^[^\n]*msgpack_spec%.lua:%d+: message: ", err)
  end)

  it("keeps long and odd paths short", function()
    local deep = print
    for _ = 1, 50 do deep = { key = deep } end

    assert.equal("message" .. (".key"):rep(10) .. "...: a function cannot be sent", raised(deep))
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
    assert.matches("more than 100 tables inside each other$", raised(nested(101)))
    assert.matches("more than 100 tables inside each other$", raised(nested(100000)))
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
    local function text() return string.pack("I8", random(0)):rep(random(0, 5)):sub(random(8)) end
    local function real() return (string.unpack("d", string.pack("j", random(0)))) end
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
      assert.equal(show(v), show(unpack(pack(v))), ("ORRERY_SEED=%d, value %d"):format(seed, i))
    end
  end)
end)

describe("core.array and core.null", function()
  it("mark lists and stand for nil", function()
    local t = {}

    assert.equal(t, array(t))
    assert.equal(t, array(t))
    assert.equal(null, unpack(pack(null)))
    same({ null, { a = null } }, unpack(pack { null, { a = null } }))
  end)

  it("leave metatables of others alone", function()
    assert.has_error(function() array(setmetatable({}, {})) end,
      "bad argument #1 to 'array' (a table with a metatable of its own)")
    assert.has_error(function() array(1) end)
  end)
end)

describe("core.unpack", function()
  it("reads every form of the specification, also the longer ones", function()
    for text, value in pairs {
      ["cc 01"] = 1, ["cd 00 01"] = 1, ["ce 00 00 00 01"] = 1, ["cf 00 00 00 00 00 00 00 01"] = 1,
      ["d0 01"] = 1, ["d1 00 01"] = 1, ["d2 00 00 00 01"] = 1, ["d3 00 00 00 00 00 00 00 01"] = 1,
      ["d0 ff"] = -1, ["d1 ff ff"] = -1, ["d2 ff ff ff ff"] = -1,
      ["d3 ff ff ff ff ff ff ff ff"] = -1,
      ["d9 01 61"] = "a", ["da 00 01 61"] = "a", ["db 00 00 00 01 61"] = "a",
      ["c4 01 61"] = "a", ["c5 00 01 61"] = "a", ["c6 00 00 00 01 61"] = "a",
      ["dc 00 01 61"] = { 0x61 }, ["dd 00 00 00 01 61"] = { 0x61 },
      ["de 00 01 a1 61 61"] = { a = 0x61 }, ["df 00 00 00 01 a1 61 61"] = { a = 0x61 },
      ["ca 3f c0 00 00"] = 1.5, ["ca 80 00 00 00"] = -0.0, ["ca 7f 80 00 00"] = math.huge,
      ["ca 00 00 00 01"] = 2.0 ^ -149, ["ca 7f 7f ff ff"] = 3.4028234663852886e38,
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
    same({ [1.5] = 1, [3] = 2 }, unpack(bytes "82 ca 3f c0 00 00 01 ca 40 40 00 00 02"))
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
    local message = bytes("dc 00 15" .. "c0 c2 c3 05 f0 cc ff cd 01 00 ce 00 01 00 00"
      .. "cf 00 00 00 01 00 00 00 00 d0 80 d1 80 00 d2 80 00 00 00 d3 80 00 00 00 00 00 00 00"
      .. "ca 3f c0 00 00 cb 3f f8 00 00 00 00 00 00 a1 61 d9 01 61 c4 01 ff"
      .. "82 a1 61 91 01 05 90 de 00 00 93 01 02 03")

    assert.is_table(unpack(message))
    for n = 0, #message - 1 do
      assert.matches("^it ends too early %(byte %d+%)$", refused(message:sub(1, n)))
    end
    assert.equal("something follows the value", refused(message .. "\0"))
    assert.equal("it ends too early (byte 0)", refused "")
  end)

  it("refuses counts and lengths that are lies, at no cost", function()
    collectgarbage("stop")
    local before = collectgarbage("count")
    for _, head in ipairs { "df ff ff ff ff", "dd ff ff ff ff", "db ff ff ff ff", "c6 ff ff ff ff",
      "de ff ff", "dc ff ff", "da ff ff", "c5 ff ff", "9f", "8f", "bf", "c4 01", "d9 ff" } do
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
    for _, open in ipairs { "91", "81 01", "dc 00 01", "df 00 00 00 01 a1 61" } do
      assert.is_table(unpack(bytes((open):rep(100) .. "01")))
      assert.matches("^more than 100 tables are inside each other",
        refused(bytes((open):rep(101) .. "01")))
    end
    assert.matches("^more than 100 tables", refused(("\x91"):rep(1000000)))
  end)

  it("refuses keys that were made to collide, and takes others, however many", function()
    local function keys(n, format, key)
      local parts = { string.pack(">BI4", 0xdf, n) }
      for i = 1, n do parts[i + 1] = string.pack(format, key(i)) .. "\xc0" end
      return table.concat(parts)
    end
    local function same_hash(i) return 0xcb, 0x3ff0000000000000 + i end -- 31 bits count
    local function same_place(i) return 0xd3, i * 65535 end -- of 65536 places

    assert.matches("^keys of a map are made to collide",
      refused(keys(65536, ">Bi8", same_place)))
    assert.is_table(unpack(keys(5000, ">BI8", same_hash)))
    assert.is_table(unpack(keys(50000, ">Bi8", function(i) return 0xd3, i * i * i end)))
    assert.is_table(unpack(keys(50000, ">Bi8", function(i) return 0xd3, -i << 20 end)))
    assert.is_table(unpack(keys(200000, ">BI4", function(i) return 0xce, i * 10 end)))
  end)

  it("takes so many fractions for keys, in one map or in many", function()
    local function fractions(n)
      local parts = { string.pack(">BI4", 0xdf, n) }
      for i = 1, n do parts[i + 1] = string.pack(">Bd", 0xcb, i + 0.5) .. "\xc0" end
      return table.concat(parts)
    end

    assert.is_table(unpack(fractions(20000)))
    for _, data in ipairs { fractions(24000), "\x93" .. fractions(15000):rep(3) } do
      assert.matches("^keys of a map are made to collide", refused(data))
    end
  end)

  it("makes no room for counts that are lies inside each other", function()
    local n = 1 << 16
    for head, more in pairs {
      [string.pack(">BI4", 0xdf, n // 2)] = "\1", [string.pack(">BI4", 0xdd, n)] = "",
    } do
      local data = (head .. more):rep(100) .. ("\xc0"):rep(n)
      collectgarbage()
      local before = collectgarbage("count")
      assert.equal("it ends too early (byte " .. 2 * #head + #more .. ")", refused(data))
      assert.is_true(collectgarbage("count") - before < 2048)
    end
  end)

  it("survives 20,000 messages with random damage", function()
    local seed = tonumber(os.getenv("ORRERY_SEED")) or os.time()
    math.randomseed(seed)
    local message = pack { 1, -1, 1e300, "text", "\xff\xfe", { a = { b = { null, true } } },
      list(20, 300), map(20), array {}, ("long"):rep(20) }
    for i = 1, 20000 do
      local from = math.random(#message)
      local damaged = message:sub(1, from - 1) .. string.char(math.random(0, 255))
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

describe("a channel of the core", function()
  --- Two ends that are connected.
  local function channels(framing, max)
    local a, b = core.socketpair()
    return core.fork(a, framing or "frames", max or 1 << 26),
      core.fork(b, framing or "frames", max or 1 << 26)
  end

  --- Frames of a hostile peer: what `next` says of them.
  local function hostile(...)
    local a, b = core.socketpair()
    local channel = core.fork(b, "frames", 1000)
    for _, frame in ipairs { ... } do a:write(frame) end
    channel:receive()
    local results = table.pack(channel:next())
    a:close()
    channel:close()
    return table.unpack(results, 1, results.n)
  end

  local function frame(kind, flags, n, payload)
    return string.pack("<I4BBI2", #payload, kind, flags, n) .. payload
  end

  local function count_fds()
    local count = 0
    for _ in pairs(helper.fds()) do count = count + 1 end
    return count
  end

  local errnos = core.errnos

  it("says what is wrong with a frame in its own words", function()
    for text, data in pairs {
      ["not MessagePack: something follows the value"] = frame(0, 0, 0, "\xa3abc\0"),
      ["not MessagePack: it ends too early (byte 0)"] = frame(0, 0, 0, ""),
      ["a request without an id"] = frame(1, 0, 0, "\1\0\0"),
      ["a frame makes no sense"] = frame(3, 0, 0, "\0\0\0\0"),
    } do
      assert.same({ false, errnos.EPROTO, text }, { hostile(data) })
    end
    assert.same({ false, errnos.EMSGSIZE, "a message is too long" },
      { hostile(frame(0, 0, 0, ("\0"):rep(1009))) })
    assert.same({ false, errnos.EPROTO, "a frame makes no sense" },
      { hostile(frame(0, 1, 0, "\0\0\0\0\x80\x80")) })
  end)

  it("says that a handle was lost which no fd came with", function()
    local set = frame(3, 0, 1, "\7\0\0\0")

    assert.same({ 0, "x", 0, 1, {}, false }, { hostile(set, frame(0, 1, 0, "\7\0\0\0\x80\xa1x")) })
    assert.same({ false, errnos.EPROTO, "a handle is not described" },
      { hostile(set, frame(0, 1, 0, "\7\0\0\0\xc2\xa1x")) })
  end)

  it("skips frames of types that it does not know", function()
    assert.same({ 0, 5 }, { hostile(frame(200, 0, 9, "\xc1"), frame(0, 0, 0, "\5")) })
  end)

  it("says with a frame what there may be more of", function()
    local a, b = channels()
    assert.same({ nil, errnos.EAGAIN }, { b:fetch(true) })
    for i = 1, 2 do a:send(i) end
    a:flush()

    assert.same({ 1, 0, 1 }, { b:fetch(true) })
    assert.same({ 0, 0, 2 }, { b:fetch() })
    assert.same({ 0 }, { b:fetch() })

    a:send(("x"):rep(5000)) -- more than a first read takes
    a:flush()
    assert.same({ 2 }, { b:fetch(true) })
    assert.same({ 0, 0, ("x"):rep(5000) }, { b:fetch(true) })
    a:close()
    assert.same({}, { b:fetch(true) })
    b:close()
    assert.same({ nil, errnos.EBADF }, { b:fetch(true) })
  end)

  it("takes nothing once it is closed, not even from a finalizer", function()
    local a, b = channels()
    a:close()
    b:close()

    assert.same({ nil, errnos.EBADF }, { a:send(1) })
    assert.same({ nil, errnos.EBADF }, { a:line("x") })
    assert.same({ nil, errnos.EBADF }, { a:post(0, 0, 1) })
    assert.same({ nil, errnos.EBADF }, { a:flush() })
    assert.same({ nil, errnos.EBADF }, { a:receive() })
    assert.is_nil(a:next())
    assert.equal("channel (closed)", tostring(a))
  end)

  for _, deed in ipairs { "close", "receive" } do
    it("is safe from a finalizer that calls " .. deed .. " while a message is decoded", function()
      local a, b = channels()
      local on, deeds = true, 0
      local function arm()
        setmetatable({}, { __gc = function()
          if not on then return end
          deeds = deeds + 1
          if deed == "receive" then a:send(("x"):rep(200000)) a:flush() end
          b[deed](b)
          arm()
        end })
      end
      local items = {}
      -- Enough for the collector to get round, however large the heap is already.
      local n = 5000 + collectgarbage("count") * 4 // 1 | 0
      for i = 1, n do items[i] = { "item " .. i } end
      a:send(items)
      repeat local done = a:flush() until not b:receive() and done
      arm()
      local mode = collectgarbage("incremental", 50, 1000)
      local ok, errno, text = b:next()
      on = false
      collectgarbage(mode)
      a:close()
      b:close()

      assert.is_true(deeds > 0)
      assert.same({ false, errnos.EPROTO }, { ok, errno })
      assert.matches("a finalizer closed or read the channel meanwhile", text)
    end)
  end

  it("sends a long string as far as the socket takes it, and the rest behind it", function()
    local a, b = channels("frames", 1 << 20)
    local long = ("x"):rep(1000000) .. "\xff"
    local queued = a:send(long)
    local accepted, sent = a:totals()

    assert.is_true(sent > 0 and queued == accepted - sent)
    assert.same({ nil, errnos.EMSGSIZE }, { a:send(("x"):rep((1 << 20) + 1)) })
    assert.equal(queued + 9, a:send(1)) -- one byte and a header behind it
    local values = {}
    repeat
      a:flush()
      b:receive()
      local kind, value = b:next()
      if kind then values[#values + 1] = value end
    until #values == 2
    assert.is_true(values[1] == long)
    assert.equal(1, values[2])
    assert.equal(0, a:send(("y"):rep(65536)))
    b:close()
    assert.equal(65536 + 5 + 8, a:send(("z"):rep(65536))) -- flush says why
    assert.same({ nil, errnos.EPIPE }, { a:flush() })
    a:close()
  end)

  it("closes fds that nobody asks for", function()
    local a, b = channels("lines")
    local before = count_fds()
    local file = core.open("/dev/null")
    for i = 1, 100 do
      a:line("line " .. i, file:fileno())
      a:flush()
      b:receive()
      assert.equal("line " .. i, select(2, b:next()))
    end
    a:line("handle", file:fileno())
    a:flush()
    b:receive()
    b:next()
    local fd = b:take_fd()
    local none = b:take_fd()
    local after = count_fds()
    fd:close()
    file:close()
    a:close()
    b:close()

    assert.is_nil(none)
    assert.is_true(after <= before + 3)
  end)
end)
