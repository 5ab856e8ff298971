local helper = require "spec.helper"
local json = require "orrery.json"
local values = require "spec.fixture.values"

local decode, run = json.decode, helper.run
local null, show, nested = decode("null"), values.show, values.nested

local function list(t)
  return setmetatable(t or {}, getmetatable(decode("[]")))
end

local function refused(text)
  local value, err = decode(text)
  assert.is_nil(value)
  assert.is_string(err)
  return err
end

describe("json.decode", function()
  it("fault C4: takes little more memory than the text, or 128 MiB", function()
    for item, n in pairs {
      ["{},"] = 500000, ["[],"] = 800000, ['{"":[]},'] = 280000,
      ["[[],1,1,1,1,1],"] = 330000,
    } do
      assert.equal("invalid JSON: it would take too much memory",
        refused("[" .. item:rep(n) .. "1]"))
      assert.is_table(decode("[" .. item:rep(n // 10) .. "1]"))
    end
    assert.equal(5000000, #decode("[" .. ("1,"):rep(4999999) .. "1]"))
  end)

  it("counts no brackets in strings", function()
    local text = ([=[[{},\"[,\\]]=]):rep(1000000)
    assert.equal(#text - 2000000, #decode('["' .. text .. '"]')[1])
  end)

  it("reads one value of any type", function()
    for text, value in pairs {
      ["true"] = true, [" false\n"] = false, ["null"] = null, ['""'] = "",
      ['"a\\u0000b"'] = "a\0b", ["7"] = 7, ["-0"] = 0, ["1.0"] = 1.0,
      ["1e2"] = 100.0, ["-1.5"] = -1.5,
      ["9223372036854775807"] = math.maxinteger,
      ["-9223372036854775808"] = math.mininteger,
      ['{"a":{"b":[]}}'] = { a = { b = list() } }, ["[[],{}]"] = { list(), {} },
      ['[1,null,"\\ud83d\\ude00\\u00e9\\/"]'] = { 1, null, "\u{1f600}é/" },
      [' [ 1 , 2 ] '] = { 1, 2 }, ['{"a":1,"b":2,"a":3}'] = { a = 3, b = 2 },
      ['{"":1}'] = { [""] = 1 },
    } do
      assert.equal(show(value), show(decode(text)))
    end
  end)

  it("makes floats of integers beyond 64 bits, and of no others", function()
    local text =
      '[18446744073709552000,9007199254740993,{"9223372036854775808":'
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
      ["\\ud800"] = "\u{fffd}", ["\\uDFFF"] = "\u{fffd}",
      ["\\ud800\\u0041"] = "\u{fffd}A", ["\\udc00\\ud800"] = "\u{fffd}\u{fffd}",
      ["\\ud800\\ud83d\\ude00"] = "\u{fffd}\u{1f600}",
      ["a\\ud800b\\\\ud800\\n\\\"\\udfff"] = "a\u{fffd}b\\ud800\n\"\u{fffd}",
      ["\\ud83d\\ude00\\ude00"] = "\u{1f600}\u{fffd}",
      ["\\ud800é"] = "\u{fffd}é",
    } do
      assert.equal(show { value }, show(decode('["' .. text .. '"]')))
      assert.equal(show { [value] = 1 }, show(decode('{"' .. text .. '":1}')))
    end
  end)

  it("reads keys with NUL", function()
    assert.equal(show { ["\0"] = "\0a\0",
      ["a\0b"] = { "\u{fdd0}", "\\u0000" } },
      show(decode(
        [[{"\u0000":"\u0000a\u0000","a\u0000b":["\ufdd0","\\u0000"]}]])))
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
      [""] = "at byte 0: unexpected token near end of file",
      [" \n"] = "near end of file",
      ["[1,2"] = "at byte 4: ']' expected near end of file",
      ["[1,]"] = "near ']'", ["nul"] = "invalid token near 'nul'",
      ["nothing"] = "'nothing'", ["'a'"] = "near '''",
      ["1 2"] = "end of file expected near '2'",
      ["{}{}"] = "end of file expected", ['{"a"}'] = "':' expected",
      ['{a:1}'] = "string or '}' expected", ["[1 2]"] = "']' expected",
      ['"a'] = "premature end of input", ['"\\x"'] = "invalid escape",
      ['"\\u12"'] = "invalid escape", ['"\n"'] = "unexpected newline",
      ['"\1"'] = "control character 0x1", ["01"] = "near '0'",
      ["+1"] = "near '+'", [".5"] = "near '.'", ["1."] = "near '1.'",
      ["1e"] = "near '1e'", ["-"] = "near '-'", ["NaN"] = "'NaN'",
      ["\u{feff}1"] = "invalid token", ["]"] = "near ']'",
      ['["\\ud800",'] = "']' expected", ["1e999"] = "overflow",
      ["-1e999"] = "overflow", ["1" .. ("0"):rep(400)] = "overflow",
      ["\\"] = "near '\\'", ['"\\'] = "", ['"\\u'] = "", ['"\\ud800'] = "",
      ['["\\ud800\\'] = "", ['{"\\u0000'] = "", ["1.5.5"] = "near",
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
    for _, text in ipairs { "\0", "1\0", "\0001", '"a\0b"', "[1\0,2]", "true\0",
      "12\0003" } do
      assert.equal(("invalid JSON at byte %d: NUL byte"):format(
        text:find("\0")), refused(text))
    end
  end)

  it("quotes no control characters", function()
    assert.equal("invalid JSON at byte 1: invalid token near '?'",
      refused("\x1b[2J"))
  end)

  it("takes 100 levels, and refuses more with little effort", function()
    local function deep(n, open, close)
      return open:rep(n) .. "1" .. close:rep(n)
    end

    assert.equal(show(nested(100)), show(decode(deep(100, "[", "]"))))
    for _, n in ipairs { 101, 2048, 2049, 100000 } do
      for open, close in pairs { ["["] = "]", ['{"a":'] = "}",
        ['[{"a":'] = "}]" } do
        assert.equal("JSON of more than 100 levels",
          refused(deep(n, open, close)))
      end
    end
    assert.equal("JSON of more than 100 levels", refused(("["):rep(1000000)))
    assert.matches("']' expected", refused(("["):rep(99) .. "1"))
    assert.equal(show { list(nested(99)) },
      show { list(decode(deep(99, "[", "]"))) })
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
