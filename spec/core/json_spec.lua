local helper = require "spec.helper"
local json = require "orrery.json"
local orrery = require "orrery"

local encode, decode, run = json.encode, json.decode, helper.run
local null = decode("null")
local has_node = os.execute("node --version >/dev/null 2>&1")

--- A value as a text that also tells integers from floats and lists from maps.
local function show(value)
  if value == null then return "null" end
  if math.type(value) == "float" then return ("%a"):format(value) end
  if type(value) ~= "table" then return ("%q"):format(value) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = show(key) .. "=" .. show(item) end
  table.sort(parts)
  local kind = getmetatable(value) and "list" or ""
  return kind .. "{" .. table.concat(parts, ",") .. "}"
end

local function list(t)
  return setmetatable(t or {}, getmetatable(decode("[]")))
end

local function raised(...)
  local ok, err = pcall(encode, ...)
  assert.is_false(ok)
  return err
end

local function refused(text)
  local value, err = decode(text)
  assert.is_nil(value)
  assert.is_string(err)
  return err
end

--- Tables inside each other: `n` of them.
local function nested(n)
  local t = { 1 }
  for _ = 2, n do t = { t } end
  return t
end

--- Runs a JavaScript program on lines and gives its lines. [w]
local function node(program, lines)
  local result = assert(orrery.run("node", { "-e", [[
    const lines = require('fs').readFileSync(0, 'utf8').split('\n').slice(0, -1);
  ]] .. program }, { input = table.concat(lines, "\n") .. "\n", check = true }))
  local out = {}
  for line in result.stdout:gmatch("([^\n]*)\n") do out[#out + 1] = line end
  return out
end

describe("json.encode", function()
  it("writes what is no table", function()
    for expected, value in pairs {
      ["true"] = true, ["false"] = false, ["null"] = null, ['""'] = "", ['"a b"'] = "a b",
      ["0"] = 0, ["-1"] = -1, ["9223372036854775807"] = math.maxinteger,
      ["-9223372036854775808"] = math.mininteger,
    } do
      assert.equal(expected, encode(value))
    end
  end)

  it("keeps floats floats, in their shortest form", function()
    for expected, value in pairs {
      ["3.0"] = 3.0, ["-0.0"] = -0.0, ["0.1"] = 0.1, ["-1.5"] = -1.5, ["1e-7"] = 1e-7,
      ["0.000001"] = 1e-6, ["1e+21"] = 1e21, ["100000000000000000000.0"] = 1e20,
      ["9223372036854776000.0"] = 2.0 ^ 63, ["0.30000000000000004"] = 0.1 + 0.2,
      ["5e-324"] = 5e-324, ["2.2250738585072014e-308"] = 2.2250738585072014e-308,
      ["1.7976931348623157e+308"] = 1.7976931348623157e308, ["1.25e-9"] = 1.25e-9,
    } do
      assert.equal(expected, encode(value))
      assert.equal(show(value), show(decode(expected)))
    end
  end)

  it("writes null for what is no number, as JavaScript does", function()
    assert.equal("[null,null,null]", encode { 0 / 0, math.huge, -math.huge })
  end)

  it("escapes no more than it must", function()
    assert.equal([["\"\\/\b\f\n\r\t\u0000\u0001\u001f]] .. "\x7fé\u{2028}\u{1f600}\"",
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
      ['{"0":1}'] = 0, ['{"-7":1}'] = -7, ['{"1.5":1}'] = 1.5, ['{"1e+21":1}'] = 1e21,
      ['{"1e-7":1}'] = 1e-7, ['{"Infinity":1}'] = math.huge, ['{"-Infinity":1}'] = -math.huge,
      ['{"9223372036854775807":1}'] = math.maxinteger,
    } do
      assert.equal(expected, encode { [key] = 1 })
    end
    assert.equal(show { ["1"] = "a", ["2"] = "b", ["4"] = "d" },
      show(decode(encode { "a", "b", [4] = "d" })))
  end)

  it("reads tables raw", function()
    local t = setmetatable({ a = 1 }, {
      __index = function() error("read") end, __pairs = function() error("walked") end,
    })

    assert.equal('{"a":1}', encode(t))
  end)

  it("names the place of what cannot be sent", function()
    assert.equal("message: a function cannot be sent", raised(print))
    assert.equal("message: a thread cannot be sent", raised(coroutine.create(print)))
    assert.equal("message: a userdata cannot be sent", raised(io.stdout))
    assert.equal("message.a.b: a function cannot be sent", raised { a = { b = print } })
    assert.equal("message[2].x[-3]: a userdata cannot be sent",
      raised { 1, { x = { [-3] = io.stdout } } })
    assert.equal("message: nil cannot be sent", raised(nil))
    assert.equal("message: nil cannot be sent", raised())
  end)

  it("speaks of what its caller calls the value", function()
    assert.equal("reply.a: a function cannot be sent", raised({ a = print }, "reply"))
    assert.equal("nil cannot be sent", raised(nil, ""):match("^: (.*)"))
    assert.equal('{"a":1}', encode({ a = 1 }, "reply"))
  end)

  it("raises for keys that are neither strings nor numbers", function()
    assert.equal("message.a[boolean]: a boolean cannot be a key in JSON",
      raised { a = { [true] = 1 } })
    assert.equal("message[table]: a table cannot be a key in JSON", raised { [{}] = 1 })
    assert.equal("message[userdata]: a userdata cannot be a key in JSON",
      raised { [null] = 1 })
  end)

  it("raises where a number's key would be there twice", function()
    assert.equal("message.a[7]: the key is there twice, as number and string",
      raised { a = { [7] = 1, ["7"] = 2 } })
  end)

  it("raises for strings that are not UTF-8", function()
    local why = ': not UTF-8, which JSON needs (serialization "msgpack" takes any bytes)'
    for _, bad in ipairs {
      "\xff", "a\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
      "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82",
      "é\xf0\x9f\x98", "\xc3(", "\xe2\x82(",
    } do
      assert.equal("message.a[1]" .. why, raised { a = { bad } })
      assert.equal("message." .. bad .. why, raised { [bad] = 1 })
    end
    for _, good in ipairs { "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}",
      "\u{ffff}", "\u{10000}", "\u{10ffff}" } do
      assert.equal('"' .. good .. '"', encode(good))
    end
  end)

  it("takes 100 tables inside each other", function()
    assert.equal(("["):rep(100) .. "1" .. ("]"):rep(100), encode(nested(100)))
    assert.matches(": more than 100 tables inside each other$", raised(nested(101)))
    assert.matches(": more than 100 tables inside each other$", raised(nested(100000)))
    local cycle = {}
    cycle.a = { cycle }
    assert.matches("^message%.a%[1%].*: a table that contains itself cannot be sent$",
      raised(cycle))
  end)

  it("takes a table that is there twice", function()
    local t = { 1 }

    assert.equal("[[1],[1]]", encode { t, t })
  end)
end)

describe("json.decode", function()
  it("refuses more values than anybody sends, and no long string", function()
    local value, err = decode("[" .. ("[],"):rep(3000000) .. "1]")
    assert.is_nil(value)
    assert.matches("more than 4194304 values", err)
    assert.equal(9000000, #decode('["' .. ("[],"):rep(3000000) .. '"]')[1])
    assert.equal(1000000, #decode("[" .. ("1,"):rep(999999) .. "1]"))
  end)

  it("reads one value of any type", function()
    for text, value in pairs {
      ["true"] = true, [" false\n"] = false, ["null"] = null, ['""'] = "",
      ['"a\\u0000b"'] = "a\0b", ["7"] = 7, ["-0"] = 0, ["1.0"] = 1.0, ["1e2"] = 100.0,
      ["-1.5"] = -1.5,
      ["9223372036854775807"] = math.maxinteger, ["-9223372036854775808"] = math.mininteger,
      ['{"a":{"b":[]}}'] = { a = { b = list() } }, ["[[],{}]"] = { list(), {} },
      ['[1,null,"\\ud83d\\ude00\\u00e9\\/"]'] = { 1, null, "\u{1f600}é/" },
      [' [ 1 , 2 ] '] = { 1, 2 }, ['{"a":1,"b":2,"a":3}'] = { a = 3, b = 2 },
      ['{"":1}'] = { [""] = 1 },
    } do
      assert.equal(show(value), show(decode(text)))
    end
  end)

  it("makes floats of integers beyond 64 bits, and of no others", function()
    local text = '[18446744073709552000,9007199254740993,{"9223372036854775808":'
      .. "[9223372036854775808,9223372036854775807,-9223372036854775809,"
      .. '-9223372036854775808]},"18446744073709552000",1.5,1e3]'

    assert.equal(show { 2.0 ^ 64, 9007199254740993, { ["9223372036854775808"] =
      { 2.0 ^ 63, math.maxinteger, -2.0 ^ 63, math.mininteger } },
      "18446744073709552000", 1.5, 1000.0 }, show(decode(text)))
    assert.equal(show(2.0 ^ 64), show(decode("18446744073709552000")))
    assert.equal(show(1e300), show(decode("1" .. ("0"):rep(300))))
  end)

  it("makes U+FFFD of half a surrogate pair", function()
    for text, value in pairs {
      ["\\ud800"] = "\u{fffd}", ["\\uDFFF"] = "\u{fffd}", ["\\ud800\\u0041"] = "\u{fffd}A",
      ["\\udc00\\ud800"] = "\u{fffd}\u{fffd}", ["\\ud800\\ud83d\\ude00"] = "\u{fffd}\u{1f600}",
      ["a\\ud800b\\\\ud800\\n\\\"\\udfff"] = "a\u{fffd}b\\ud800\n\"\u{fffd}",
      ["\\ud83d\\ude00\\ude00"] = "\u{1f600}\u{fffd}", ["\\ud800é"] = "\u{fffd}é",
    } do
      assert.equal(show { value }, show(decode('["' .. text .. '"]')))
      assert.equal(show { [value] = 1 }, show(decode('{"' .. text .. '":1}')))
    end
  end)

  it("reads keys with NUL", function()
    assert.equal(show { ["\0"] = "\0a\0", ["a\0b"] = { "\u{fdd0}", "\\u0000" } },
      show(decode([[{"\u0000":"\u0000a\u0000","a\u0000b":["\ufdd0","\\u0000"]}]])))
    assert.equal(show { ["\0"] = "\u{fdd0}\u{fdd1}\u{fdd2}" },
      show(decode('{"\\u0000":"\u{fdd0}\\uFDD1\u{fdd2}"}')))
  end)

  it("refuses keys with NUL where nothing can stand for it", function()
    local all = ""
    for code = 0xfdd0, 0xfdef do all = all .. utf8.char(code) end

    assert.equal(show { all .. "\0" }, show(decode('["' .. all .. '\\u0000"]')))
    assert.matches("NUL byte", refused('{"\\u0000":"' .. all .. '"}'))
  end)

  it("refuses what is no JSON, and says where", function()
    for text, why in pairs {
      [""] = "at byte 0: unexpected token near end of file", [" \n"] = "near end of file",
      ["[1,2"] = "at byte 4: ']' expected near end of file", ["[1,]"] = "near ']'",
      ["nul"] = "invalid token near 'nul'", ["nothing"] = "'nothing'", ["'a'"] = "near '''",
      ["1 2"] = "end of file expected near '2'", ["{}{}"] = "end of file expected",
      ['{"a"}'] = "':' expected", ['{a:1}'] = "string or '}' expected",
      ["[1 2]"] = "']' expected", ['"a'] = "premature end of input",
      ['"\\x"'] = "invalid escape", ['"\\u12"'] = "invalid escape",
      ['"\n"'] = "unexpected newline", ['"\1"'] = "control character 0x1", ["01"] = "near '0'",
      ["+1"] = "near '+'", [".5"] = "near '.'", ["1."] = "near '1.'", ["1e"] = "near '1e'",
      ["-"] = "near '-'", ["NaN"] = "'NaN'", ["\u{feff}1"] = "invalid token", ["]"] = "near ']'",
      ['["\\ud800",'] = "']' expected", ["1e999"] = "overflow", ["-1e999"] = "overflow",
      ["1" .. ("0"):rep(400)] = "overflow", ["\\"] = "near '\\'", ['"\\'] = "", ['"\\u'] = "",
      ['"\\ud800'] = "", ['["\\ud800\\'] = "", ['{"\\u0000'] = "", ["1.5.5"] = "near",
    } do
      local err = refused(text)
      assert.matches("^invalid JSON at byte %d+: ", err)
      assert.is_truthy(err:find(why, 1, true), ("%q: %s"):format(text, err))
    end
  end)

  it("refuses text that is not UTF-8", function()
    for _, bad in ipairs {
      "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "\x80",
    } do
      assert.matches("unable to decode byte 0x", refused('["' .. bad .. '"]'))
      assert.matches("unable to decode byte 0x", refused(bad))
    end
  end)

  it("refuses NUL bytes", function()
    for _, text in ipairs { "\0", "1\0", "\0001", '"a\0b"', "[1\0,2]", "true\0", "12\0003" } do
      assert.equal(("invalid JSON at byte %d: NUL byte"):format(text:find("\0")), refused(text))
    end
  end)

  it("quotes no control characters", function()
    assert.equal("invalid JSON at byte 1: invalid token near '?'", refused("\x1b[2J"))
  end)

  it("takes 100 levels, and refuses more with little effort", function()
    local function deep(n, open, close) return open:rep(n) .. "1" .. close:rep(n) end

    assert.equal(show(nested(100)), show(decode(deep(100, "[", "]"))))
    for _, n in ipairs { 101, 2048, 2049, 100000 } do
      for open, close in pairs { ["["] = "]", ['{"a":'] = "}", ['[{"a":'] = "}]" } do
        assert.equal("JSON of more than 100 levels", refused(deep(n, open, close)))
      end
    end
    assert.equal("JSON of more than 100 levels", refused(("["):rep(1000000)))
    assert.matches("']' expected", refused(("["):rep(99) .. "1"))
    assert.equal(show { list(nested(99)) }, show { list(decode(deep(99, "[", "]"))) })
  end)

  it("raises for what is no string", function()
    for _, bad in ipairs { 1, true, {}, print } do
      assert.has_error(function() decode(bad) end)
    end
    assert.has_error(function() decode() end)
  end)

  it("may be called by a finalizer amid itself", function()
    run(function()
      assert.equal("true\n501\ttrue\n", helper.lua([==[
        local json = require "orrery.json"
        local calls, on = 0, true
        local function arm()
          setmetatable({}, { __gc = function()
            if not on then return end
            calls = calls + 1
            assert(#json.decode "[[1],[2],[3]]" == 3)
            assert(json.encode { { "a" } } == '[["a"]]')
            arm()
          end })
        end
        local text = "[" .. ('{"a\\u0000":["b",[]]},'):rep(500) .. "1]"
        arm()
        collectgarbage("incremental", 50, 1000)
        local value = json.decode(text)
        on = false
        print(calls > 1)
        print(#value, json.encode(value) == text)
      ]==]).stdout)
    end)
  end)
end)

describe("orrery.json", function()
  local seed = tonumber(os.getenv("ORRERY_SEED")) or os.time()
  local random = math.random

  local function random_string()
    local codes = {}
    for i = 1, random(0, 12) do
      local code = random(0, ({ 0x7f, 0x7ff, 0xffff, 0x10ffff })[random(4)])
      codes[i] = code >= 0xd800 and code <= 0xdfff and 0xfffd or code
    end
    return utf8.char(table.unpack(codes))
  end

  local function random_float()
    local value = string.unpack("d", string.pack("j", random(0)))
    return value == value and math.abs(value) < math.huge and value or random()
  end

  local scalars = {
    random_string, random_float,
    function() return random(0) end,
    function() return random(-100, 100) end,
    function() return random(-100, 100) / 8 end,
    function() return random() < 0.5 end,
    function() return null end,
  }

  local function random_value(depth)
    local kind = random(depth > 0 and #scalars + 2 or #scalars)
    if kind <= #scalars then return scalars[kind]() end
    local t, is_list, n = {}, kind == #scalars + 1, random(0, 6)
    for i = 1, n do t[is_list and i or random_string()] = random_value(depth - 1) end
    return is_list and n == 0 and list(t) or t
  end

  it("gives 1,000 random values back as they were", function()
    math.randomseed(seed)
    for i = 1, 1000 do
      local value = random_value(6)
      local text = encode(value)
      local what = ("ORRERY_SEED=%d, value %d: %s"):format(seed, i, text)
      local again, err = decode(text)
      assert.is_nil(err, what)
      assert.equal(show(value), show(again), what)
    end
  end)

  it("survives 5,000 messages with random damage", function()
    math.randomseed(seed)
    local tokens = { "[", "]", "{", "}", '"', ",", ":", "\\u0000", "\\ud800", "\\", "e", "-", ".",
      "18446744073709552000", "null", "\xef\xb7\x90", "\xff", "\0", " " }
    for i = 1, 5000 do
      local text = encode(random_value(4))
      local from = random(1, #text)
      local damaged = text:sub(1, from) .. tokens[random(#tokens)]
        .. text:sub(from + random(0, 3))
      local value, err = decode(damaged)
      assert.is_true(value ~= nil or type(err) == "string",
        ("ORRERY_SEED=%d, message %d: %q"):format(seed, i, damaged))
    end
  end)

  it("may be opened twice, and its parts are the same", function()
    local open = assert(package.loadlib(package.searchpath("orrery.json", package.cpath),
      "luaopen_orrery_json"))
    local other = open()

    assert.equal("[[],null]", other.encode(decode("[[],null]")))
    assert.equal("[[],null]", encode(other.decode("[[],null]")))
  end)

  it("has a dot for a decimal point in any locale there is", function()
    run(function()
      local dir = orrery.sh("mktemp -d", { trim = true }).stdout
      for _, name in ipairs { "de_DE", "ps_AF" } do -- a point of one byte and of two
        orrery.sh(("localedef -i %s -f UTF-8 '%s/%s'"):format(name, dir, name))
        assert.equal("[0.5,1e+100,2.5]\n", helper.lua(([[
          os.setlocale("%s", "numeric")
          local json = require "orrery.json"
          print(json.encode(json.decode(json.encode { 0.5, 1e100, 2.5 })))
        ]]):format(name), { env_extend = { LOCPATH = dir } }).stdout)
      end
      orrery.sh(("rm -rf '%s'"):format(dir))
    end, 60000)
  end)

  it("alone loads jansson", function()
    run(function()
      assert.equal("false\ntrue\n", helper.lua([[
        require "orrery"
        local function loaded()
          local maps = io.open("/proc/self/maps"):read("a")
          return maps:find("libjansson", 1, true) ~= nil
        end
        print(loaded())
        require "orrery.json"
        print(loaded())
      ]]).stdout)
    end)
  end)
end)

describe("Node", function()
  it("reads what we write", function()
    if not has_node then return pending("needs node") end
    local cases, lines = {
      { { 1, 2.0, -0.0, 1e21, 0.1, 5e-324 }, "[1, 2, -0, 1e21, 0.1, 5e-324]" },
      { { a = list(), b = {}, c = null }, "({a: [], b: {}, c: null})" },
      { { 0 / 0, math.huge }, "[null, null]" },
      { "\"\\\0\1\x1f\x7f\u{2028}\u{10ffff}", [["\"\\\0\x01\x1f\x7f\u2028\u{10ffff}"]] },
      { { ["\0"] = 1, [""] = 2, ["__proto__"] = 3 }, [[({"\0": 1, "": 2, ["__proto__"]: 3})]] },
      { { [1.5] = 1, [1e21] = 2, [-1] = 3, [math.huge] = 4, [1e-7] = 5, [123456789012] = 6 },
        "({[1.5]: 1, [1e21]: 2, [-1]: 3, [Infinity]: 4, [1e-7]: 5, [123456789012]: 6})" },
      { math.maxinteger, "9223372036854775807" }, { false, "false" }, { null, "null" },
      { { [2 ^ 70] = 1, [2.5e-5] = 2, [2.0 ^ 63] = 3 },
        "({[2 ** 70]: 1, [2.5e-5]: 2, [2 ** 63]: 3})" },
    }, {}
    for i, case in ipairs(cases) do
      lines[2 * i - 1], lines[2 * i] = encode(case[1]), case[2]
    end

    run(function()
      assert.same({ #cases .. " checked" }, node([[
        for (let i = 0; i < lines.length; i += 2)
          require('assert').deepStrictEqual(JSON.parse(lines[i]), eval(lines[i + 1]));
        console.log(lines.length / 2 + ' checked');
      ]], lines))
    end)
  end)

  it("writes what we read", function()
    if not has_node then return pending("needs node") end
    local cases = {
      { "[2**53 + 2, 2**63, 2**64, -(2**64), 1e20, 1e21, 1.5, -0, 5e-324, 1.7976931348623157e308]",
        { 2 ^ 53 + 2 | 0, 2.0 ^ 63, 2.0 ^ 64, -2.0 ^ 64, 1e20, 1e21, 1.5, 0, 5e-324,
          1.7976931348623157e308 } },
      { [=[["\ud800", "\udfffx", "\ud83d\ude00", "\0\b\x7f\u2028", "é"]]=],
        { "\u{fffd}", "\u{fffd}x", "\u{1f600}", "\0\b\x7f\u{2028}", "é" } },
      { [[({"a\0b": "\0", "\ud800": 2**64})]], { ["a\0b"] = "\0", ["\u{fffd}"] = 2.0 ^ 64 } },
      { "[[], {}, [[]], [undefined], {a: undefined}]",
        { list(), {}, { list() }, { null }, {} } },
      { "[NaN, Infinity]", { null, null } }, { "null", null }, { "'x'", "x" }, { "true", true },
      { "({hello: 'é', d: new Date(0), b: Buffer.from('ab')})",
        { hello = "é", d = "1970-01-01T00:00:00.000Z",
          b = { type = "Buffer", data = { 97, 98 } } } },
    }
    local lines = {}
    for i, case in ipairs(cases) do lines[i] = case[1] end

    run(function()
      local texts = node("for (const l of lines) console.log(JSON.stringify(eval(l)));", lines)
      for i, case in ipairs(cases) do
        assert.equal(show(case[2]), show(assert(decode(texts[i]))))
      end
    end)
  end)

  it("writes numbers as we do", function()
    if not has_node then return pending("needs node") end
    local lines = {}
    for i = 1, 3000 do
      local bits = i % 3 == 0 and math.random(0) & 0xfffffffffffff or math.random(0)
      local value = string.unpack("d", string.pack("j", bits))
      if i % 3 == 1 then value = math.random(0) / 10.0 ^ math.random(0, 40) end
      lines[i] = encode(value == value and math.abs(value) < math.huge and value or i / 7)
    end

    run(function()
      local texts = node("for (const l of lines) console.log(JSON.stringify(+l));", lines)
      for i, line in ipairs(lines) do
        assert.equal(texts[i], (line:gsub("%.0$", "")))
      end
    end)
  end)

  it("writes a big message that it has read", function()
    if not has_node then return pending("needs node") end
    local value = {}
    for i = 1, 2000 do value[i] = { id = i, name = "worker " .. i, tags = { "é", i + 0.5 } } end

    run(function()
      local texts = node("console.log(JSON.stringify(JSON.parse(lines[0])));", { encode(value) })
      assert.equal(show(value), show(decode(texts[1])))
    end)
  end)
end)
